"""HSIC of centred features: two estimators, from products of features.

The numerator of CKA. The products of features are `(p, q)`; those of samples, which the
estimators are usually written with, `(m, m)`.
"""

import torch
from torch import Tensor

# Features that differ by fewer units of rounding, relative to their size, are equal.
ROUNDING = 16
# Below, the debiased estimator divides by zero.
LEAST_DEBIASED = 4


def centred(x: Tensor) -> Tensor:
    """Return features minus their mean, exactly 0 where they differ by rounding.

    Args:
        x: features, `(..., m, p)` of m samples.
    """
    found = x - x.mean(-2, keepdim=True)
    sizes, spreads = (each.square().sum((-1, -2), keepdim=True) for each in (x, found))
    rounding = (ROUNDING * torch.finfo(x.dtype).eps) ** 2 * sizes
    return torch.where(spreads > rounding, found, 0.0)


def biased_hsic(x: Tensor, y: Tensor) -> Tensor:
    """Return `tr(KHLH) / (m - 1)^2` of centred features.

    Args:
        x: `(..., m, p)`, of mean 0 over the samples.
        y: `(..., m, q)`, likewise.
    """
    return squared_products(x, y) / (x.shape[-2] - 1) ** 2


def debiased_hsic(x: Tensor, y: Tensor) -> Tensor:
    """Return the unbiased estimate of HSIC by centred features.

    Args:
        x: `(..., m, p)`, of mean 0 over the samples.
        y: `(..., m, q)`, likewise.
    """
    sizes = (each.square().sum(-1) for each in (x, y))
    return debiased(squared_products(x, y), *sizes)


def debiased(products: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Return the unbiased estimate of HSIC by `tr(KL)` and the diagonals of K and L.

    Song et al. give it by the matrices of products of samples, K and L, with zeros in
    place of their diagonals k and l. The rows of K sum to 0 with the diagonal, since
    the features are centred, and so to -k without it.

    Args:
        products: `(...)`, see `squared_products`.
        k: `(..., m)`, the squared length of every sample's features.
        v: `(..., m)`, the same of the other features.
    """
    m = k.shape[-1]
    both = (k * v).sum(-1)
    total = products - m / (m - 2) * both
    total = total + k.sum(-1) * v.sum(-1) / ((m - 1) * (m - 2))
    return total / (m * (m - 3))


def squared_products(x: Tensor, y: Tensor) -> Tensor:
    """Return `tr(KL)`, the sum of the squared products of features."""
    return (x.transpose(-1, -2) @ y).square().sum((-1, -2))


def root(variance: Tensor) -> Tensor:
    """Return the square root, 0 without a gradient where it has none."""
    positive = variance > 0
    return torch.where(positive, torch.where(positive, variance, 1.0).sqrt(), 0.0)
