"""The main table of a study as text, for the terminal at the end of a run."""

from collections.abc import Iterator

import polars as pl

from circuit_transfer.summary.circuits import gold_by_task, transfer_table
from circuit_transfer.summary.names import Names
from circuit_transfer.tables.transfers import Pair
from circuit_transfer.tables.typesetting import Table, headings, shown_lines

# Characters of a line, of a name in it, and rows of a table.
WIDTH, LONGEST_NAME, MOST_ROWS = 100, 32, 24


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


def as_text(table: Table) -> str:
    """Return a table in columns: names on the left, cut where long, then numbers."""
    lines = [line.texts for line in shown_lines(table)]
    rows = [headings(table), *lines[:MOST_ROWS]]
    rows = [[*map(_cut, row[: table.labels]), *row[table.labels :]] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    text = [_line(row, widths, table.labels) for row in rows]
    if len(lines) > MOST_ROWS:
        text.append(f"... and {len(lines) - MOST_ROWS:,} more rows")
    return "\n".join(text)


def _line(row: list[str], widths: list[int], labels: int) -> str:
    cells = [
        text.ljust(width) if place < labels else text.rjust(width)
        for place, (text, width) in enumerate(zip(row, widths, strict=True))
    ]
    return "  ".join(cells).rstrip()[:WIDTH]


def _cut(name: str) -> str:
    short = len(name) <= LONGEST_NAME
    return name if short else f"{name[: LONGEST_NAME - 3]}..."
