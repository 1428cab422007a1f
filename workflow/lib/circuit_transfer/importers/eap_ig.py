"""Pairs from the CSV files of EAP-IG (Hanna et al., arXiv 2403.17806)."""

import re
from typing import Any

from circuit_transfer.importers.rows import (
    Imported,
    Part,
    UnusableRow,
    always,
    as_integer,
    parse_rows,
    text,
    texts,
    token_ids,
)
from circuit_transfer.importers.tables import Row, Table
from circuit_transfer.messages import quoted
from circuit_transfer.prompts.frame import ALONE

# Column names of the right and wrong answers in the tasks of EAP-IG.
ID_COLUMNS = (
    ("correct_idx", "incorrect_idx"),
    ("answers_idx", "corrupted_answers_idx"),
    ("clean_answer_idx", "corrupted_answer_idx"),
    ("country_idx", "corrupted_country_idx"),
)
TEXT_COLUMNS = (("answer", "wrong_answer"), ("answers", "wrong_answers"))
YEAR_COLUMNS = ("label", "correct_idx")
YEAR_PROMPT = re.compile(r"(?P<century>\d\d)(?P<year>\d\d)\b.*\b(?P=century)$", re.S)


def read_eap_ig(table: Table) -> Imported:
    """Read `clean`, `corrupted` and the answers; all other columns are ignored.

    Answers are token ids, single or in lists: `correct_idx` and `incorrect_idx`, or the
    names in `ID_COLUMNS`. **They are valid only for the tokenizer that the file was
    made with;** for another one they are different words. Text columns `answer` and
    `wrong_answer` are accepted too.

    The greater-than task has one column with the last two digits of the year in the
    prompt, `label` or, in other files, `correct_idx` without `incorrect_idx`. It lacks
    the leading zero: 4 is the year 04. The right answers are the larger two-digit
    numbers, the wrong ones all others, each a single token (arXiv 2305.00586).

    The split is determined by a hash of the clean prompt.

    Raises:
        ValueError: The table lacks these columns.
    """
    table.require("clean", "corrupted")
    parts = {"clean": text("clean"), "corrupted": text("corrupted")}
    return parse_rows(table.rows, parts | _answers(table), str(table.path)).frames()


def is_eap_ig(table: Table) -> bool:
    """Return whether rows have answers as `read_eap_ig` reads them."""
    pairs = (*ID_COLUMNS, *TEXT_COLUMNS)
    if any(table.lacks("clean", "corrupted", *names) is None for names in pairs):
        return True
    for column in YEAR_COLUMNS:
        if table.lacks("clean", "corrupted", column) is None:
            return any(_is_year(row, column) for row in table.rows)
    return False


def _is_year(row: Row, column: str) -> bool:
    try:
        return _year(row.cells, column) >= 0
    except UnusableRow:
        return False


def _answers(table: Table) -> dict[str, Part]:
    for right, wrong in ID_COLUMNS:
        if {right, wrong} <= {*table.columns}:
            return {
                "answer_ids": token_ids(right),
                "wrong_answer_ids": token_ids(wrong),
            }
    for right, wrong in TEXT_COLUMNS:
        if {right, wrong} <= {*table.columns}:
            lists = table.has_lists
            return {
                "answers": texts(right, has_lists=lists),
                "wrong_answers": texts(wrong, has_lists=lists),
            }
    for column in YEAR_COLUMNS:
        if column in table.columns:
            return _years(column)
    known = [*ID_COLUMNS, *TEXT_COLUMNS, YEAR_COLUMNS[0]]
    raise ValueError(
        f"{table.path}: no answer columns, only {quoted([*table.columns], 1000)}: "
        f"expected one of {known}"
    )


def _years(column: str) -> dict[str, Part]:
    def following(cells: dict[str, Any]) -> tuple[str, ...]:
        return _two_digits(_year(cells, column) + 1, 100)

    def others(cells: dict[str, Any]) -> tuple[str, ...]:
        return _two_digits(0, _year(cells, column) + 1)

    return {
        "answers": following,
        "wrong_answers": others,
        "tokenized": always(ALONE),
        "single_token": always(True),
    }


def _year(cells: dict[str, Any], column: str) -> int:
    """Return the year of a row, after checking that it is that of the prompt.

    A column of this name may contain something else, such as token ids.
    """
    found = cells.get(column)
    # Python refuses to parse numbers of thousands of digits.
    is_short = len(shown := str(found)) < 10
    year = int(shown) if is_short and shown.isdecimal() else as_integer(found)
    prompt = YEAR_PROMPT.search(str(cells.get("clean")))
    if not prompt or int(prompt["year"]) != year:
        raise UnusableRow(
            f"{column}: expected the last two digits of the year in a prompt that ends "
            f"with its first two, found {quoted(repr(found))}"
        )
    if year == 99:
        raise UnusableRow(f"{column}: no two-digit number is greater than 99")
    return year


def _two_digits(start: int, stop: int) -> tuple[str, ...]:
    return tuple(f"{number:02d}" for number in range(start, stop))
