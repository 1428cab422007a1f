"""Turn text pairs into token ids, and keep out the pairs that cannot be used.

A pair is usable when both prompts have the same number of tokens, so that positions
correspond, and the two answers begin with different tokens.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

log = logging.getLogger(__name__)

PAIR_SCHEMA = {
    "row": pl.Int64,
    "split": pl.String,
    "clean_ids": pl.List(pl.Int32),
    "corrupted_ids": pl.List(pl.Int32),
    "answer_id": pl.Int32,
    "wrong_answer_id": pl.Int32,
}
REJECT_SCHEMA = {
    "row": pl.Int64,
    "reason": pl.String,
    "clean": pl.String,
    "corrupted": pl.String,
    "answer": pl.String,
    "wrong_answer": pl.String,
}
TEXT_COLUMNS = ("clean", "corrupted", "answer", "wrong_answer")

Encode = Callable[[str], list[int]]


@dataclass(frozen=True)
class Tokenized:
    """The usable pairs (`PAIR_SCHEMA`) and the rejected ones (`REJECT_SCHEMA`)."""

    pairs: pl.DataFrame
    rejects: pl.DataFrame


def tokenize_pairs(
    prompts: pl.DataFrame, encode: Encode, *, context: int, unknown: int | None = None
) -> Tokenized:
    """Tokenize and check every row of a frame of text pairs.

    Args:
        prompts: columns `clean`, `corrupted`, `answer`, `wrong_answer`, `split`.
        encode: text to token ids, with the model's special tokens.
        context: the longest prompt that the model takes, in tokens.
        unknown: id of the token for unknown words, which a pair must not need.

    Returns:
        Every row either as a pair or as a reject, with its number and the reason.
    """
    pairs, rejects = [], []
    for number, row in enumerate(prompts.iter_rows(named=True)):
        try:
            ids = _tokenize_row(row, encode, context, unknown)
        except _Reject as reject:
            texts = {column: row[column] for column in TEXT_COLUMNS}
            rejects.append({"row": number, "reason": str(reject), **texts})
        else:
            pairs.append({"row": number, "split": row["split"], **ids})
    log.info("%d usable pairs, %d rejected", len(pairs), len(rejects))
    return Tokenized(
        pl.DataFrame(pairs, schema=PAIR_SCHEMA),
        pl.DataFrame(rejects, schema=REJECT_SCHEMA),
    )


def select_pairs(pairs: pl.DataFrame, split: str, examples: int) -> pl.DataFrame:
    """Return the first usable pairs of a split (`train` or `test`)."""
    return pairs.filter(pl.col("split") == split).head(examples)


class _Reject(Exception):
    """Why a row cannot be used."""


def _tokenize_row(
    row: dict[str, str], encode: Encode, context: int, unknown: int | None
) -> dict[str, list[int] | int]:
    for column in TEXT_COLUMNS:
        if not (row[column] or "").strip():
            raise _Reject(f"{column} is empty")
    clean, corrupted = encode(row["clean"]), encode(row["corrupted"])
    if len(clean) != len(corrupted):
        raise _Reject(
            f"clean prompt has {len(clean)} tokens, corrupted {len(corrupted)}"
        )
    if len(clean) > context:
        raise _Reject(f"{len(clean)} tokens, the model takes {context}")
    if clean == corrupted:
        raise _Reject("clean and corrupted prompt are the same")
    answer = _first_answer_token(row, "answer", clean, encode)
    wrong = _first_answer_token(row, "wrong_answer", clean, encode)
    if answer == wrong:
        raise _Reject("answer and wrong answer begin with the same token")
    if unknown is not None and unknown in {*clean, *corrupted, answer, wrong}:
        raise _Reject("a word is not in the model's vocabulary")
    return {
        "clean_ids": clean,
        "corrupted_ids": corrupted,
        "answer_id": answer,
        "wrong_answer_id": wrong,
    }


def _first_answer_token(
    row: dict[str, str], column: str, prompt: list[int], encode: Encode
) -> int:
    """Return the token that follows the prompt when it is read with its answer."""
    whole = encode(row["clean"] + row[column])
    if whole[: len(prompt)] != prompt:
        raise _Reject(f"{column} runs into the last token of the prompt")
    if len(whole) == len(prompt):
        raise _Reject(f"{column} has no token of its own")
    return whole[len(prompt)]
