"""What a computation cost: prompts and tokens through a model, and seconds."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from circuit_transfer.interventions import counting


@contextmanager
def measured(part: str, model_name: str, model: nn.Module) -> Iterator[dict[str, Any]]:
    """Yield a row of costs that is complete when the context ends.

    Its columns: `part` and `model`, the names given; `forwards`, `forward_backwards`,
    `tokens` and `backward_tokens` as in `interventions.Passes.summary`; `seconds` of
    computing.
    """
    row = {"part": part, "model": model_name}
    start = time.perf_counter()
    with counting(model) as passes:
        yield row
    if model.device.type == "cuda":
        # The GPU may still be at work on what it was told to do.
        torch.cuda.synchronize()
    row |= {**passes.summary(), "seconds": time.perf_counter() - start}


@contextmanager
def measured_together(
    part: str, models: Mapping[str, nn.Module]
) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows of several models that a computation runs, by their names.

    As `measured`, one row a model. The time is taken once: all seconds stand with the
    last model.
    """
    rows: list[dict[str, Any]] = []
    with ExitStack() as stack:
        found = [
            stack.enter_context(measured(part, name, model))
            for name, model in models.items()
        ]
        yield rows
    rows += [row | {"seconds": 0.0} for row in found[:-1]] + found[-1:]


def shared_out(cost: Mapping[str, Any], parts: Sequence[str]) -> list[dict[str, Any]]:
    """Return the costs of several parts that ran side by side, an equal share each."""
    shares = {
        name: round(value / len(parts)) if isinstance(value, int) else value
        for name, value in cost.items()
        if parts
    }
    seconds = {"seconds": cost["seconds"] / max(len(parts), 1)}
    return [shares | seconds | {"part": part} for part in parts]
