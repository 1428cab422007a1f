"""Linear CKA of the activations of heads, biased and debiased, with gradients.

CKA is the cosine of two centred matrices of inner products of samples. Its numerator is
HSIC, of which there are two estimators. The biased one is far from 0 for few samples of
independent features: with 64 features each, CKA is .90, .67, .33 and .11 on average at
8, 32, 128 and 512 samples. The debiased one is 0 on average, with a standard deviation
of about the root of `2 / (m (m - 3))` for m samples: .22, .05, .01 and .003.

Here both are computed from the products of features, which are `(p, q)`, not from those
of samples, which are `(m, m)`. `transfer.cka` has the biased CKA of all nodes, whose
outputs are centred by position.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from circuit_transfer.distillation.settings import BIASED, DEBIASED, LEAST_SAMPLES

# Features that differ by fewer units of rounding, relative to their size, are equal.
ROUNDING = 16


def cka(x: Tensor, y: Tensor, estimator: str = DEBIASED) -> Tensor:
    """Return the linear CKA of feature matrices on the same samples.

    Invariant to rotations of the features, to their scale, and to what is added to
    them. 0 where one of them does not vary.

    Args:
        x: features, `(..., m, p)` of m samples.
        y: features, `(..., m, q)` of the same samples; the leading axes broadcast.
        estimator: of HSIC, `debiased` (Song et al. 2012, Feature selection via
            dependence maximization, equation 5), or `biased` (Kornblith et al. 2019,
            arXiv 1905.00414, equation 3), as in Wadhwa et al. 2025.

    Returns:
        `(...)`; the biased one is between 0 and 1, the debiased one may be negative.

    Raises:
        ValueError: the samples differ in number or are too few for the estimator, or
            there is no such estimator.
    """
    hsic = _estimator(estimator)
    _check_samples(x, y, estimator)
    x, y = _centred(x), _centred(y)
    norms = _root(hsic(x, x)) * _root(hsic(y, y))
    varies = norms > 0
    return torch.where(varies, hsic(x, y) / torch.where(varies, norms, 1.0), 0.0)


def biased_hsic(x: Tensor, y: Tensor) -> Tensor:
    """Return `tr(KHLH) / (m - 1)^2` of centred features.

    Args:
        x: `(..., m, p)`, of mean 0 over the samples.
        y: `(..., m, q)`, likewise.
    """
    return _squared_products(x, y) / (x.shape[-2] - 1) ** 2


def debiased_hsic(x: Tensor, y: Tensor) -> Tensor:
    """Return the unbiased estimate of HSIC by centred features.

    Song et al. give it by the matrices of products of samples, K and L, with zeros in
    place of their diagonals k and l. The rows of K sum to 0 with the diagonal, since
    the features are centred, and so to -k without it.

    Args:
        x: `(..., m, p)`, of mean 0 over the samples.
        y: `(..., m, q)`, likewise.
    """
    m = x.shape[-2]
    k, v = x.square().sum(-1), y.square().sum(-1)
    both = (k * v).sum(-1)
    total = _squared_products(x, y) - m / (m - 2) * both
    total = total + k.sum(-1) * v.sum(-1) / ((m - 1) * (m - 2))
    return total / (m * (m - 3))


ESTIMATORS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    DEBIASED: debiased_hsic,
    BIASED: biased_hsic,
}


def _centred(x: Tensor) -> Tensor:
    """Return features minus their mean, exactly 0 where they differ by rounding."""
    centred = x - x.mean(-2, keepdim=True)
    sizes, spreads = (
        each.square().sum((-1, -2), keepdim=True) for each in (x, centred)
    )
    rounding = (ROUNDING * torch.finfo(x.dtype).eps) ** 2 * sizes
    return torch.where(spreads > rounding, centred, 0.0)


def _root(variance: Tensor) -> Tensor:
    """Return the square root, 0 without a gradient where it has none."""
    positive = variance > 0
    return torch.where(positive, torch.where(positive, variance, 1.0).sqrt(), 0.0)


def _squared_products(x: Tensor, y: Tensor) -> Tensor:
    """Return `tr(KL)`, the sum of the squared products of features."""
    return (x.transpose(-1, -2) @ y).square().sum((-1, -2))


def _estimator(name: str) -> Callable[[Tensor, Tensor], Tensor]:
    if name not in ESTIMATORS:
        raise ValueError(f"estimator {name!r} is not one of {', '.join(ESTIMATORS)}")
    return ESTIMATORS[name]


def _check_samples(x: Tensor, y: Tensor, estimator: str) -> None:
    m, others = x.shape[-2], y.shape[-2]
    if m != others:
        raise ValueError(
            f"features of {m} and of {others} samples: expected the same samples"
        )
    least = LEAST_SAMPLES[estimator]
    if m < least:
        raise ValueError(
            f"{estimator} CKA of {m} samples: expected at least {least}; take more "
            "prompts, or all positions instead of the answer's alone"
        )
