"""The main table of a study as text, for the terminal at the end of a run."""

from collections.abc import Iterator

import polars as pl

from circuit_transfer.summary.circuits import gold_by_task, transfer_table
from circuit_transfer.summary.names import Names
from circuit_transfer.tables.text import as_text
from circuit_transfer.tables.transfers import Pair
from circuit_transfer.tables.typesetting import Table


def results_text(statistics: pl.DataFrame, names: Names) -> str:
    """Return the leaderboard of every pair, or without transfers of every model.

    Args:
        statistics: levels and differences of all circuits, of one ablation.
        names: what the study is of.
    """
    return "\n\n".join(
        f"{title}\n{as_text(table)}" for title, table in _tables(statistics, names)
    )


def _tables(statistics: pl.DataFrame, names: Names) -> Iterator[tuple[str, Table]]:
    for source, target in names.pairs:
        pair = Pair(statistics, source, target)
        yield (
            f"Circuits from {source} to {target}, means over tasks:",
            transfer_table(pair, methods=names.methods, map_name=names.maps[0]),
        )
    for target in [] if names.pairs else names.targets:
        pair = Pair(statistics, None, target)
        yield (
            f"Circuits of {target}:",
            gold_by_task(pair, tasks=names.tasks, methods=names.methods),
        )
