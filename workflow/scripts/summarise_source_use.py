"""Test over families of tasks whether transfers use their source."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from circuit_transfer.artifacts.files import atomic
from circuit_transfer.artifacts.frames import read_frame
from circuit_transfer.artifacts.text import read_json
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.models.lineage import relation
from circuit_transfer.stages.transferred_scores import transferred_scores
from circuit_transfer.tables.curves import named_rows
from circuit_transfer.tables.edge_curves import ABSOLUTE
from circuit_transfer.tables.edge_transfers import scored_by
from circuit_transfer.tables.measures import AREAS
from circuit_transfer.tables.source_use import DOCUMENTATION, source_use
from circuit_transfer.tables.source_use_table import source_use_table
from circuit_transfer.tables.task_correlation import task_similarity
from circuit_transfer.tables.typesetting import write_table
from circuit_transfer.transfer.maps import transformed

log = logging.getLogger(__name__)

TITLE = "Source use, over families of tasks"


def summarise_source_use(
    cpr_path: Path | str,
    models_paths: Iterable[Path | str],
    scores_paths: Iterable[Path | str],
    source_use_path: Path | str,
    tables_paths: Sequence[Path | str],
    edge_scores_paths: Iterable[Path | str] = (),
    *,
    pairs: Sequence[Sequence[str]],
    tasks: Sequence[str],
    methods: Sequence[str],
    maps: Sequence[str],
    families: Mapping[str, Sequence[str]],
    ablation: str,
    transform: str,
    edge_ranking: str = ABSOLUTE,
    edge_transform: str = "",
) -> None:
    """Write all differences to controls as a frame, and as a table.

    Args:
        cpr_path: the areas of all circuits.
        models_paths: the descriptions of all models.
        scores_paths: the node scores of every model, task and method.
        source_use_path: the frame, see `tables.source_use`.
        tables_paths: one path per format.
        edge_scores_paths: scores of edges, of the methods that transfer them.
        pairs: source and target of every transfer.
        tasks: of the study.
        methods: whose scores are transferred, those of nodes first.
        maps: all of them.
        families: of the tasks.
        ablation: of the circuits that are compared.
        transform: of scores, before they are correlated.
        edge_ranking: which scores of edges are transferred, `absolute` or `signed`.
        edge_transform: of scores of edges.
    """
    relations = _relations(models_paths, pairs)
    every = transferred_scores(scores_paths, edge_scores_paths, ranking=edge_ranking)
    scores = _scores(every, tasks, {"nodes": transform, "edges": edge_transform})
    places = product(relations, methods)
    similarities = _similarities(scores, places, tasks=tasks, families=families)
    cpr = read_frame(cpr_path, [*AREAS, "ablation"]).filter(ablation=ablation)
    found = {"relations": relations, "similarities": similarities}
    names = {"families": families, "methods": methods, "maps": maps}
    frame = source_use(named_rows(cpr, families), **found, **names)
    log.info("%d differences of %d pairs", len(frame), len(pairs))
    with atomic(source_use_path) as partial:
        frame.write_parquet(partial, metadata=DOCUMENTATION)
    write_table(source_use_table(frame), *tables_paths, title=TITLE)


def _similarities(
    scores: Mapping[tuple[str, str], Sequence[np.ndarray | None]],
    places: Iterable[tuple[tuple[str, str], str]],
    **known: Any,
) -> dict[tuple[str, str, str], float]:
    """Return the similarity of tasks by source, target and method."""
    return {
        (*pair, method): task_similarity(*(scores[m, method] for m in pair), **known)
        for pair, method in places
    }


def _relations(
    paths: Iterable[Path | str], pairs: Sequence[Sequence[str]]
) -> dict[tuple[str, str], str]:
    """Return how the models of every pair are related, by their descriptions."""
    models = {each["model"]: each for each in map(read_json, paths)}
    return {(one, two): relation(models[one], models[two]) for one, two in pairs}


def _scores(
    every: Iterable[tuple[Mapping[str, Any], np.ndarray]],
    tasks: Sequence[str],
    transforms: Mapping[str, str],
) -> dict[tuple[str, str], list[np.ndarray | None]]:
    """Return by model and method the transformed scores of every task.

    Args:
        every: the metadata and the scores of files, see `transferred_scores`.
        tasks: of the study.
        transforms: of scores of nodes and of edges.
    """
    found: dict[tuple[str, str], list[np.ndarray | None]] = {}
    for metadata, scores in every:
        place = (metadata["model"], metadata["method"])
        of_tasks = found.setdefault(place, [None] * len(tasks))
        transform = transforms[scored_by(metadata["method"])]
        of_tasks[tasks.index(metadata["task"])] = transformed(scores, transform)
    return found


if __name__ == "__main__":
    run_stage(summarise_source_use, snakemake)
