"""Run a model with other weights than its own, which stay as they are."""

from collections.abc import Callable, Mapping
from typing import TypeVar

from torch import Tensor, nn
from torch.func import functional_call

T = TypeVar("T")


def with_weights(
    model: nn.Module, weights: Mapping[str, Tensor], compute: Callable[[], T]
) -> T:
    """Return what is computed while a model has other weights.

    Gradients reach these. The model's own parameters are neither written nor copied,
    and are in place again afterwards.

    Args:
        model: the model.
        weights: by the names of the parameters that they replace.
        compute: a function that runs the model.
    """
    named = {f"model.{name}": each for name, each in weights.items()}
    return functional_call(_Holder(model), named, (compute,))


class _Holder(nn.Module):
    """Holds a model whose weights are replaced while a function runs it."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, compute: Callable[[], T]) -> T:
        return compute()
