"""Count the forward and backward passes and the tokens that a model runs."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from circuit_transfer.models.architectures import layer_matrices


@dataclass
class Passes:
    """Passes of a model: numbers of prompts and tokens, independent of batching.

    Attributes:
        weights: parameters in the matrices of the layers.
        forwards: prompts run without a backward pass.
        forward_backwards: prompts run with a backward pass.
        products: sum over the tokens of `forwards` of the matrix parameters applied.
        backward_products: the same for the tokens of `forward_backwards`.
    """

    weights: int
    forwards: int = 0
    forward_backwards: int = 0
    products: int = 0
    backward_products: int = 0

    def count_backward(self, prompts: int, products: int) -> None:
        """Move prompts from the counts without to those with a backward pass."""
        self.forwards -= prompts
        self.products -= products
        self.forward_backwards += prompts
        self.backward_products += products

    def summary(self) -> dict[str, int]:
        """Return the numbers of prompts, of `tokens` and of `backward_tokens`.

        A token counts by the share of the layers that were computed for it: half if
        only half of the layers were run, zero if its position was cached.
        """
        return {
            "forwards": self.forwards,
            "forward_backwards": self.forward_backwards,
            "tokens": round(self.products / self.weights),
            "backward_tokens": round(self.backward_products / self.weights),
        }


@contextmanager
def counting(model: nn.Module) -> Iterator[Passes]:
    """Yield the counts of the passes that the model runs within the context.

    A prompt is counted as run with a backward pass once a gradient reaches its logits,
    possibly after the end of the context.
    """
    matrices = layer_matrices(model).values()
    passes = Passes(sum(matrix.weight.numel() for matrix in matrices))
    before = [0]

    def begin(_module, _arguments):
        before[0] = passes.products

    def multiply(matrix, arguments, _output):
        whole = arguments[0].shape[:-1].numel() * matrix.weight.numel()
        # A forward that replaces another may apply a part of the matrix, and says so.
        passes.products += getattr(matrix.forward, "products", whole)

    def count(_module, arguments, named, output):
        rows, products = len(_prompts(arguments, named)), passes.products - before[0]
        passes.forwards += rows
        if output.logits.requires_grad:
            # A second backward pass through the same forward pass is not counted.
            count_once = _once(lambda: passes.count_backward(rows, products))
            output.logits.register_hook(lambda _gradient: count_once())

    with ExitStack() as hooks:
        for matrix in matrices:
            hooks.callback(matrix.register_forward_hook(multiply).remove)
        hooks.callback(model.register_forward_pre_hook(begin).remove)
        hooks.callback(model.register_forward_hook(count, with_kwargs=True).remove)
        yield passes


def counted(forward: Callable, products: int) -> Callable:
    """Return a forward function of a module that says how many weights it applies.

    Args:
        forward: replaces that of a module with a matrix, see `hooks.replacing`.
        products: the sum over the tokens of the parameters applied.
    """
    forward.products = products
    return forward


def _prompts(arguments: tuple, named: Mapping[str, Any]) -> Tensor:
    """Return the input of a forward pass, ids `(batch, position)` or embeddings."""
    if arguments:
        return arguments[0]
    ids = named.get("input_ids")
    return named["inputs_embeds"] if ids is None else ids


def _once(act: Callable[[], None]) -> Callable[[], None]:
    """Return a function that acts on its first call only."""
    pending = [act]

    def first() -> None:
        if pending:
            pending.pop()()

    return first
