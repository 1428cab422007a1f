"""The main table of a study as text, for the terminal at the end of a run."""

from collections.abc import Iterator
from textwrap import TextWrapper

import polars as pl

from circuit_transfer.summary.circuits import gold_by_task, transfer_table
from circuit_transfer.summary.edge_circuits import edges_line
from circuit_transfer.summary.names import Names
from circuit_transfer.tables.text import as_text
from circuit_transfer.tables.transfers import Pair
from circuit_transfer.tables.typesetting import Table

# As wide as the tables may be.
_WRAPPER = TextWrapper(width=100, subsequent_indent="  ", break_on_hyphens=False)


def results_text(
    statistics: pl.DataFrame, names: Names, *, edges: pl.DataFrame | None = None
) -> str:
    """Return the leaderboard of every pair, or without transfers of every model.

    Below them a line for every model whose circuits of edges were measured.

    Args:
        statistics: levels and differences of all circuits, of one ablation.
        names: what the study is of.
        edges: those of circuits of edges, if the study has any.
    """
    tables = _tables(statistics, names) if names.methods else ()
    texts = [f"{title}\n{as_text(table)}" for title, table in tables]
    if edges is not None:
        scored = {"edge_methods": names.edge_methods, "tasks": names.tasks}
        lines = (edges_line(edges, target=each, **scored) for each in names.targets)
        texts.append("\n".join(_WRAPPER.fill(line) for line in lines))
    return "\n\n".join(texts)


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
