"""Pairs from a user's own file, or from a prompts file written by this project."""

from pathlib import Path
from typing import Any

from circuit_transfer.importers.rows import (
    LIST_AS_TEXT,
    Imported,
    is_list_of_texts,
    is_text,
    split_by_hash,
)
from circuit_transfer.importers.tables import Table, read_table, suffix
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


def read_pairs(path: Path | str) -> Imported:
    """Read pairs from `.jsonl`, `.csv`, `.tsv` or `.parquet`.

    Columns are `clean`, `corrupted`, `answer`, `wrong_answer`, and optionally `group`
    (by default the clean prompt) and `split`; others are ignored. Without `split`, a
    hash of the group assigns half of the groups to each split. An answer is text or,
    except in CSV, a list of texts; the plural names `answers` and `wrong_answers` are
    accepted too. So a Parquet file with `PROMPT_SCHEMA` gives the same pairs again.

    An invalid cell is an error, not a reject, since users can correct their own files.

    Raises:
        ValueError: The file cannot be read or has no rows, a column is missing, a cell
            is not text, or a group is in both splits; names file, row and column.
    """
    table = read_table(path)
    columns = {name: _column(table, name) for name in ("answer", "wrong_answer")}
    if not table.rows:
        raise ValueError(f"{path}: no rows")
    table.require("clean", "corrupted", *columns.values())
    is_parquet = suffix(table.path) == ".parquet"
    complete = is_parquet and {*PROMPT_SCHEMA} <= {*table.columns}
    prompts = [_prompt(table, row, columns, complete) for row in table.rows]
    _check_groups(table.path, prompts)
    return Imported(prompt_frame(prompts), reject_frame([]))


def _column(table: Table, name: str) -> str:
    """Return the name of an answer column, singular or plural."""
    found = [column for column in (name, f"{name}s") if column in table.columns]
    if len(found) > 1:
        raise ValueError(f"{table.path}: columns {found}: expected one of the two")
    return (found or [name])[0]


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
    if not has_lists and is_list_of_texts(cell):
        raise ValueError(f"{where}: {LIST_AS_TEXT}, found {quoted(cell)}")
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
