"""Put an interval on every circuit of a study, and test aligned ones against others."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from circuit_transfer.artifacts.files import atomic
from circuit_transfer.artifacts.frames import read_frame, write_frame
from circuit_transfer.jobs.progress import progress
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.stages.measured import MeasuredFile, Paths, edge_files
from circuit_transfer.tables.curves import (
    IMPORTED,
    OF_EDGES,
    imported_rankings,
    named_rows,
    stacked,
)
from circuit_transfer.tables.edge_curves import ABSOLUTE
from circuit_transfer.tables.layouts import statistics_columns
from circuit_transfer.tables.resampling import EXAMPLES
from circuit_transfer.tables.statistics import DOCUMENTATION, study_statistics
from circuit_transfer.tables.typesetting import write_table

log = logging.getLogger(__name__)

ROWS = ("level", "difference")


def summarise_statistics(
    cpr_path: Path | str,
    gold_paths: Paths,
    random_paths: Paths,
    aligned_paths: Paths,
    imported_paths: Paths,
    statistics_path: Path | str,
    curves_path: Path | str,
    columns_paths: Iterable[Path | str],
    gold_edges_paths: Paths = (),
    random_edges_paths: Paths = (),
    aligned_edges_paths: Paths = (),
    *,
    siblings: Iterable[Sequence[str]],
    families: Mapping[str, Sequence[str]],
    edge_ranking: str = ABSOLUTE,
) -> None:
    """Write levels and differences in one frame, curves with intervals in another.

    Args:
        cpr_path: the areas of all circuits.
        gold_paths: the circuits of direct attribution, measured.
        random_paths: those of random rankings.
        aligned_paths: those of transfer, and the controls.
        imported_paths: those from elsewhere.
        statistics_path: the frame of levels and differences.
        curves_path: the frame of curves.
        columns_paths: what the columns mean, one path per format.
        gold_edges_paths: see `edge_files`, as for the next two.
        random_edges_paths: of edges.
        aligned_edges_paths: of edges.
        siblings: pairs of tasks that are near each other.
        families: tasks that share a circuit.
        edge_ranking: of gold circuits of edges, `absolute` or `signed`.
    """
    measured = {"gold": gold_paths, "random": random_paths}
    measured |= {"aligned": aligned_paths, IMPORTED: imported_paths}
    edges = (gold_edges_paths, random_edges_paths, aligned_edges_paths)
    files = [MeasuredFile(kind, path) for kind in measured for path in measured[kind]]
    files += edge_files(*edges, ranking=edge_ranking)
    frames = _named_frames(files, siblings=list(siblings), families=families)
    cpr = read_frame(cpr_path, ["cpr", "cmd"])
    statistics, curves = study_statistics(named_rows(cpr, families), frames)
    counts = (len(statistics.filter(row=each)) for each in ROWS)
    log.info("%d levels, %d differences", *counts)
    with atomic(statistics_path) as partial:
        statistics.write_parquet(partial, metadata=DOCUMENTATION)
    write_frame(curves, curves_path)
    write_table(statistics_columns(), *columns_paths, title="Columns of the statistics")


def _named_frames(
    files: Sequence[MeasuredFile], **names: Any
) -> Iterator[pl.DataFrame]:
    """Yield the circuits of every file, with their regime and their name."""
    for file in progress(files, len(files), "file of circuits"):
        rows = stacked([_read(file)], file.kind, **names, columns=EXAMPLES)
        yield named_rows(rows, names["families"])


def _read(file: MeasuredFile) -> pl.DataFrame:
    needed = [name for name in EXAMPLES if name not in OF_EDGES]
    frame = file.read(["target", "task", "method", *needed])
    return imported_rankings(frame) if file.kind == IMPORTED else frame


if __name__ == "__main__":
    run_stage(summarise_statistics, snakemake)
