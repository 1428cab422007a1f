"""Learn circuits of edges of one model on one task by one method, for every seed."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from circuit_transfer.artifacts.descriptions import read_description
from circuit_transfer.artifacts.frames import read_frame
from circuit_transfer.artifacts.text import write_json
from circuit_transfer.circuits.passes import measured
from circuit_transfer.jobs.progress import progress
from circuit_transfer.jobs.resume import NO_RESUME, Resume
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.models.edges import described_graph
from circuit_transfer.models.loading import load_described
from circuit_transfer.prompts.batches import pair_batches
from circuit_transfer.prompts.pairs import select_pairs
from circuit_transfer.prompts.resampling import resampled_pairs
from circuit_transfer.pruning.learned import learn_edges as learn
from circuit_transfer.stages.attribution import EMPTY_CELL
from circuit_transfer.stages.edge_graphs import check_sizes, filter_scores
from circuit_transfer.stages.learned import nothing_learned, write_learned

log = logging.getLogger(__name__)


def learn_edges(
    model_path: Path | str,
    pairs_path: Path | str,
    masks_paths: Iterable[Path | str],
    cost_path: Path | str,
    *,
    task: str,
    learned_method: str,
    seeds: Sequence[int],
    kv: str,
    settings: Mapping[str, Any],
    filter_path: Path | str | None = None,
    resample: str | None = None,
    resume: Resume = NO_RESUME,
) -> None:
    """Read the first training pairs, write the circuits of every seed, and the cost.

    One file per seed. `filter_path` are the scores of the edges by which a method
    leaves some out, `settings` those of `pruning` in the configuration that the method
    has; `resample` is the number of one of the pairs that is learned on, if any.
    Without a usable pair the scores are NaN and the circuits empty, and the task is an
    empty cell later on.
    """
    description = read_description(model_path)
    graph, name = described_graph(description, kv), description["model"]
    check_sizes(settings["sizes"], graph, name)
    pairs = select_pairs(read_frame(pairs_path), "train", settings["examples"])
    labels = {"model": name, "task": task, "method": learned_method, **settings}
    if resample is not None:
        labels["resample"] = int(resample)
        pairs = resampled_pairs(pairs, labels["resample"])
    labels |= {"examples": len(pairs), **graph.description()}
    learned, costs = nothing_learned(settings["sizes"], graph), []
    if pairs.is_empty():
        log.warning(EMPTY_CELL, task)
    else:
        model = load_described(description)
        batches = pair_batches(pairs, settings["batch_size"], model.device)
        every = learned_method, model, batches, graph
        how = {"settings": settings, "ablation": settings["ablation"]}
        how |= {"filter_scores": filter_path and filter_scores(filter_path, graph)}
    seeded = zip(seeds, masks_paths, strict=True)
    for seed, path in progress(seeded, len(seeds), "seed"):
        if len(pairs):
            with measured(f"seed-{seed}", name, model, resume) as cost:
                learned = learn(*every, **how, seed=seed, resume=resume)
            costs.append(cost)
        write_learned(path, learned, labels, seed)
    write_json(costs, cost_path)
    resume.remove()


if __name__ == "__main__":
    run_stage(learn_edges, snakemake)
