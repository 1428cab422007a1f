"""Fit the maps of edge scores of one training set and their trained controls."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from circuit_transfer.artifacts.descriptions import read_description
from circuit_transfer.artifacts.edge_alignments import write_edge_alignment
from circuit_transfer.artifacts.edge_scores import read_edge_scores
from circuit_transfer.artifacts.text import write_json
from circuit_transfer.circuits.edge_controls import ranked
from circuit_transfer.jobs.resume import NO_RESUME, Resume
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.models.edges import Graph, described_graph
from circuit_transfer.models.loading import load_described
from circuit_transfer.stages.edge_fitting import EdgeFits, prepare_edge_pairs
from circuit_transfer.stages.edge_graphs import check_graph
from circuit_transfer.stages.fit_inputs import (
    Costs,
    TrainingTask,
    known_priors,
    read_training_tasks,
)
from circuit_transfer.transfer.maps import transformed
from circuit_transfer.transfer.objectives import FitSettings


def fit_edge_alignment(
    source_path: Path | str,
    target_path: Path | str,
    scores_paths: Iterable[Path | str],
    pairs_paths: Iterable[Path | str],
    source_pairs_paths: Iterable[Path | str],
    alignments_paths: Iterable[Path | str],
    cost_path: Path | str,
    *,
    source: str,
    target: str,
    edge_method: str,
    training_set: str,
    tasks: Sequence[str],
    seeds: Sequence[int],
    maps: Sequence[str],
    transform: str,
    ranking: str,
    prior: Mapping[str, Any],
    controls: Sequence[str],
    settings: Mapping[str, Any],
    kv: str,
    batch_size: int,
    examples: int,
    resume: Resume = NO_RESUME,
) -> None:
    """Read source scores and target pairs by task, write one file per seed.

    As `fit_alignment`, but for scores of edges, as the `ranking` takes them, and with
    all seeds trained side by side.
    """
    models = [read_description(path) for path in (source_path, target_path)]
    graphs = tuple(described_graph(each, kv) for each in models)
    read_scores = partial(_scores, graph=graphs[0], ranking=ranking)
    paths = scores_paths, pairs_paths, source_pairs_paths
    data = read_training_tasks(
        tasks, *paths, examples=examples, read_scores=read_scores
    )
    labels = {"source": source, "target": target, "method": edge_method, **settings}
    labels |= {"training_set": training_set, "tasks": [*data], "examples": examples}
    labels |= {"maps": list(maps), "transform": transform, "ranking": ranking}
    labels |= {"prior": dict(prior), **_ends(models, graphs)}
    named = {"maps": maps, "controls": controls, "graphs": graphs}
    named["sources"] = {t: transformed(data[t].scores, transform) for t in data}
    fits, costs = _prepare(models, data, settings, prior, batch_size, **named)
    tensors, own_costs = fits.of_seeds(seeds, resume)
    for seed, path in zip(seeds, alignments_paths, strict=True):
        write_edge_alignment(path, tensors[seed], {**labels, "seed": seed})
    write_json([*costs, *own_costs], cost_path)
    resume.remove()


def _ends(
    models: Sequence[Mapping[str, Any]], graphs: Sequence[Graph]
) -> dict[str, Any]:
    """Return what names the nodes and edges of source and target."""
    found = {}
    for end, model, graph in zip(("source", "target"), models, graphs, strict=True):
        found |= {f"{end}_nodes": model["nodes"], f"{end}_graph": asdict(graph)}
    return found


def _scores(path: Path | str, graph: Graph, ranking: str) -> np.ndarray:
    """Read scores of the source's edges as they are ranked, `(n_edges,)`."""
    scores = read_edge_scores(path)
    check_graph(scores, graph, path)
    return ranked(scores.flat, ranking)


def _prepare(
    models: Sequence[Mapping[str, Any]],
    data: Mapping[str, TrainingTask],
    settings: Mapping[str, Any],
    prior: Mapping[str, Any],
    batch_size: int,
    **named: Any,
) -> tuple[EdgeFits, Costs]:
    """Load the target and run what all seeds need; return the fits, and the costs."""
    target = models[1]
    model, name = load_described(target), target["model"]
    pairs = {task: each.pairs for task, each in data.items()}
    graph, maps = named["graphs"][1], named["maps"]
    prepared, cost = prepare_edge_pairs(
        model, name, pairs, graph, batch_size=batch_size
    )
    priors, costs = known_priors(maps, models, model, data, prior, batch_size)
    shared = {"settings": FitSettings(**settings), "priors": priors}
    return EdgeFits(model, name, prepared, **shared, **named), [cost, *costs]


if __name__ == "__main__":
    run_stage(fit_edge_alignment, snakemake)
