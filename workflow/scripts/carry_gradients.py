"""Score a target's nodes on one task by gradients of the source; with controls."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from circuit_transfer.artifacts.descriptions import read_description
from circuit_transfer.artifacts.frames import read_frame
from circuit_transfer.artifacts.tensors import write_tensors
from circuit_transfer.artifacts.text import write_json
from circuit_transfer.circuits.passes import measured_together
from circuit_transfer.jobs.job import job
from circuit_transfer.models.loading import load_described
from circuit_transfer.prompts.batches import PairBatch, pair_batches
from circuit_transfer.prompts.pairs import select_pairs
from circuit_transfer.transfer.carried_gradients import carried_scores, stream_gradients
from circuit_transfer.transfer.changes import change_scores, run_both
from circuit_transfer.transfer.controls import other_task
from circuit_transfer.transfer.gradient_controls import other_gradients, shuffled
from circuit_transfer.transfer.shared_prompts import (
    shared_batches,
    shorten_both,
    size_for_both,
)

log = logging.getLogger(__name__)


def carry_gradients(
    source_path: Path | str,
    target_path: Path | str,
    source_pairs_path: Path | str,
    target_pairs_path: Path | str,
    other_pairs_paths: Mapping[str, Path | str],
    scores_path: Path | str,
    cost_path: Path | str,
    *,
    task: str,
    steps: int,
    examples: int,
    batch_size: int | str,
    seeds: Sequence[int],
    **labels: str,
) -> None:
    """Read the task's training pairs for both models, write scores of the target.

    Beside them stand controls: how much nodes change (`source-free`), and by seed the
    gradients of other examples (`random-source`) and of a task of another family, whose
    pairs are read too. Only pairs that both models cut into equally many tokens are
    used; without any, all scores are NaN.
    """
    source, target = map(read_description, (source_path, target_path))
    source_model, target_model = load_described(source), load_described(target)
    models = {source["model"]: source_model, target["model"]: target_model}
    of_source, of_target, *of_others = (
        select_pairs(read_frame(path), "train", examples)
        for path in (source_pairs_path, target_pairs_path, *other_pairs_paths.values())
    )
    device = target_model.device
    pairs = of_source, of_target
    batch_size = size_for_both((source_model, target_model), pairs, batch_size)
    prompts = shared_batches(*pairs, batch_size, device, aligned=True)
    others = {
        other: pair_batches(frame, batch_size, device)
        for other, frame in zip(other_pairs_paths, of_others, strict=True)
        if len(frame)
    }
    seeded = ["random-source", *(["other-family"] if others else [])]
    controls = [f"{control}/{seed}" for control in seeded for seed in seeds]
    names = ["none", "source-free", *controls]
    tensors = dict.fromkeys(names, np.full(len(target["nodes"]), np.nan, np.float32))
    costs = []
    if prompts:
        found, costs = _scores(models, prompts, others, task, steps, seeds)
        tensors = {name: found[name].numpy() for name in names}
    else:
        log.warning("no training pair that both models cut into equally many tokens")
    metadata = {**labels, "task": task, "target_nodes": target["nodes"], "steps": steps}
    metadata["examples"] = sum(len(batch) for batch, _ in prompts)
    write_tensors(scores_path, tensors, **metadata)
    write_json(costs, cost_path)


def _scores(
    models: Mapping[str, nn.Module],
    prompts: Sequence[tuple[PairBatch, PairBatch]],
    others: Mapping[str, Sequence[PairBatch]],
    task: str,
    steps: int,
    seeds: Sequence[int],
) -> tuple[dict[str, Tensor], list[dict]]:
    """Return scores by control, and what those of the map itself cost."""
    source, target = models.values()
    with measured_together("carried", models) as costs:
        prompts = shorten_both(source, target, prompts)
        changes = run_both(source, target, prompts)
        of_source, of_target = zip(*prompts, strict=True)
        own = [stream_gradients(source, batch, steps) for batch in of_source]
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
    with job(snakemake.log[0]):
        carry_gradients(
            snakemake.input.source,
            snakemake.input.target,
            snakemake.input.source_pairs,
            snakemake.input.target_pairs,
            dict(zip(snakemake.params.others, snakemake.input.others, strict=True)),
            snakemake.output.scores,
            snakemake.output.cost,
            steps=snakemake.params.steps,
            **snakemake.params.pairs,
            seeds=snakemake.params.seeds,
            **snakemake.wildcards,
        )
