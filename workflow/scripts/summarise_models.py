"""List what every model can do, with its pairs, and every row that was rejected."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

import polars as pl

from circuit_transfer.artifacts.descriptions import read_record
from circuit_transfer.artifacts.frames import read_frame
from circuit_transfer.artifacts.text import read_json
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.prompts.frame import SPLITS
from circuit_transfer.tables.layouts import rejects_summary_table, rejects_table
from circuit_transfer.tables.models import READ, models_table
from circuit_transfer.tables.typesetting import write_table

log = logging.getLogger(__name__)

PROMPTS = ("clean_ids", "corrupted_ids")
PAIRS = ("split", *PROMPTS)


def summarise_models(
    models_paths: Iterable[Path | str],
    baselines_paths: Iterable[Path | str],
    pairs_paths: Iterable[Path | str],
    rejects_paths: Iterable[Path | str],
    models_table_paths: Iterable[Path | str],
    rejects_table_paths: Iterable[Path | str],
    rejects_summary_paths: Iterable[Path | str],
    *,
    models: Sequence[str],
    cells: Iterable[Sequence[str]],
) -> None:
    """Count the pairs of every model and task, and write the tables.

    Args:
        models_paths: the descriptions, in the order of `models`.
        baselines_paths: what every model does on every task, in the order of `cells`.
        pairs_paths: the usable pairs, in the same order.
        rejects_paths: the unusable rows, in the same order.
        models_table_paths: one path per format.
        rejects_table_paths: one path per format.
        rejects_summary_paths: one path per format.
        models: names of the models.
        cells: model and task of every baseline.
    """
    names = [tuple(cell) for cell in cells]
    shapes = dict(zip(models, map(read_json, models_paths), strict=True))
    read = [read_record(path, READ) for path in baselines_paths]
    baselines = dict(zip(names, read, strict=True))
    pairs = dict(zip(names, (read_frame(p, PAIRS) for p in pairs_paths), strict=True))
    rejects = dict(zip(names, map(read_frame, rejects_paths), strict=True))
    counts = {cell: _counts(pairs[cell], rejects[cell]) for cell in names}
    for (model, task), count in counts.items():
        if not count["test"]:
            log.warning("%s has no usable test pair of %s: empty cells", model, task)
    table = models_table(shapes, baselines, counts)
    write_table(table, *models_table_paths, title="Models and their pairs")
    write_table(rejects_table(rejects), *rejects_table_paths, title="Rejected rows")
    summary = rejects_summary_table(rejects)
    write_table(summary, *rejects_summary_paths, title="Reasons of rejected rows")


def _counts(pairs: pl.DataFrame, rejects: pl.DataFrame) -> dict[str, int]:
    counts = {"rejected": rejects.height}
    for split in SPLITS:
        of_split = pairs.filter(split=split)
        counts |= {split: len(of_split)}
        counts |= {f"distinct_{split}": of_split.select(PROMPTS).n_unique()}
    return counts


if __name__ == "__main__":
    run_stage(summarise_models, snakemake)
