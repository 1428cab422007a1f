"""What text pairs are: the frame that generators and importers write.

One row per pair, every row with the place it came from, so that a pair that cannot be
used later can be found in its file.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import polars as pl

SPLITS = ("train", "test")
# How the text of an answer becomes its token: as it follows the prompt, or tokenized
# by itself, as the MIB circuit track does.
FOLLOWING, ALONE = "following", "alone"

PROMPT_SCHEMA = {
    "file": pl.String,
    "row": pl.Int64,
    "split": pl.String,
    "group": pl.String,
    "clean": pl.String,
    "corrupted": pl.String,
    "answers": pl.List(pl.String),
    "wrong_answers": pl.List(pl.String),
    "answer_ids": pl.List(pl.Int32),
    "wrong_answer_ids": pl.List(pl.Int32),
    "tokenized": pl.String,
    "single_token": pl.Boolean,
}
# A further column of the frames whose prompts have marks, and only of these.
MARKS = "marks"
MARK_SCHEMA = pl.List(
    pl.Struct({"name": pl.String, "start": pl.Int32, "stop": pl.Int32})
)
REJECT_SCHEMA = {
    "file": pl.String,
    "row": pl.Int64,
    "reason": pl.String,
    "clean": pl.String,
    "corrupted": pl.String,
    "answers": pl.List(pl.String),
    "wrong_answers": pl.List(pl.String),
}


class Mark(NamedTuple):
    """A named place in a clean prompt: its characters from `start` to before `stop`."""

    name: str
    start: int
    stop: int


@dataclass(frozen=True)
class Prompt:
    """One pair of prompts.

    Attributes:
        clean: the prompt.
        corrupted: its counterfactual, of as many tokens.
        answers: texts of which each is right, exactly as they follow the prompt.
        wrong_answers: texts of which each is wrong.
        split: `train` or `test`.
        group: pairs of a group are all in one split.
        row: the number of the row in its file, from 1.
        file: where the row is from; None for a generated pair.
        answer_ids: token ids in place of `answers`, where a file gives them.
        wrong_answer_ids: the same for `wrong_answers`.
        tokenized: whether an answer is tokenized `following` its prompt or `alone`.
        single_token: whether every answer must be one token, not only begin with it.
        marks: places in the clean prompt, such as that of the right answer.
    """

    clean: str
    corrupted: str
    answers: tuple[str, ...]
    wrong_answers: tuple[str, ...]
    split: str
    group: str
    row: int
    file: str | None = None
    answer_ids: tuple[int, ...] = ()
    wrong_answer_ids: tuple[int, ...] = ()
    tokenized: str = FOLLOWING
    single_token: bool = False
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True)
class Reject:
    """A row that gives no pair, and why; texts as far as the row has them."""

    reason: str
    row: int
    file: str | None = None
    clean: str | None = None
    corrupted: str | None = None
    answers: tuple[str, ...] = ()
    wrong_answers: tuple[str, ...] = ()


def prompt_frame(prompts: Iterable[Prompt]) -> pl.DataFrame:
    """Return pairs as a frame of `PROMPT_SCHEMA`, with a column `MARKS` if any have."""
    rows = [
        vars(prompt) | {MARKS: [mark._asdict() for mark in prompt.marks]}
        for prompt in prompts
    ]
    marked = any(row[MARKS] for row in rows)
    schema = PROMPT_SCHEMA | ({MARKS: MARK_SCHEMA} if marked else {})
    return pl.DataFrame(rows, schema=schema)


def reject_frame(rejects: Iterable[Reject]) -> pl.DataFrame:
    """Return rejected rows as a frame of `REJECT_SCHEMA`."""
    return pl.DataFrame(list(map(vars, rejects)), schema=REJECT_SCHEMA)
