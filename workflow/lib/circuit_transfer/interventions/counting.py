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
        weight_products: of `backward_products`, those of trained matrices, where their
            own gradients are computed too.
    """

    weights: int
    forwards: int = 0
    forward_backwards: int = 0
    products: int = 0
    backward_products: int = 0
    weight_products: int = 0

    def count_backward(self, prompts: int, products: int) -> None:
        """Move prompts from the counts without to those with a backward pass."""
        self.forwards -= prompts
        self.products -= products
        self.forward_backwards += prompts
        self.backward_products += products

    def count_weights(self, products: int) -> None:
        """Count products of a matrix whose own gradient is computed."""
        self.weight_products += products

    def summary(self) -> dict[str, int]:
        """Return the numbers of prompts, of `tokens` and of `backward_tokens`.

        A token counts by the share of the layers that were computed for it: half if
        only half of the layers were run, zero if its position was cached. Where weights
        are trained, `weight_tokens` are those whose products have gradients of weights.
        """
        trained = round(self.weight_products / self.weights)
        return {
            "forwards": self.forwards,
            "forward_backwards": self.forward_backwards,
            "tokens": round(self.products / self.weights),
            "backward_tokens": round(self.backward_products / self.weights),
        } | ({"weight_tokens": trained} if trained else {})


@contextmanager
def counting(model: nn.Module) -> Iterator[Passes]:
    """Yield the counts of the passes that the model runs within the context.

    A prompt is counted as run with a backward pass once a gradient reaches its logits,
    or what a trained matrix has computed of it, possibly after the end of the context.
    """
    matrices = layer_matrices(model).values()
    passes = Passes(sum(matrix.weight.numel() for matrix in matrices))
    # Of the current pass: the count before it, and outputs of trained matrices.
    before, trained = [0], []

    def begin(_module, _arguments):
        before[0] = passes.products
        trained.clear()

    def multiply(matrix, arguments, output):
        whole = arguments[0].shape[:-1].numel() * matrix.weight.numel()
        # A forward that replaces another may apply a part of the matrix, and says so.
        products = getattr(matrix.forward, "products", whole)
        passes.products += products
        if matrix.weight.requires_grad and output.requires_grad:
            _on_gradient(output, _once(lambda: passes.count_weights(products)))
            trained.append(output)

    def count(_module, arguments, named, output):
        rows, products = len(_prompts(arguments, named)), passes.products - before[0]
        passes.forwards += rows
        # A second backward pass through the same forward pass is not counted.
        count_once = _once(lambda: passes.count_backward(rows, products))
        for each in (output.logits, *trained):
            if each.requires_grad:
                _on_gradient(each, count_once)
        trained.clear()

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


def _on_gradient(tensor: Tensor, act: Callable[[], None]) -> None:
    """Call a function without arguments when a gradient reaches a tensor."""
    tensor.register_hook(lambda _gradient: act())


def _once(act: Callable[[], None]) -> Callable[[], None]:
    """Return a function that acts on its first call only."""
    pending = [act]

    def first() -> None:
        if pending:
            pending.pop()()

    return first
