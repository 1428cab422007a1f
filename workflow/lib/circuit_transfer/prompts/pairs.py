"""Turn text pairs into token ids, and keep out the pairs that cannot be used.

A pair is usable when both prompts have the same number of tokens, so that positions
correspond, and right and wrong answers begin with different tokens.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import polars as pl

from circuit_transfer.jobs.job import progress
from circuit_transfer.prompts.frame import ALONE, REJECT_SCHEMA

log = logging.getLogger(__name__)

PAIR_SCHEMA = {
    "file": pl.String,
    "row": pl.Int64,
    "split": pl.String,
    "clean_ids": pl.List(pl.Int32),
    "corrupted_ids": pl.List(pl.Int32),
    "answer_ids": pl.List(pl.Int32),
    "wrong_answer_ids": pl.List(pl.Int32),
}

TEXT_COLUMNS = ("clean", "corrupted", "answers", "wrong_answers")

Encode = Callable[[str], list[int]]


@dataclass(frozen=True)
class Tokenizer:
    """What this room needs of a tokenizer.

    Attributes:
        encode: text to token ids, with the model's special tokens.
        encode_alone: the same without special tokens.
        context: the longest prompt that the model takes, in tokens.
        vocabulary: the number of token ids that the model knows.
        unknown: id of the token for unknown words, which a pair must not need.
    """

    encode: Encode
    encode_alone: Encode
    context: int
    vocabulary: int
    unknown: int | None = None


@dataclass(frozen=True)
class Tokenized:
    """The usable pairs (`PAIR_SCHEMA`) and the rejected ones (`REJECT_SCHEMA`)."""

    pairs: pl.DataFrame
    rejects: pl.DataFrame


def tokenize_pairs(prompts: pl.DataFrame, tokenizer: Tokenizer) -> Tokenized:
    """Tokenize and check every row of a frame of text pairs (`PROMPT_SCHEMA`).

    Every row becomes either a pair or a reject, with its number and the reason.
    """
    pairs, rejects = [], []
    rows = prompts.iter_rows(named=True)
    for row in progress(rows, len(prompts), "rows of prompts"):
        try:
            ids = _tokenize_row(row, tokenizer)
        except _Reject as reject:
            place = {"file": row["file"], "row": row["row"], "reason": str(reject)}
            texts = {column: row[column] for column in TEXT_COLUMNS}
            rejects.append(place | texts)
        else:
            place = {name: row[name] for name in ("file", "row", "split")}
            pairs.append(place | ids)
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


def _tokenize_row(row: dict[str, Any], tokenizer: Tokenizer) -> dict[str, Any]:
    for column in TEXT_COLUMNS[:2]:
        if not (row[column] or "").strip():
            raise _Reject(f"{column} is empty")
    clean, corrupted = (
        tokenizer.encode(row["clean"]),
        tokenizer.encode(row["corrupted"]),
    )
    if len(clean) != len(corrupted):
        raise _Reject(
            f"clean prompt has {len(clean)} tokens, corrupted {len(corrupted)}"
        )
    if len(clean) > tokenizer.context:
        raise _Reject(f"{len(clean)} tokens, the model takes {tokenizer.context}")
    if clean == corrupted:
        raise _Reject("clean and corrupted prompt are the same")
    answers = _answer_tokens(row, "answer", clean, tokenizer)
    wrong = _answer_tokens(row, "wrong_answer", clean, tokenizer)
    if {*answers} & {*wrong}:
        raise _Reject("answer and wrong answer begin with the same token")
    used = {*clean, *corrupted, *answers, *wrong}
    if tokenizer.unknown in used:
        raise _Reject("a word is not in the model's vocabulary")
    if not 0 <= min(used) <= max(used) < tokenizer.vocabulary:
        raise _Reject(
            f"a token id is not below the size of the model's vocabulary, "
            f"{tokenizer.vocabulary}"
        )
    return {
        "clean_ids": clean,
        "corrupted_ids": corrupted,
        "answer_ids": answers,
        "wrong_answer_ids": wrong,
    }


def _answer_tokens(
    row: dict[str, Any], column: str, prompt: list[int], tokenizer: Tokenizer
) -> list[int]:
    """Return the first token of every answer, each once, in order."""
    if row[f"{column}_ids"]:
        return list(dict.fromkeys(row[f"{column}_ids"]))
    texts = row[f"{column}s"]
    if not texts or not all((text or "").strip() for text in texts):
        raise _Reject(f"{column} is empty")
    tokens = []
    for text in texts:
        if row["tokenized"] == ALONE:
            ids = tokenizer.encode_alone(text)
        else:
            ids = _following(column, row["clean"], text, prompt, tokenizer.encode)
        if not ids:
            raise _Reject(f"{column} has no token of its own")
        if row["single_token"] and len(ids) > 1:
            raise _Reject(f"{column} has {len(ids)} tokens, the task needs one")
        tokens.append(ids[0])
    return list(dict.fromkeys(tokens))


def _following(
    column: str, clean: str, answer: str, prompt: list[int], encode: Encode
) -> list[int]:
    """Return the tokens that follow the prompt when it is read with its answer."""
    whole = encode(clean + answer)
    if whole[: len(prompt)] != prompt:
        raise _Reject(f"{column} runs into the last token of the prompt")
    return whole[len(prompt) :]
