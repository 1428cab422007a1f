"""Measure time and memory of computations relative to bare passes of the model."""

import os
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

import polars as pl
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from circuit_transfer.benchmarking.cases import Case
from circuit_transfer.benchmarking.entries import MEASURED
from circuit_transfer.interventions import counting
from circuit_transfer.jobs.progress import progress

# Shorter computations are repeated; longer ones already average over many passes and
# are measured once.
SHORT_SECONDS, LONG_SECONDS = 0.03, 4.0


def measure(
    model: nn.Module,
    bare: Sequence[Case],
    cases: Sequence[Case],
    *,
    tokens: int,
    repetitions: int,
) -> pl.DataFrame:
    """Measure computations, interleaved with bare passes of the model.

    In every repetition all computations run in turn, with bare passes between them. A
    temporary slowdown of the machine affects both, so their ratio is unbiased.

    Args:
        model: the model of the computations.
        bare: the bare forward pass, and the bare forward and backward pass.
        cases: the computations.
        tokens: number of tokens of all prompts.
        repetitions: number of measurements of each computation; long ones have one.

    Returns:
        One row per computation (the bare passes first) and repetition, see
        `MEASURED`. `forward_seconds` and `forward_backward_seconds` are means of the
        bare passes before and after. `run_*` are the passes that were actually run, in
        tokens through all layers, and `peak_bytes` is the peak memory of the tensors;
        both are from a separate, untimed run.
    """
    every = [*bare, *cases]
    untimed = progress(every, len(every), "untimed computation")
    constant = {each.name: _untimed(model, each, tokens) for each in untimed}
    rows, long_running = [], set()
    before = _bare_seconds(model, bare)
    order = [(number, case) for number in range(repetitions) for case in every]
    for number, case in progress(order, len(order), "computation"):
        if case.name in long_running:
            continue
        taken = seconds(case.run, model.device)
        after = _bare_seconds(model, bare)
        forward, forward_backward = map(fmean, zip(before, after, strict=True))
        before = after
        if taken > LONG_SECONDS:
            long_running.add(case.name)
        times = {"repetition": number, "seconds": taken, "forward_seconds": forward}
        times["forward_backward_seconds"] = forward_backward
        rows.append(constant[case.name] | times)
    return pl.DataFrame(rows, schema=MEASURED)


def seconds(run: Callable[[], Any], device: torch.device) -> float:
    """Return the seconds of a computation: the median of several runs if short.

    On a CPU, those that it computes, on all its cores: other processes matter less.
    """
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    taken: list[float] = []
    while sum(taken) < SHORT_SECONDS:
        start = clock()
        run()
        _finish(device)
        taken.append(clock() - start)
    return median(taken)


def peak_memory(run: Callable[[], Any], device: torch.device) -> int:
    """Return the peak memory of the tensors of a computation, in bytes.

    Tensors that existed before are not counted. On a CPU, torch's profiler records all
    allocations and deallocations.
    """
    if device.type == "cuda":
        _finish(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        _finish(device)
        return torch.cuda.max_memory_allocated(device) - before
    # Keeps the profiler from printing every start and stop.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        run()
    events = record.profiler.kineto_results.events()
    changes = [(e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]"]
    held = peak = 0
    for _, change in sorted(changes, key=lambda each: each[0]):
        held += change
        peak = max(peak, held)
    return peak


def machine(model: nn.Module) -> str:
    """Return a description of the processor, the version of torch and the dtype."""
    where = [_processor(), f"{os.cpu_count()} cores, {torch.get_num_threads()} used"]
    if model.device.type == "cuda":
        where = [torch.cuda.get_device_name(model.device)]
    dtype = str(model.dtype).removeprefix("torch.")
    return ", ".join([*where, f"torch {torch.__version__}", dtype])


def _untimed(model: nn.Module, case: Case, tokens: int) -> dict[str, Any]:
    """Run a computation once; return the columns that all its repetitions share."""
    with counting(model) as passes:
        peak = peak_memory(case.run, model.device)
    run = passes.summary()
    return {
        "case": case.name,
        "ideal_forwards": case.forwards,
        "ideal_forward_backwards": case.forward_backwards,
        "run_forwards": run["tokens"] / tokens,
        "run_forward_backwards": run["backward_tokens"] / tokens,
        "limit": case.limit,
        "peak_bytes": peak,
        "memory_limit": case.memory_limit,
    }


def _bare_seconds(model: nn.Module, bare: Sequence[Case]) -> list[float]:
    return [seconds(case.run, model.device) for case in bare]


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        # GPU kernels run asynchronously.
        torch.cuda.synchronize(device)


def _processor() -> str:
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if "model name" in line]
    return names[0] if names else platform.processor() or platform.machine()
