"""Pairs from the IOI data that Edge Pruning publishes (arXiv 2406.16778)."""

from typing import Any

from circuit_transfer.importers.edge_pruning import splits
from circuit_transfer.importers.rows import (
    Imported,
    Part,
    UnusableRow,
    as_text,
    parse_rows,
    text,
)
from circuit_transfer.importers.tables import Table
from circuit_transfer.messages import quoted

CLEAN, CORRUPTED, RIGHT, WRONG = "ioi_sentences", "corr_ioi_sentences", "a", "b"


def read_ioi_sentences(table: Table) -> Imported:
    """Read whole sentences, of which the last word is the name in the column `a`.

    The prompt is what precedes the last word, of the clean and of the corrupted
    sentence; `a` is the answer, and `b`, the name of whom the sentence names twice, is
    the wrong one. The column `split` is read as in `edge_pruning`.

    Raises:
        ValueError: The table lacks these columns.
    """
    table.require(CLEAN, CORRUPTED, RIGHT, WRONG)
    parts = {
        "clean": _beginning(CLEAN, answer=RIGHT),
        "corrupted": _beginning(CORRUPTED),
        "answers": _name(RIGHT),
        "wrong_answers": _name(WRONG),
    }
    if "split" in table.columns:
        parts["split"] = splits(table)
    return parse_rows(table.rows, parts, str(table.path)).with_splits_apart().frames()


def has_ioi_sentences(table: Table) -> bool:
    """Return whether a table has the columns that `read_ioi_sentences` needs."""
    return table.lacks(CLEAN, CORRUPTED, RIGHT, WRONG) is None


def _beginning(column: str, answer: str | None = None) -> Part:
    """Return a function that extracts a sentence without its last word.

    Args:
        column: of the sentence.
        answer: the column of what the last word must be.
    """

    def part(cells: dict[str, Any]) -> str:
        words = as_text(cells.get(column), column).rstrip().rsplit(None, 1)
        if len(words) < 2:
            raise UnusableRow(f"{column}: expected several words, found {words}")
        if answer and words[1].rstrip(".") != text(answer)(cells).strip():
            raise UnusableRow(
                f"{column}: ends with {quoted(repr(words[1]))}, expected the name in "
                f"the column {answer}"
            )
        return words[0]

    return part


def _name(column: str) -> Part:
    def part(cells: dict[str, Any]) -> tuple[str, ...]:
        name = text(column)(cells).strip()
        if not name:
            raise UnusableRow(f"{column}: expected a name, found nothing")
        return (f" {name}",)

    return part
