"""Count what a model runs."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from circuit_transfer.models.architectures import layer_modules


@dataclass
class Passes:
    """What a model ran: prompts and their tokens, however they were batched.

    Attributes:
        weights: numbers in the matrices of the layers, which multiply every token.
        forwards: prompts that ran without a backward pass.
        forward_backwards: prompts that ran with one.
        products: tokens of the prompts without one, each times the numbers it met.
        backward_products: the same of the prompts with one.
    """

    weights: int
    forwards: int = 0
    forward_backwards: int = 0
    products: int = 0
    backward_products: int = 0

    def turn_back(self, prompts: int, products: int) -> None:
        """Count prompts as run with a backward pass that were counted without one."""
        self.forwards -= prompts
        self.products -= products
        self.forward_backwards += prompts
        self.backward_products += products

    def summary(self) -> dict[str, int]:
        """Return the counts of prompts, and of `tokens` and `backward_tokens`.

        A token counts as far as it went through the layers: by half where only half of
        them were computed, and not at all where its position had been run before.
        """
        return {
            "forwards": self.forwards,
            "forward_backwards": self.forward_backwards,
            "tokens": round(self.products / self.weights),
            "backward_tokens": round(self.backward_products / self.weights),
        }


@contextmanager
def counting(model: nn.Module) -> Iterator[Passes]:
    """Yield a record of what the model runs within the context.

    A prompt counts as run with a backward pass once a gradient reaches its logits,
    which may be after the context has ended.
    """
    matrices = _matrices(model)
    passes = Passes(sum(matrix.weight.numel() for matrix in matrices))
    before = [0]

    def begin(_module, _arguments):
        before[0] = passes.products

    def multiply(matrix, arguments, _output):
        passes.products += arguments[0].shape[:-1].numel() * matrix.weight.numel()

    def count(_module, arguments, named, output):
        rows, products = len(_prompts(arguments, named)), passes.products - before[0]
        passes.forwards += rows
        if output.logits.requires_grad:
            # A second backward pass through the same forward pass adds nothing.
            turn = _once(lambda: passes.turn_back(rows, products))
            output.logits.register_hook(lambda _gradient: turn())

    with ExitStack() as hooks:
        for matrix in matrices:
            hooks.callback(matrix.register_forward_hook(multiply).remove)
        hooks.callback(model.register_forward_pre_hook(begin).remove)
        hooks.callback(model.register_forward_hook(count, with_kwargs=True).remove)
        yield passes


def _matrices(model: nn.Module) -> list[nn.Module]:
    """List the modules of the layers that multiply every token by a matrix."""
    return [
        module
        for layer, _, _ in layer_modules(model)
        for module in layer.modules()
        if getattr(getattr(module, "weight", None), "ndim", 0) == 2
    ]


def _prompts(arguments: tuple, named: Mapping[str, Any]) -> Tensor:
    """Return what a forward pass was given, `(batch, position)` and maybe more axes."""
    if arguments:
        return arguments[0]
    ids = named.get("input_ids")
    return named["inputs_embeds"] if ids is None else ids


def _once(act: Callable[[], None]) -> Callable[[], None]:
    """Return a function that acts when it is first called, and then no more."""
    waiting = [act]

    def first() -> None:
        if waiting:
            waiting.pop()()

    return first
