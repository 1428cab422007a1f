"""Compare what source scores say of the target with its gold scores, all over."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from circuit_transfer.artifacts.frames import read_frame, write_frame
from circuit_transfer.jobs.progress import progress
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.stages.transferred_scores import transferred_scores
from circuit_transfer.tables.edge_curves import ABSOLUTE
from circuit_transfer.tables.similarity import correlations_table
from circuit_transfer.tables.typesetting import write_table
from circuit_transfer.transfer.correlation import (
    CORRELATION_SCHEMA,
    compare_projections,
)

log = logging.getLogger(__name__)

COLUMNS = ("source", "target", "task", "method", "training_set", "map", "control")


def correlate_scores(
    projections_paths: Iterable[Path | str],
    gold_paths: Iterable[Path | str],
    correlations_path: Path | str,
    tables_paths: Sequence[Path | str],
    edge_projections_paths: Iterable[Path | str] = (),
    edge_gold_paths: Iterable[Path | str] = (),
    *,
    pairs: Sequence[tuple[str, str]],
    methods: Sequence[str],
    proportions: Sequence[float],
    families: Mapping[str, Sequence[str]],
    edge_ranking: str = ABSOLUTE,
) -> None:
    """Write all comparisons, and of every pair their means as a table.

    Args:
        projections_paths: the projections of every pair, method and task.
        gold_paths: the scores of every target, method and task.
        correlations_path: where the comparisons go.
        tables_paths: of one pair after the other, one path per format.
        edge_projections_paths: the projections of scores of edges.
        edge_gold_paths: scores of edges of every target, of the same methods.
        pairs: source and target of every pair.
        methods: in the order of the tables' blocks.
        proportions: sizes of the circuits that are compared.
        families: of the study's tasks.
        edge_ranking: which scores of edges are transferred, `absolute` or `signed`.

    Raises:
        ValueError: a file is damaged or without a column.
        KeyError: the gold scores of a projection are not among the paths.
    """
    every = transferred_scores(gold_paths, edge_gold_paths, ranking=edge_ranking)
    gold = {_place(metadata): scores for metadata, scores in every}
    how = {"proportions": proportions, "families": families}
    paths = [*projections_paths, *edge_projections_paths]
    frames = [
        _compared(path, gold, **how)
        for path in progress(paths, len(paths), "file of projections")
    ]
    correlations = pl.concat([pl.DataFrame(schema=CORRELATION_SCHEMA), *frames])
    log.info("%d comparisons", len(correlations))
    write_frame(correlations, correlations_path)
    formats = len(tables_paths) // max(len(pairs), 1)
    for number, pair in enumerate(pairs):
        own = tables_paths[number * formats : (number + 1) * formats]
        _write_table(correlations, own, *pair, methods)


def _compared(
    path: Path | str, gold: Mapping[tuple[str, str, str], np.ndarray], **how: Any
) -> pl.DataFrame:
    """Return the comparisons of a file of projections with its gold scores."""
    projections = read_frame(path, (*COLUMNS, "seed", "scores"))
    if projections.is_empty():
        log.warning("%s: no projection, an empty cell", path)
        return pl.DataFrame(schema=CORRELATION_SCHEMA)
    names = projections.row(0, named=True)
    scores = gold[names["target"], names["task"], names["method"]]
    return compare_projections(projections, scores, **how)


def _write_table(
    correlations: pl.DataFrame,
    paths: Sequence[Path | str],
    source: str,
    target: str,
    methods: Sequence[str],
) -> None:
    names = {"source": source, "target": target, "methods": methods}
    title = f"Similarity to the gold scores, {source} → {target}"
    write_table(correlations_table(correlations, **names), *paths, title=title)


def _place(metadata: Mapping[str, str]) -> tuple[str, str, str]:
    return metadata["model"], metadata["task"], metadata["method"]


if __name__ == "__main__":
    run_stage(correlate_scores, snakemake)
