"""Linear CKA of the activations of heads, biased and debiased, with gradients.

CKA is the cosine of two centred matrices of inner products of samples. Its numerator is
HSIC, of which there are two estimators. The biased one is far from 0 for few samples of
independent features: with 64 features each, CKA is .90, .67, .33 and .11 on average at
8, 32, 128 and 512 samples. The debiased one is 0 on average, with a standard deviation
of about the root of `2 / (m (m - 3))` for m samples: .22, .05, .01 and .003.

`transfer.cka` has the biased CKA of all nodes, whose outputs are centred by position,
and the debiased one of what changes in them.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from circuit_transfer.distillation.settings import BIASED, DEBIASED, LEAST_SAMPLES
from circuit_transfer.transfer.hsic import biased_hsic, centred, debiased_hsic, root


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
    x, y = centred(x), centred(y)
    norms = root(hsic(x, x)) * root(hsic(y, y))
    varies = norms > 0
    return torch.where(varies, hsic(x, y) / torch.where(varies, norms, 1.0), 0.0)


ESTIMATORS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    DEBIASED: debiased_hsic,
    BIASED: biased_hsic,
}


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
