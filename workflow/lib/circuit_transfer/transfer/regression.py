"""Ridge regression from the residual stream of one model to values on the same tokens.

It is what stitches two models: the values are the other model's residual stream, or
anything that is known of it.
"""

from collections.abc import Callable

import torch
from torch import Tensor


def ridge_regression(changes: Tensor, ridge: float) -> Callable[[Tensor], Tensor]:
    """Return the solver of ridge regressions from one set of predictors.

    Args:
        changes: the predictors, `(token, width)`.
        ridge: the penalty, as a share of the mean squared predictor.

    Returns:
        A function of values `(token, columns)` that gives the float32 coefficients
        `(width, columns)`.
    """
    rows = changes.double()
    tokens, width = rows.shape
    strength = ridge * rows.square().sum() / width
    # Both forms are the same; the smaller system is solved.
    wide = tokens < width
    kernel = rows @ rows.T if wide else rows.T @ rows
    kernel.diagonal().add_(strength.clamp(min=torch.finfo(rows.dtype).tiny))
    factor = torch.linalg.cholesky(kernel)

    def solve(values: Tensor) -> Tensor:
        columns, values = changes.double().T, values.double()
        if wide:
            return (columns @ torch.cholesky_solve(values, factor)).float()
        return torch.cholesky_solve(columns @ values, factor).float()

    return solve
