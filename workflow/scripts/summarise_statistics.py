"""Put an interval on every circuit of a study, and test aligned ones against others."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import polars as pl

from circuit_transfer.artifacts.files import atomic
from circuit_transfer.artifacts.frames import read_frame, write_frame
from circuit_transfer.jobs.progress import progress
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.tables.curves import (
    BY_EXAMPLE,
    IMPORTED,
    imported_rankings,
    named_rows,
    stacked,
)
from circuit_transfer.tables.layouts import statistics_columns
from circuit_transfer.tables.statistics import DOCUMENTATION, study_statistics
from circuit_transfer.tables.typesetting import write_table

log = logging.getLogger(__name__)

EXAMPLES = {"proportion": pl.Float64, "n_nodes": pl.Int64} | BY_EXAMPLE
ROWS = ("level", "difference")


def summarise_statistics(
    cpr_path: Path | str,
    gold_paths: Iterable[Path | str],
    random_paths: Iterable[Path | str],
    aligned_paths: Iterable[Path | str],
    imported_paths: Iterable[Path | str],
    statistics_path: Path | str,
    curves_path: Path | str,
    columns_paths: Iterable[Path | str],
    *,
    siblings: Iterable[Sequence[str]],
    families: Mapping[str, Sequence[str]],
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
        siblings: pairs of tasks that are near each other.
        families: tasks that share a circuit.
    """
    measured = {"gold": gold_paths, "random": random_paths}
    measured |= {"aligned": aligned_paths, IMPORTED: imported_paths}
    names = {"siblings": list(siblings), "families": families}
    files = [(kind, path) for kind, paths in measured.items() for path in paths]
    frames = (
        named_rows(
            stacked([_read(path, kind)], kind, **names, columns=EXAMPLES), families
        )
        for kind, path in progress(files, len(files), "file of circuits")
    )
    cpr = named_rows(read_frame(cpr_path, ["cpr", "cmd"]), families)
    statistics, curves = study_statistics(cpr, frames)
    counts = dict(statistics["row"].value_counts().iter_rows())
    log.info("%d levels, %d differences", *(counts.get(r, 0) for r in ROWS))
    with atomic(statistics_path) as partial:
        statistics.write_parquet(partial, metadata=DOCUMENTATION)
    write_frame(curves, curves_path)
    write_table(statistics_columns(), *columns_paths, title="Columns of the statistics")


def _read(path: Path | str, kind: str) -> pl.DataFrame:
    frame = read_frame(path, ["target", "task", "method", *EXAMPLES])
    return imported_rankings(frame) if kind == IMPORTED else frame


if __name__ == "__main__":
    run_stage(summarise_statistics, snakemake)
