"""Learn circuits of edges of one model on one task by one method, for every seed."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from circuit_transfer.artifacts.descriptions import read_description
from circuit_transfer.artifacts.edge_masks import write_edge_masks
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
from circuit_transfer.pruning.learned import LearnedEdges
from circuit_transfer.pruning.learned import learn_edges as learn
from circuit_transfer.stages.attribution import EMPTY_CELL
from circuit_transfer.stages.edge_graphs import check_sizes, filter_scores

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
    resume: Resume = NO_RESUME,
) -> None:
    """Read the first training pairs, write the circuits of every seed, and the cost.

    Without a usable pair the scores are NaN and the circuits empty, and the task is an
    empty cell later on.

    Args:
        model_path: description of the model.
        pairs_path: its pairs of the task.
        masks_paths: where the circuits go, one file per seed.
        cost_path: where the costs go.
        task: name of the task.
        learned_method: one of `methods.learned_methods`.
        seeds: of the trainings.
        kv: which readers the graph has, see `models.edges`.
        settings: those of `pruning` in the configuration that the method uses.
        filter_path: edge scores, for a method that leaves out the lowest ones first.
        resume: partial progress, which is removed in the end.
    """
    description = read_description(model_path)
    graph, name = described_graph(description, kv), description["model"]
    check_sizes(settings["sizes"], graph, name)
    pairs = select_pairs(read_frame(pairs_path), "train", settings["examples"])
    labels = {"model": name, "task": task, "method": learned_method}
    labels |= {**settings, "examples": len(pairs), **graph.description()}
    how = {"settings": settings, "ablation": settings["ablation"]}
    costs, batches = [], []
    if pairs.is_empty():
        log.warning(EMPTY_CELL, task)
    else:
        model = load_described(description)
        batches = pair_batches(pairs, settings["batch_size"], model.device)
        how["filter_scores"] = filter_path and filter_scores(filter_path, graph)
    every = zip(seeds, masks_paths, strict=True)
    for seed, path in progress(every, len(seeds), "seed"):
        learned = _nothing(len(settings["sizes"]), graph.n_edges)
        if batches:
            log.info("seed %d: %s", seed, learned_method)
            with measured(f"seed-{seed}", name, model, resume) as cost:
                own = {"seed": seed, "resume": resume, **how}
                learned = learn(learned_method, model, batches, graph, **own)
            costs.append(cost)
        write_edge_masks(
            path,
            learned.scores,
            learned.kept,
            open_share=learned.open_share,
            curves=learned.curves,
            extras=learned.tensors,
            **labels,
            **learned.notes,
            seed=seed,
        )
    write_json(costs, cost_path)
    resume.remove()


def _nothing(sizes: int, n_edges: int) -> LearnedEdges:
    """Return what is known without a pair."""
    unknown = np.full((sizes, n_edges), np.nan, np.float32)
    none = np.zeros((sizes, n_edges), bool)
    return LearnedEdges(unknown, none, unknown[:, 0], {}, {}, {})


if __name__ == "__main__":
    run_stage(learn_edges, snakemake)
