"""Answers that continue the last word of their prompt, since a space is missing."""

from typing import Any

import polars as pl

from circuit_transfer.prompts.frame import FOLLOWING


def glued_words(prompts: pl.DataFrame) -> list[str]:
    """Return for every pair with an answer glued to its prompt the word they make.

    A number may be continued by a number, as the year of greater-than, and a text
    without a space, as of a Chinese prompt, by anything. So may an answer that is
    tokenized alone.

    Args:
        prompts: a frame of `PROMPT_SCHEMA`.
    """
    rows = prompts.filter(tokenized=FOLLOWING).iter_rows(named=True)
    return [word for word in map(_glued_word, rows) if word]


def _glued_word(row: dict[str, Any]) -> str | None:
    before, space, word = row["clean"].rpartition(" ")
    for answer in (*row["answers"], *row["wrong_answers"]):
        joint = word[-1:] + answer[:1]
        # Joined text of two digits, or of a sign, is as it is meant.
        is_glued = len(joint) == 2 and joint.isalnum() and not joint.isdecimal()
        if before and space and is_glued:
            return word + answer
    return None
