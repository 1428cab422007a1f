"""Tabulate the edges that matter most to a model on every task."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from circuit_transfer.artifacts.edge_scores import read_edge_scores
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.tables.top_edges import top_edges_table
from circuit_transfer.tables.typesetting import write_table


def summarise_top_edges(
    scores_paths: Iterable[Path | str],
    table_paths: Sequence[Path | str],
    *,
    model: str,
    tasks: Sequence[str],
    edge_methods: Sequence[str],
) -> None:
    """Write the table of a model's highest and most negative edges, a path per format.

    The files of scores are of one task and method each, and say which.
    """
    files = [read_edge_scores(path) for path in scores_paths]
    scores = {(each.metadata["task"], each.metadata["method"]): each for each in files}
    table = top_edges_table(scores, tasks=tasks, methods=edge_methods)
    write_table(table, *table_paths, title=f"Top edges of {model}")


if __name__ == "__main__":
    run_stage(summarise_top_edges, snakemake)
