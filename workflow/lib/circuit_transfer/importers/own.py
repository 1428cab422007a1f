"""Pairs from a user's own file, or from a prompts file that this project wrote."""

from pathlib import Path
from typing import Any

from circuit_transfer.importers.rows import Imported, half, is_text
from circuit_transfer.importers.tables import Table, read_table
from circuit_transfer.messages import quoted
from circuit_transfer.prompts.frame import (
    PROMPT_SCHEMA,
    SPLITS,
    Prompt,
    prompt_frame,
    reject_frame,
)

OPTIONAL = ("split", "group")
# What a prompts file says beyond the columns that one writes by hand.
FURTHER = ("answer_ids", "wrong_answer_ids", "tokenized", "single_token")


def read_pairs(path: Path | str) -> Imported:
    """Read pairs from `.jsonl`, `.csv` or `.parquet`.

    Columns are `clean`, `corrupted`, `answer`, `wrong_answer`, and if one likes
    `group` (by default the clean prompt) and `split`; others are left out. Without a
    split, a hash of the group decides, half and half. An answer is a text or, but for
    CSV, a list of texts; the plural names `answers` and `wrong_answers` do as well. So
    a Parquet file of `PROMPT_SCHEMA` gives the same pairs again.

    A file made by hand is mended by hand: a bad cell is an error, not a reject.

    Raises:
        ValueError: Naming file, row and column: the file cannot be read or has no rows,
            a column is missing, a cell is not text, or a group is in both splits.
    """
    table = read_table(path)
    columns = {name: _column(table, name) for name in ("answer", "wrong_answer")}
    if not table.rows:
        raise ValueError(f"{path}: no rows")
    table.require("clean", "corrupted", *columns.values())
    again = table.path.suffix == ".parquet" and {*PROMPT_SCHEMA} <= {*table.columns}
    prompts = [_prompt(table, row, columns, again) for row in table.rows]
    _check_groups(table.path, prompts)
    return Imported(prompt_frame(prompts), reject_frame([]))


def _column(table: Table, name: str) -> str:
    """Find the column of answers, which may have the singular or the plural name."""
    found = [column for column in (name, f"{name}s") if column in table.columns]
    if len(found) > 1:
        raise ValueError(f"{table.path}: columns {found}: expected one of the two")
    return (found or [name])[0]


def _prompt(table: Table, row: Any, columns: dict[str, str], again: bool) -> Prompt:
    where = f"{table.path}: row {row.number}, column"
    given = {
        column: _text(row.cells.get(column), f"{where} {column}")
        for column in ("clean", "corrupted", *OPTIONAL)
        if column in table.columns
    }
    further = {name: row.cells[name] for name in FURTHER} if again else {}
    by_ids = bool(further.get("answer_ids") and further.get("wrong_answer_ids"))
    answers = {
        f"{name}s": _texts(row.cells.get(column), f"{where} {column}", empty=by_ids)
        for name, column in columns.items()
    }
    group = given.setdefault("group", given["clean"])
    split = given.setdefault("split", half(group))
    if split not in SPLITS:
        raise ValueError(
            f"{where} split: expected train or test, found {quoted(repr(split))}"
        )
    return Prompt(**given, **answers, **further, file=str(table.path), row=row.number)


def _text(cell: Any, where: str) -> str:
    if not is_text(cell):
        raise ValueError(f"{where}: expected text, found {quoted(repr(cell))}")
    return cell


def _texts(cell: Any, where: str, *, empty: bool) -> tuple[str, ...]:
    if not isinstance(cell, list):
        return (_text(cell, where),)
    if not cell and not empty:
        raise ValueError(f"{where}: expected text, found an empty list")
    return tuple(_text(each, where) for each in cell)


def _check_groups(path: Path, prompts: list[Prompt]) -> None:
    first: dict[str, Prompt] = {}
    for prompt in prompts:
        earlier = first.setdefault(prompt.group, prompt)
        if prompt.split != earlier.split:
            raise ValueError(
                f"{path}: rows {earlier.row} and {prompt.row}, column split: one is "
                f"{earlier.split}, the other {prompt.split}, but both are of the group "
                f"{quoted(repr(prompt.group))}"
            )
