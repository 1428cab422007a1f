"""Costs of a computation: prompts and tokens run through a model, and seconds."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from typing import Any

import torch
from torch import nn

from circuit_transfer.interventions import Passes, counting
from circuit_transfer.jobs.resume import NO_RESUME, Resume


@contextmanager
def measured(
    part: str,
    model_name: str,
    model: nn.Module,
    resume: Resume = NO_RESUME,
) -> Iterator[dict[str, Any]]:
    """Yield a row of costs that is complete when the context ends.

    Its columns: `part` and `model`, the names given; `forwards`, `forward_backwards`,
    `tokens` and `backward_tokens` as in `interventions.Passes.summary`; `seconds` of
    computing. In a resumed stage every pass counts once, and the seconds are those of
    all its runs.
    """
    row = {"part": part, "model": model_name}
    with counting(model) as passes:
        meter = _Meter(passes)
        resume.track(f"costs/{part}", meter.count, meter.restore)
        yield row
    if model.device.type == "cuda":
        # The GPU may still be computing what has been submitted.
        torch.cuda.synchronize()
    meter.stop()
    row |= {**passes.summary(), "seconds": meter.seconds}


class _Meter:
    """Passes and seconds, of this run and of an earlier one that it resumes."""

    def __init__(self, passes: Passes):
        self.passes = passes
        self._earlier = 0.0
        self._start, self._end = time.perf_counter(), None

    @property
    def seconds(self) -> float:
        """The seconds of all runs so far."""
        end = time.perf_counter() if self._end is None else self._end
        return self._earlier + end - self._start

    def stop(self) -> None:
        """Stop the clock."""
        self._end = time.perf_counter()

    def count(self) -> dict[str, Any]:
        """Return the counts in a form that JSON can hold."""
        return {"passes": asdict(self.passes), "seconds": self.seconds}

    def restore(self, counted: Mapping[str, Any]) -> None:
        """Set the counts to those of an earlier run."""
        vars(self.passes).update(counted["passes"])
        self._earlier = counted["seconds"]


@contextmanager
def measured_together(
    part: str, models: Mapping[str, nn.Module]
) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows of several models that a computation runs, by their names.

    As `measured`, one row a model. The time is taken once: all seconds are in the row
    of the last model.
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
