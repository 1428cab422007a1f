"""Put all methods of nodes and edges side by side: quality, stability and costs."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

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
from circuit_transfer.tables.methods import entries, methods_table, tests_table
from circuit_transfer.tables.typesetting import write_table

log = logging.getLogger(__name__)


def summarise_methods(
    circuits_paths: Iterable[Path | str],
    areas_path: Path | str,
    stability_path: Path | str,
    costs_paths: Iterable[Path | str],
    statistics_path: Path | str,
    methods_table_paths: Iterable[Path | str],
    tests_table_paths: Iterable[Path | str],
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

    Args:
        circuits_paths: circuits of edges at the sizes that circuits are learned for.
        areas_path: the areas of all circuits of edges.
        stability_path: the table of their stability (CSV).
        costs_paths: the costs of finding them, of every job.
        statistics_path: where all numbers go.
        methods_table_paths: one path per format.
        tests_table_paths: one path per format.
        target: the model.
        ablation: the ablation that is shown.
        tasks: in the order of the tables.
        methods: methods that score nodes.
        edge_methods: methods that score edges.
        learned_methods: methods that learn circuits.
        sizes: the sizes that these learn circuits for.
        jobs: of the costs, `{stage}/{model}/{task}/{method}`, in their order.
        filters: see `method_measures.cost_measures`.
    """
    shown = entries(methods, edge_methods, learned_methods)
    circuits = {each.method: [] for each in shown}
    for each in shown:
        circuits[each.method].append(each.circuit)
    frames = (read_frame(path, COLUMNS) for path in circuits_paths)
    frames = (frame.filter(ablation=ablation) for frame in frames)
    areas = read_frame(areas_path, (*KEYS, *AREAS))
    areas = areas.filter(target=target, ablation=ablation)
    costs = {}
    for job, path in zip(jobs, costs_paths, strict=True):
        _, _, task, method = job.split("/")
        costs[method, task] = read_json(path)
    parts = (
        size_measures(frames, sizes, learned_methods),
        curve_measures(areas, learned_methods),
        stability_measures(read_table(stability_path, STABILITY_COLUMNS)),
        cost_measures(costs, circuits, filters),
    )
    statistics = method_statistics(pl.concat(parts), learned_methods)
    log.info("%d methods, %d numbers", len(circuits), len(statistics))
    with atomic(statistics_path) as partial:
        statistics.write_parquet(partial, metadata=DOCUMENTATION)
    names = {"edge_methods": edge_methods, "learned_methods": learned_methods}
    names |= {"tasks": tasks, "sizes": sizes}
    table = methods_table(statistics, methods=methods, **names)
    write_table(table, *methods_table_paths, title=f"Methods on {target}")
    table = tests_table(statistics, tasks=tasks, learned_methods=learned_methods)
    title = f"Learned circuits of {target} beside others"
    write_table(table, *tests_table_paths, title=title)


if __name__ == "__main__":
    run_stage(summarise_methods, snakemake)
