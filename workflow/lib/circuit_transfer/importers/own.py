"""Pairs from a user's own file, or from a prompts file written by this project."""

from pathlib import Path
from typing import Any

from circuit_transfer.importers.files import suffix
from circuit_transfer.importers.lists import parsed_list
from circuit_transfer.importers.rows import Imported, is_text, split_by_hash
from circuit_transfer.importers.tables import Table
from circuit_transfer.messages import quoted
from circuit_transfer.prompts.frame import (
    PROMPT_SCHEMA,
    SPLITS,
    Prompt,
    prompt_frame,
    reject_frame,
)

OPTIONAL = ("split", "group")
# Columns of a prompts file in addition to those of a user's own file.
FURTHER = ("answer_ids", "wrong_answer_ids", "tokenized", "single_token")


def read_pairs(table: Table) -> Imported:
    """Read pairs from the rows of any file.

    Columns are `clean`, `corrupted`, `answer`, `wrong_answer`, and optionally `group`
    (by default the clean prompt) and `split`; others are ignored. Without `split`, a
    hash of the group assigns half of the groups to each split. An answer is text or a
    list of texts, which in CSV is written as text (`["a", "b"]`); the plural names
    `answers` and `wrong_answers` are accepted too. So a Parquet file with
    `PROMPT_SCHEMA` gives the same pairs again.

    An invalid cell is an error, not a reject, since users can correct their own files.

    Raises:
        ValueError: A column is missing, a cell is not text, or a group is in both
            splits; names file, row and column.
    """
    columns = {name: _column(table, name) for name in ("answer", "wrong_answer")}
    optional = [name for name in OPTIONAL if name in table.columns]
    table.require("clean", "corrupted", *columns.values(), *optional)
    is_parquet = suffix(table.path) == ".parquet"
    complete = is_parquet and {*PROMPT_SCHEMA} <= {*table.columns}
    prompts = [_prompt(table, row, columns, complete) for row in table.rows]
    _check_groups(table.path, prompts)
    return Imported(prompt_frame(prompts), reject_frame([]))


def has_pairs(table: Table) -> bool:
    """Return whether a table has the columns that `read_pairs` needs."""
    return table.lacks(*needed_columns(table)) is None


def needed_columns(table: Table) -> tuple[str, ...]:
    """Return the columns that `read_pairs` needs, answers in singular or plural."""
    answers = (_columns(table, name)[0] for name in ("answer", "wrong_answer"))
    return ("clean", "corrupted", *answers)


def _columns(table: Table, name: str) -> list[str]:
    """Return the answer columns of a name, singular or plural; if none, the name."""
    found = [column for column in (name, f"{name}s") if column in table.columns]
    return found or [name]


def _column(table: Table, name: str) -> str:
    """Return the only answer column of a name."""
    found = _columns(table, name)
    if len(found) > 1:
        raise ValueError(f"{table.path}: columns {found}: expected one of the two")
    return found[0]


def _prompt(table: Table, row: Any, columns: dict[str, str], complete: bool) -> Prompt:
    where = f"{table.path}: row {row.number}, column"
    given = {
        column: _text(row.cells.get(column), f"{where} {column}")
        for column in ("clean", "corrupted", *OPTIONAL)
        if column in table.columns
    }
    further = {name: row.cells[name] for name in FURTHER} if complete else {}
    by_ids = bool(further.get("answer_ids") and further.get("wrong_answer_ids"))
    answers = {
        f"{name}s": _texts(
            row.cells.get(column),
            f"{where} {column}",
            empty=by_ids,
            has_lists=table.has_lists,
        )
        for name, column in columns.items()
    }
    group = given.setdefault("group", given["clean"])
    split = given.setdefault("split", split_by_hash(group))
    if split not in SPLITS:
        raise ValueError(
            f"{where} split: expected train or test, found {quoted(repr(split))}"
        )
    return Prompt(**given, **answers, **further, file=str(table.path), row=row.number)


def _text(cell: Any, where: str) -> str:
    if not is_text(cell):
        raise ValueError(f"{where}: expected text, found {quoted(repr(cell))}")
    return cell


def _texts(cell: Any, where: str, *, empty: bool, has_lists: bool) -> tuple[str, ...]:
    try:
        cell = cell if has_lists else parsed_list(cell)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
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
                f"{earlier.split}, the other {prompt.split}, but both are in the group "
                f"{quoted(repr(prompt.group))}"
            )
