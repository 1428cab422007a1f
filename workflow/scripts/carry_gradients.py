"""Score a target's nodes on one task by gradients of the source; with controls."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from circuit_transfer.artifacts import (
    read_frame,
    read_json,
    write_json,
    write_tensors,
)
from circuit_transfer.batches import pair_batches
from circuit_transfer.controls import other_task
from circuit_transfer.job import job
from circuit_transfer.models import load_described
from circuit_transfer.pairs import select_pairs
from circuit_transfer.passes import measured_together
from circuit_transfer.similarity import shared_batches
from circuit_transfer.stitching import (
    carried_scores,
    change_scores,
    in_place_of,
    run_both,
    shuffled,
    stream_gradients,
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
    batch_size: int,
    seeds: Sequence[int],
    **labels: str,
) -> None:
    """Read the task's training pairs for both models, write scores of the target.

    Beside them stand controls: how much nodes change (`source-free`), and by seed the
    gradients of other examples (`random-source`) and of a task of another family, whose
    pairs are read too. Only pairs that both models cut into equally many tokens are
    used; without any, all scores are NaN.
    """
    source, target = read_json(source_path), read_json(target_path)
    source_model, target_model = load_described(source), load_described(target)
    of_source, of_target = (
        select_pairs(read_frame(path), "train", examples)
        for path in (source_pairs_path, target_pairs_path)
    )
    device = target_model.device
    prompts = shared_batches(of_source, of_target, batch_size, device, aligned=True)
    others = {
        other: pair_batches(found, batch_size, device)
        for other, path in other_pairs_paths.items()
        if len(found := select_pairs(read_frame(path), "train", examples))
    }
    names = ["none", "source-free", *(f"random-source/{seed}" for seed in seeds)]
    names += [f"other-family/{seed}" for seed in seeds if others]
    tensors = dict.fromkeys(names, np.full(len(target["nodes"]), np.nan, np.float32))
    costs = []
    if prompts:
        batches = [batch for _, batch in prompts]
        models = {source["model"]: source_model, target["model"]: target_model}
        with measured_together("carried", models) as costs:
            changes = run_both(source_model, target_model, prompts)
            own = [stream_gradients(source_model, a, steps) for a, _ in prompts]
            tensors["none"] = carried_scores(target_model, batches, *changes, own)
        tensors["source-free"] = change_scores(target_model, changes[1])
        given = {f"random-source/{seed}": shuffled(own, seed) for seed in seeds}
        for seed in seeds if others else ():
            other = others[other_task(task, list(others), seed=seed)]
            found = [stream_gradients(source_model, batch, steps) for batch in other]
            given[f"other-family/{seed}"] = in_place_of(own, found)
        for name, gradients in given.items():
            tensors[name] = carried_scores(target_model, batches, *changes, gradients)
        tensors = {name: scores.numpy() for name, scores in tensors.items()}
    else:
        log.warning("no training pair that both models cut into equally many tokens")
    metadata = {**labels, "task": task, "target_nodes": target["nodes"], "steps": steps}
    metadata["examples"] = sum(len(batch) for batch, _ in prompts)
    write_tensors(scores_path, tensors, **metadata)
    write_json(costs, cost_path)


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
            examples=snakemake.params.examples,
            batch_size=snakemake.params.batch_size,
            seeds=snakemake.params.seeds,
            **snakemake.wildcards,
        )
