"""Add up what a study has cost, and say from when on a transfer is cheaper."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import polars as pl
from transformers import AutoConfig

from circuit_transfer.artifacts.frames import write_frame
from circuit_transfer.artifacts.text import read_json
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.models.shape import ModelShape, model_shape
from circuit_transfer.tables.costs import (
    COST_SCHEMA,
    break_even,
    break_even_table,
    costs_table,
    with_flops,
)
from circuit_transfer.tables.typesetting import write_table

log = logging.getLogger(__name__)

# The wildcards in the name of a job, by rule.
PLACES = {
    "attribute_nodes": ("model", "task", "method"),
    "fit_alignment": ("source", "target", "method", "training_set"),
    "stitch_alignment": ("source", "target", "task"),
    "attribute_edges": ("model", "task", "method"),
    "fit_edge_alignment": ("source", "target", "method", "training_set"),
    "stitch_edges": ("source", "target", "task"),
    "vary_setting": ("source", "target", "method"),
    "compare_steps": ("model", "task", "method"),
}


def summarise_costs(
    costs_paths: Iterable[Path | str],
    benchmarks_paths: Iterable[Path | str],
    models_paths: Iterable[Path | str],
    costs_table_paths: Iterable[Path | str],
    break_even_path: Path | str,
    break_even_table_paths: Iterable[Path | str],
    *,
    jobs: Sequence[str],
    training: Mapping[str, Sequence[str]],
    maps: Mapping[str, Sequence[str]],
    correspondence: str,
) -> None:
    """Read every job's costs and benchmark, and write what they come to.

    Args:
        costs_paths: the costs of every job.
        benchmarks_paths: what Snakemake has measured of every job.
        models_paths: the descriptions of all models that ran.
        costs_table_paths: one path per format.
        break_even_path: where the numbers go that the figure is drawn from.
        break_even_table_paths: one path per format.
        jobs: the stage of every job and what it is of, `{stage}/{name}/{name}`.
        training: tasks of the training sets whose cost is reported; see `break_even`.
        maps: by method the main map, and those that it is compared with.
        correspondence: which one residual maps begin with.

    Raises:
        ValueError: a file of costs is no JSON.
    """
    frames = [_read_costs(*each) for each in zip(jobs, costs_paths, strict=True)]
    shapes = dict(_read_shape(path) for path in models_paths)
    rows = with_flops(pl.concat([pl.DataFrame(schema=COST_SCHEMA), *frames]), shapes)
    seconds = dict(zip(jobs, map(_read_seconds, benchmarks_paths), strict=True))
    log.info("%d rows of costs of %d jobs", len(rows), len(frames))
    table = costs_table(rows, seconds)
    write_table(table, *costs_table_paths, title="What the study has cost")
    counted = {"maps": maps, "correspondence": correspondence}
    balance = break_even(rows, training=training, **counted)
    write_frame(balance, break_even_path)
    title = "From how many new tasks on a transfer is cheaper"
    write_table(break_even_table(balance), *break_even_table_paths, title=title)


def _read_costs(name: str, path: Path | str) -> pl.DataFrame:
    stage, *names = name.split("/")
    place = dict(zip(PLACES.get(stage, ()), names, strict=False))
    rows = [place | {"stage": stage, "job": name} | row for row in read_json(path)]
    return pl.DataFrame(rows, schema=COST_SCHEMA)


def _read_seconds(path: Path | str) -> float:
    return pl.read_csv(path, separator="\t", columns=["s"])["s"].sum()


def _read_shape(path: Path | str) -> tuple[str, ModelShape]:
    description = read_json(path)
    config = AutoConfig.from_pretrained(
        description["path"], local_files_only=True, trust_remote_code=False
    )
    return description["model"], model_shape(config, dtype=description["dtype"])


if __name__ == "__main__":
    run_stage(summarise_costs, snakemake)
