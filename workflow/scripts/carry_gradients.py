"""Score a target's nodes on one task by gradients of the source; with controls."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from circuit_transfer.artifacts.frames import read_frame
from circuit_transfer.artifacts.tensors import write_tensors
from circuit_transfer.artifacts.text import write_json
from circuit_transfer.circuits.passes import measured_together
from circuit_transfer.jobs.progress import progress
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.prompts.batches import PairBatch, pair_batches
from circuit_transfer.prompts.pairs import select_pairs
from circuit_transfer.stages.stitching import ModelPair, read_model_pair
from circuit_transfer.transfer.carried_gradients import carried_scores, stream_gradients
from circuit_transfer.transfer.changes import change_scores, run_both
from circuit_transfer.transfer.controls import other_task
from circuit_transfer.transfer.gradient_controls import other_gradients, shuffled
from circuit_transfer.transfer.shared_prompts import shorten_both


def carry_gradients(
    source_path: Path | str,
    target_path: Path | str,
    source_pairs_path: Path | str,
    target_pairs_path: Path | str,
    others_paths: Iterable[Path | str],
    scores_path: Path | str,
    cost_path: Path | str,
    *,
    source: str,
    target: str,
    task: str,
    method: str,
    others: Sequence[str],
    steps: int,
    examples: int,
    batch_size: int | str,
    seeds: Sequence[int],
) -> None:
    """Read the task's training pairs for both models, write scores of the target.

    Controls are written too: how much nodes change (`source-free`), and by seed the
    gradients of other examples (`random-source`) and of a task of another family, whose
    pairs are read too. Only pairs that both models cut into equally many tokens are
    used; without any, all scores are NaN.
    """
    pair = read_model_pair(
        (source_path, target_path),
        (source_pairs_path, target_pairs_path),
        examples=examples,
        batch_size=batch_size,
    )
    prompts = _other_prompts(pair, others, others_paths, examples)
    names = ["none", "source-free", *_seeded(prompts, seeds)]
    nodes = pair.target["nodes"]
    tensors = dict.fromkeys(names, np.full(len(nodes), np.nan, np.float32))
    costs = []
    if pair.prompts:
        found, costs = _scores(pair, prompts, task, steps, seeds)
        tensors = {name: found[name].numpy() for name in names}
    metadata = {"source": source, "target": target, "task": task, "method": method}
    metadata |= {"target_nodes": nodes, "steps": steps, "examples": pair.n_pairs()}
    write_tensors(scores_path, tensors, **metadata)
    write_json(costs, cost_path)


def _other_prompts(
    pair: ModelPair, tasks: Sequence[str], paths: Iterable[Path | str], examples: int
) -> dict[str, list[PairBatch]]:
    """Return batches for the source by task, of the tasks that have usable pairs."""
    source, _ = pair.models.values()
    frames = {
        task: select_pairs(read_frame(path), "train", examples)
        for task, path in zip(tasks, paths, strict=True)
    }
    return {
        task: pair_batches(frame, pair.batch_size, source.device)
        for task, frame in frames.items()
        if len(frame)
    }


def _seeded(
    others: Mapping[str, Sequence[PairBatch]], seeds: Sequence[int]
) -> list[str]:
    """Name the controls that are drawn, once for every seed."""
    kinds = ["random-source", *(["other-family"] if others else [])]
    return [f"{kind}/{seed}" for kind in kinds for seed in seeds]


def _scores(
    pair: ModelPair,
    others: Mapping[str, Sequence[PairBatch]],
    task: str,
    steps: int,
    seeds: Sequence[int],
) -> tuple[dict[str, Tensor], list[dict]]:
    """Return scores by control, and what those of the map itself cost."""
    source, target = pair.models.values()
    with measured_together("carried", pair.models) as costs:
        prompts = shorten_both(source, target, pair.prompts)
        changes = run_both(source, target, prompts)
        of_source, of_target = zip(*prompts, strict=True)
        every = progress(of_source, len(of_source), "batch")
        own = [stream_gradients(source, batch, steps) for batch in every]
        (scores,) = carried_scores(target, of_target, *changes, [own])
    found = {"none": scores, "source-free": change_scores(target, changes[1])}
    controls = _control_gradients(source, own, others, task, steps, seeds)
    rows = carried_scores(target, of_target, *changes, list(controls.values()))
    return found | dict(zip(controls, rows, strict=True)), costs


def _control_gradients(
    source: nn.Module,
    own: Sequence[Tensor],
    others: Mapping[str, Sequence[PairBatch]],
    task: str,
    steps: int,
    seeds: Sequence[int],
) -> dict[str, list[Tensor]]:
    """Return the gradients that take the place of the task's own, by control."""
    given = {f"random-source/{seed}": shuffled(own, seed) for seed in seeds}
    if not others:
        return given
    chosen = {seed: other_task(task, list(others), seed=seed) for seed in seeds}
    found = {
        other: other_gradients(source, own, others[other], steps)
        for other in set(chosen.values())
    }
    return given | {f"other-family/{s}": found[other] for s, other in chosen.items()}


if __name__ == "__main__":
    run_stage(carry_gradients, snakemake)
