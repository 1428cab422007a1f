"""Put all methods of nodes and edges side by side: quality, stability and costs."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from circuit_transfer.artifacts.files import atomic
from circuit_transfer.artifacts.frames import read_frame, read_table
from circuit_transfer.artifacts.text import read_json
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.tables.edge_curves import AREAS, KEYS
from circuit_transfer.tables.method_measures import (
    COLUMNS,
    STABILITY_COLUMNS,
    cost_measures,
    curve_measures,
    size_measures,
    stability_measures,
)
from circuit_transfer.tables.method_statistics import DOCUMENTATION, method_statistics
from circuit_transfer.tables.methods import comparisons_table, entries, methods_table
from circuit_transfer.tables.typesetting import write_table

log = logging.getLogger(__name__)


def summarise_methods(
    circuits_paths: Iterable[Path | str],
    areas_path: Path | str,
    stability_path: Path | str,
    costs_paths: Iterable[Path | str],
    statistics_path: Path | str,
    methods_table_paths: Iterable[Path | str],
    comparisons_table_paths: Iterable[Path | str],
    *,
    target: str,
    ablation: str,
    tasks: Sequence[str],
    methods: Sequence[str],
    edge_methods: Sequence[str],
    learned_methods: Sequence[str],
    sizes: Sequence[float],
    jobs: Sequence[str],
    filters: Mapping[str, str],
) -> None:
    """Read what was measured of a model's circuits, write its numbers and tables.

    Circuits are those of edges at the `sizes` that circuits are learned for, `areas`
    those of all circuits of edges, `stability` their table (CSV); costs are of the
    `jobs` that find circuits, `{stage}/{model}/{task}/{method}`. The numbers go to one
    file, the tables to one path per format. For `filters` see `cost_measures`.
    """
    shown = entries(methods, edge_methods, learned_methods)
    frames = (read_frame(path, COLUMNS) for path in circuits_paths)
    areas = read_frame(areas_path, (*KEYS, *AREAS)).filter(target=target)
    stability = read_table(stability_path, STABILITY_COLUMNS)
    frames = (frame.filter(ablation=ablation) for frame in frames)
    parts = (
        size_measures(frames, sizes, learned_methods),
        curve_measures(areas.filter(ablation=ablation), learned_methods),
        stability_measures(stability),
        cost_measures(_costs(jobs, costs_paths), shown, filters),
    )
    statistics = method_statistics(pl.concat(parts), learned_methods)
    log.info("%d methods, %d numbers", len(shown), len(statistics))
    with atomic(statistics_path) as partial:
        statistics.write_parquet(partial, metadata=DOCUMENTATION)
    names = {"edge_methods": edge_methods, "learned_methods": learned_methods}
    names |= {"tasks": tasks, "sizes": sizes}
    table = methods_table(statistics, methods=methods, **names)
    write_table(table, *methods_table_paths, title=f"Methods on {target}")
    table = comparisons_table(statistics, tasks=tasks, learned_methods=learned_methods)
    title = f"Learned circuits of {target} beside others"
    write_table(table, *comparisons_table_paths, title=title)


def _costs(
    jobs: Sequence[str], paths: Iterable[Path | str]
) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Return the rows of costs by method and task."""
    found = {}
    for job, path in zip(jobs, paths, strict=True):
        *_, task, method = job.split("/")
        found[method, task] = read_json(path)
    return found


if __name__ == "__main__":
    run_stage(summarise_methods, snakemake)
