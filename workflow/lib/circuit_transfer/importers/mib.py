"""Pairs from the datasets of the MIB benchmark (Mueller et al., arXiv 2504.13151).

Right and wrong answers and the default counterfactual follow the benchmark's circuit
track:

- ioi, s2_io_flip: the indirect object and the subject;
- copycolors_mcqa, arc_easy and arc_challenge, symbol: the label at `answerKey` and that
  of the counterfactual;
- arithmetic_addition and arithmetic_subtraction, random: the result and that of the
  counterfactual, both of a single token.

**The leading space.** The circuit track tokenizes an answer separately, a name with a
leading space (" Mary"), a label or number without one ("D", "91"), although the prompts
of copycolors_mcqa and arc end in "Answer:", so that a model would predict " D". The
benchmark's causal-variable track expects " D" there. Without `leading_space` the
circuit track is followed. With `true` every answer gets a space, with `auto` only if
the prompt does not end in white space; these answers are tokenized together with the
prompt. With `false` answers get no space and are tokenized separately.

Conditions that depend on a tokenizer (prompts of equal length, answers of a single
token) are checked when pairs are tokenized. Unlike in the benchmark, the names of ioi
need not have the same number of tokens: patching only needs prompts of equal length.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from reprlib import repr as shortened
from typing import Any

from circuit_transfer.importers.mib_files import DataFile, find_files
from circuit_transfer.importers.rows import (
    Imported,
    ParsedRows,
    Part,
    UnusableRow,
    always,
    as_integer,
    as_text,
    parse_rows,
    text,
)
from circuit_transfer.importers.tables import Table, read_table
from circuit_transfer.messages import quoted
from circuit_transfer.prompts.frame import ALONE, FOLLOWING

ENDING = "_counterfactual"

Cells = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """The properties of a MIB task.

    Attributes:
        counterfactual: the default counterfactual, without the suffix of its column.
        columns: required columns besides the counterfactual.
        right: returns the right answer of a row.
        wrong: returns the wrong answer of a row and its counterfactual.
        leading_space: whether answers have a leading space in the circuit track.
        operator: the only operator whose rows are used.
        configuration: the default configuration, if there are several.
    """

    counterfactual: str
    columns: tuple[str, ...]
    right: Callable[[Cells], str]
    wrong: Callable[[Cells, Cells], str]
    leading_space: bool = False
    operator: str | None = None
    configuration: str | None = None


def read_mib(
    task: str,
    path: Path | str,
    *,
    configuration: str | None = None,
    counterfactual: str | None = None,
    leading_space: bool | str | None = None,
    train: int | None = None,
    test: int | None = None,
    head: int | None = None,
) -> Imported:
    """Read a MIB dataset from a file or a folder, in the order of its rows.

    Files named after a split determine the split of their rows, and a test row with the
    clean prompt of a train row is rejected. Otherwise the split is determined by a
    hash: of the clean prompt or, in arithmetic, of the operands, so that all templates
    of the same operands are in one split.

    Args:
        task: one of `MIB_TASKS`.
        path: a `.parquet` or `.jsonl` file, or a folder with the layout of the hub.
        configuration: the configuration to read, in a folder that has several; by
            default that of the circuit track.
        counterfactual: the counterfactual, with or without `_counterfactual`.
        leading_space: true, false, `auto`, or None to follow the circuit track.
        train: largest number of training pairs; the first ones are taken.
        test: the same for test pairs.
        head: how many of the first rows of every file to read; all by default.

    Raises:
        ValueError: The task or counterfactual is unknown, there are no data files or no
            rows, or a file is damaged or lacks a column.
    """
    if task not in MIB_TASKS:
        raise ValueError(f"unknown MIB task {task!r}: expected one of {[*MIB_TASKS]}")
    found = ParsedRows()
    for file in task_files(task, path, configuration):
        table = read_table(file.path, head=head)
        if table.rows:
            parts = _parts(MIB_TASKS[task], table, file, counterfactual, leading_space)
            found += parse_rows(table.rows, parts, file.name)
    if not (found.prompts or found.rejects):
        raise ValueError(f"{path}: no rows")
    return found.with_splits_apart().head(train=train, test=test).frames()


def task_files(
    task: str, path: Path | str, configuration: str | None = None
) -> list[DataFile]:
    """Return the files that `read_mib` reads, in order; arguments as there."""
    return find_files(path, configuration, default=MIB_TASKS[task].configuration)


def _parts(
    task: Task,
    table: Table,
    file: DataFile,
    counterfactual: str | None,
    leading_space: bool | str | None,
) -> dict[str, Part]:
    table.require(*task.columns)
    column = _counterfactual_column(table, counterfactual or task.counterfactual)

    def right(cells: Cells) -> tuple[str, ...]:
        return (_space(task, leading_space, cells) + task.right(cells),)

    def wrong(cells: Cells) -> tuple[str, ...]:
        other = _counterfactual(cells, column)
        return (_space(task, leading_space, cells) + task.wrong(cells, other),)

    alone = leading_space is None or leading_space is False
    parts = {
        "clean": text("prompt"),
        "corrupted": lambda cells: as_text(
            _counterfactual(cells, column).get("prompt"), f"prompt of {column}"
        ),
        "answers": right,
        "wrong_answers": wrong,
        "split": always(file.split),
        "tokenized": always(ALONE if alone else FOLLOWING),
    }
    if task.operator:
        parts["single_token"] = always(True)
    if task.operator and not file.split:
        parts["group"] = _operands
    return parts


def _counterfactual_column(table: Table, name: str) -> str:
    found = [column for column in table.columns if column.endswith(ENDING)]
    column = name.removesuffix(ENDING) + ENDING
    if column not in found:
        names = [column.removesuffix(ENDING) for column in found]
        shown = quoted(names, 1000)
        raise ValueError(f"{table.path}: no counterfactual {name!r}, only {shown}")
    return column


def _counterfactual(cells: Cells, column: str) -> Cells:
    found = cells.get(column)
    if not isinstance(found, dict) or found.get("prompt") is None:
        raise UnusableRow(f"no {column}")
    return found


def _space(task: Task, leading_space: bool | str | None, cells: Cells) -> str:
    if leading_space is None:
        leading_space = task.leading_space
    elif leading_space == "auto":
        leading_space = not str(cells.get("prompt"))[-1:].isspace()
    return " " if leading_space else ""


def _indirect_object(cells: Cells) -> str:
    return _name(cells, "indirect_object")


def _subject(cells: Cells, other: Cells) -> str:
    """Return the subject, the wrong answer for every counterfactual.

    In `abc` no name is repeated and no answer is right (`answerKey` -1), which is
    valid; a counterfactual with the same right answer is not.
    """
    if other.get("answerKey") != -1:
        answer = _choice(other, other.get("choices"))
        if answer == _indirect_object(cells):
            shown = quoted(repr(answer))
            raise UnusableRow(f"the counterfactual has the same answer, {shown}")
    return _name(cells, "subject")


def _name(cells: Cells, role: str) -> str:
    metadata = cells.get("metadata")
    found = metadata.get(role) if isinstance(metadata, dict) else None
    return as_text(found, f"metadata.{role}")


def _choice_label(cells: Cells) -> str:
    """Return the label at `answerKey`: text, in symbol counterfactuals a number."""
    choices = cells.get("choices")
    return _choice(cells, choices.get("label") if isinstance(choices, dict) else None)


def _choice(cells: Cells, choices: Any) -> str:
    key = as_integer(cells.get("answerKey"))
    if not isinstance(choices, list):
        raise UnusableRow(f"choices: expected a list, found {shortened(choices)}")
    if key is None or not 0 <= key < len(choices):
        raise UnusableRow(
            f"answerKey {shortened(cells.get('answerKey'))} is not an index of "
            f"{len(choices)} choices"
        )
    return _label(choices[key])


def _label(value: Any) -> str:
    number = as_integer(value)
    return as_text(value if number is None else str(number), "label")


def _result(operator: str) -> Callable[[Cells], str]:
    def result(cells: Cells) -> str:
        if (found := cells.get("operator")) != operator:
            raise UnusableRow(
                f"operator: expected {operator!r}, found {shortened(found)}"
            )
        return _label(cells.get("label"))

    return result


def _operands(cells: Cells) -> str:
    operands = [as_integer(cells.get(name)) for name in ("operand1", "operand2")]
    if None in operands:
        raise UnusableRow("operand1 or operand2 is not a whole number")
    return f"{operands[0]} {cells.get('operator')} {operands[1]}"


CHOICES = Task(
    "symbol",
    ("prompt", "choices", "answerKey"),
    right=_choice_label,
    wrong=lambda cells, other: _choice_label(other),
)
MIB_TASKS = {
    "ioi": Task(
        "s2_io_flip",
        ("prompt", "metadata"),
        right=_indirect_object,
        wrong=_subject,
        leading_space=True,
    ),
    "copycolors_mcqa": replace(CHOICES, configuration="4_answer_choices"),
    "arc_easy": CHOICES,
    "arc_challenge": CHOICES,
} | {
    f"arithmetic_{name}": Task(
        "random",
        ("prompt", "label", "operator", "operand1", "operand2"),
        right=_result(operator),
        wrong=lambda cells, other: _label(other.get("label")),
        operator=operator,
    )
    for name, operator in (("addition", "+"), ("subtraction", "-"))
}
