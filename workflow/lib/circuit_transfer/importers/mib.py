"""Pairs from the datasets of the MIB benchmark (Mueller et al., arXiv 2504.13151).

What is right and wrong, and which counterfactual is the default, is as in the
benchmark's circuit track:

- ioi, s2_io_flip: the indirect object and the subject;
- copycolors_mcqa, arc_easy and arc_challenge, symbol: the label at `answerKey` and that
  of the counterfactual;
- arithmetic_addition and arithmetic_subtraction, random: the result and that of the
  counterfactual, both of a single token.

**The leading space.** The circuit track tokenizes an answer by itself, a name with a
leading space (" Mary"), a label or number without one ("D", "91"), although the prompts
of copycolors_mcqa and arc end in "Answer:", so that a model would say " D". The
benchmark's causal-variable track expects " D" there. Without `leading_space` the
circuit track is followed. With true every answer gets a space, with auto unless its
prompt ends in white space; such answers are tokenized as they follow the prompt. With
false answers get none and are tokenized by themselves.

What depends on a tokenizer (prompts of one length, answers of a single token) is
checked when pairs are tokenized. That the names of ioi, with the unused `random_c`,
have equally many tokens is not asked for: patching needs equally long prompts only.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from reprlib import repr as shortened
from typing import Any

from circuit_transfer.importers.mib_files import DataFile, find_files
from circuit_transfer.importers.rows import (
    Imported,
    Part,
    Sorted,
    UnusableRow,
    always,
    as_integer,
    as_text,
    sort_rows,
    text,
)
from circuit_transfer.importers.tables import Table, read_table
from circuit_transfer.messages import quoted
from circuit_transfer.prompts.frame import ALONE, FOLLOWING

ENDING = "_counterfactual"

Cells = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """What is particular to a MIB task.

    Attributes:
        counterfactual: the default, without its ending.
        columns: what every file must have beside the counterfactual.
        right: the right answer of a row.
        wrong: the wrong answer of a row, given its counterfactual too.
        leading_space: whether the circuit track puts one before an answer.
        operator: the only operator whose rows are used.
        configuration: which one of several, unless another is asked for.
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
) -> Imported:
    """Read a MIB dataset from a file or a folder, in the order of its rows.

    Files named after a split keep it, and a test row whose clean prompt is that of a
    train row is rejected. Otherwise a hash decides: of the clean prompt, in arithmetic
    of the operands, so that the templates of one sum stay together.

    Args:
        task: one of `MIB_TASKS`.
        path: a `.parquet` or `.jsonl` file, or a folder laid out as on the hub.
        configuration: which one, in a folder that has several; that of the circuit
            track if not given.
        counterfactual: which one, with or without `_counterfactual`.
        leading_space: true, false, `auto`, or None for what the circuit track does.
        train: at most so many pairs, the first ones.
        test: the same.

    Raises:
        ValueError: The task or counterfactual is unknown, there are no data files or no
            rows, or a file is broken or lacks a column.
    """
    if task not in MIB_TASKS:
        raise ValueError(f"unknown MIB task {task!r}: expected one of {[*MIB_TASKS]}")
    found = Sorted()
    for file in task_files(task, path, configuration):
        table = read_table(file.path)
        if table.rows:
            parts = _parts(MIB_TASKS[task], table, file, counterfactual, leading_space)
            found += sort_rows(table.rows, parts, file.name)
    if not (found.prompts or found.rejects):
        raise ValueError(f"{path}: no rows")
    return found.with_splits_apart().head(train=train, test=test).frames()


def task_files(
    task: str, path: Path | str, configuration: str | None = None
) -> list[DataFile]:
    """Find the files that `read_mib` reads, in their order; arguments as there."""
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
    there = [column for column in table.columns if column.endswith(ENDING)]
    column = name.removesuffix(ENDING) + ENDING
    if column not in there:
        names = [column.removesuffix(ENDING) for column in there]
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
    """The subject, which is contrasted whatever the counterfactual.

    In `abc` no name is repeated and none is right (`answerKey` -1), which is a
    contrast; a counterfactual with the same answer is none.
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
    """The label at `answerKey`: a text, in symbol counterfactuals a number."""
    choices = cells.get("choices")
    return _choice(cells, choices.get("label") if isinstance(choices, dict) else None)


def _choice(cells: Cells, choices: Any) -> str:
    key = as_integer(cells.get("answerKey"))
    if not isinstance(choices, list):
        raise UnusableRow(f"choices: expected a list, found {shortened(choices)}")
    if key is None or not 0 <= key < len(choices):
        raise UnusableRow(
            f"answerKey {shortened(cells.get('answerKey'))} is none of {len(choices)} "
            "choices"
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
