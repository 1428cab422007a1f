"""Test over families of tasks whether transfers use their source."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path

import numpy as np

from circuit_transfer.artifacts.files import atomic
from circuit_transfer.artifacts.frames import read_frame
from circuit_transfer.artifacts.scores import read_scores
from circuit_transfer.artifacts.text import read_json
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.models.lineage import relation
from circuit_transfer.tables.curves import named_rows
from circuit_transfer.tables.measures import AREAS
from circuit_transfer.tables.source_use import DOCUMENTATION, source_use
from circuit_transfer.tables.source_use_table import source_use_table
from circuit_transfer.tables.task_correlation import task_similarity
from circuit_transfer.tables.typesetting import write_table
from circuit_transfer.transfer.maps import transformed

log = logging.getLogger(__name__)


def summarise_source_use(
    cpr_path: Path | str,
    models_paths: Iterable[Path | str],
    scores_paths: Iterable[Path | str],
    source_use_path: Path | str,
    tables_paths: Sequence[Path | str],
    *,
    pairs: Sequence[Sequence[str]],
    tasks: Sequence[str],
    methods: Sequence[str],
    maps: Sequence[str],
    families: Mapping[str, Sequence[str]],
    ablation: str,
    transform: str,
) -> None:
    """Write all differences to controls as a frame, and as a table.

    Args:
        cpr_path: the areas of all circuits.
        models_paths: the descriptions of all models, whose lineages relate them.
        scores_paths: the node scores of every model, task and method.
        source_use_path: the frame, see `tables.source_use`.
        tables_paths: one path per format.
        pairs: source and target of every transfer.
        tasks: of the study.
        methods: that score nodes.
        maps: all of them.
        families: of the tasks.
        ablation: of the circuits that are compared.
        transform: of scores, before they are correlated.
    """
    models = {each["model"]: each for each in map(read_json, models_paths)}
    relations = {(one, two): relation(models[one], models[two]) for one, two in pairs}
    scores = _scores(scores_paths, tasks, transform)
    known = {"tasks": tasks, "families": families}
    similarities = {
        (*pair, method): task_similarity(*(scores[m, method] for m in pair), **known)
        for pair, method in product(relations, methods)
    }
    cpr = read_frame(cpr_path, [*AREAS, "ablation"]).filter(ablation=ablation)
    names = {"families": families, "methods": methods, "maps": maps}
    found = {"relations": relations, "similarities": similarities}
    frame = source_use(named_rows(cpr, families), **found, **names)
    log.info("%d differences of %d pairs", len(frame), len(pairs))
    with atomic(source_use_path) as partial:
        frame.write_parquet(partial, metadata=DOCUMENTATION)
    table = source_use_table(frame)
    write_table(table, *tables_paths, title="Source use, over families of tasks")


def _scores(
    paths: Iterable[Path | str], tasks: Sequence[str], transform: str
) -> dict[tuple[str, str], list[np.ndarray | None]]:
    """Return by model and method the transformed scores of every task."""
    found: dict[tuple[str, str], list[np.ndarray | None]] = {}
    for file in map(read_scores, paths):
        place = (file.metadata["model"], file.metadata["method"])
        of_tasks = found.setdefault(place, [None] * len(tasks))
        task = tasks.index(file.metadata["task"])
        of_tasks[task] = transformed(file.scores, transform)
    return found


if __name__ == "__main__":
    run_stage(summarise_source_use, snakemake)
