"""Pairs from the JSON Lines of Edge Pruning (Bhaskar et al., arXiv 2406.16778)."""

import re
from reprlib import repr as shortened
from typing import Any

from circuit_transfer.importers.rows import (
    Imported,
    Part,
    UnusableRow,
    as_text,
    parse_rows,
    text,
)
from circuit_transfer.importers.tables import Row, Table

SPAN = re.compile(r"(?P<prompt>.*?)<predict>(?P<answer>.*?)</predict>", re.S)


def read_edge_pruning(table: Table) -> Imported:
    """Read `clean` and `corrupted` texts whose answer is `<predict> marked</predict>`.

    The text before the span is the prompt, the span is the answer, and the rest is
    ignored. White space around the opening tag is merged into the leading space of the
    answer. The span of the corrupted text is the wrong answer; rows without one are
    rejected, because they have no logit difference.

    The column `split` contains `train`, `validation` and `test`. Validation rows are
    used for testing if the file has no test rows, and rejected otherwise. Without the
    column, the split is determined by a hash of the clean prompt.

    Raises:
        ValueError: The table lacks these columns.
    """
    table.require("clean", "corrupted")
    parts = {
        "clean": _prompt("clean"),
        "corrupted": _prompt("corrupted"),
        "answers": _answer("clean", "answer"),
        "wrong_answers": _answer("corrupted", "wrong answer"),
    }
    if "split" in table.columns:
        parts["split"] = splits(table)
    return parse_rows(table.rows, parts, str(table.path)).with_splits_apart().frames()


def has_spans(table: Table) -> bool:
    """Return whether rows have the spans that `read_edge_pruning` reads."""
    return any(_is_marked(row) for row in table.rows)


def all_have_spans(table: Table) -> bool:
    """Return whether the answer is marked in every row, whatever its columns."""
    return bool(table.rows) and all(_is_marked(row) for row in table.rows)


def _is_marked(row: Row) -> bool:
    clean = row.cells.get("clean")
    return isinstance(clean, str) and SPAN.match(clean) is not None


def _prompt(column: str) -> Part:
    def part(cells: dict[str, Any]) -> str:
        whole = as_text(cells.get(column), column)
        span = SPAN.match(whole)
        return span["prompt"].rstrip() if span else whole

    return part


def _answer(column: str, role: str) -> Part:
    def part(cells: dict[str, Any]) -> tuple[str, ...]:
        span = SPAN.match(as_text(cells.get(column), column))
        if not span or not span["answer"].strip():
            raise UnusableRow(f"{column}: no <predict> span, so no {role}")
        spaced = span["prompt"] != span["prompt"].rstrip()
        inside = span["answer"]
        return (inside if inside[0].isspace() or not spaced else f" {inside}",)

    return part


def splits(table: Table) -> Part:
    """Return a function that extracts the split of a row, see `read_edge_pruning`."""
    has_test = any(row.cells.get("split") == "test" for row in table.rows)
    used = {"train": "train", "test": "test"}
    used |= {} if has_test else {"validation": "test"}

    def part(cells: dict[str, Any]) -> str:
        split = text("split")(cells)
        if split not in used:
            raise UnusableRow(
                f"split: expected one of {[*used]}, found {shortened(split)}"
            )
        return used[split]

    return part
