"""Tables as text, for a terminal."""

from collections.abc import Iterator, Sequence

from circuit_transfer.tables.typesetting import Table, headings, shown_lines

# Characters of a line, of a name in it, and rows of a table.
WIDTH, LONGEST_NAME, MOST_ROWS = 100, 32, 24


def as_text(table: Table) -> str:
    """Return a table in columns, long names, lines and tables cut."""
    lines = [line.texts for line in shown_lines(table)]
    rows = [headings(table), *lines[:MOST_ROWS]]
    rows = [[*map(_cut, row[: table.labels]), *row[table.labels :]] for row in rows]
    text = [line[:WIDTH] for line in aligned(rows, labels=table.labels)]
    if len(lines) > MOST_ROWS:
        text.append(f"... and {len(lines) - MOST_ROWS:,} more rows")
    return "\n".join(text)


def aligned(rows: Sequence[Sequence[str]], *, labels: int) -> Iterator[str]:
    """Yield a line for every row: names on the left of their column, numbers right.

    Args:
        rows: the texts of all cells, the headings first.
        labels: number of leading columns with names.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            text.ljust(width) if place < labels else text.rjust(width)
            for place, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


def _cut(name: str) -> str:
    short = len(name) <= LONGEST_NAME
    return name if short else f"{name[: LONGEST_NAME - 3]}..."
