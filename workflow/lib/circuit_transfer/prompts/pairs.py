"""Turn text pairs into token ids, and keep out the pairs that cannot be used.

A pair is usable when both prompts have the same number of tokens, so that positions
correspond, right and wrong answers begin with different tokens, and the tokenizer loses
no word of them.
"""

import logging
from dataclasses import dataclass
from typing import Any

import polars as pl

from circuit_transfer.jobs.progress import progress
from circuit_transfer.messages import quoted
from circuit_transfer.prompts.encoding import Encoding, Tokenizer, lost_word
from circuit_transfer.prompts.frame import ALONE, MARKS, REJECT_SCHEMA
from circuit_transfer.prompts.reasons import described_kinds

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
# A further column of pairs whose prompts have marks: the tokens of each of these.
POSITION_SCHEMA = pl.List(
    pl.Struct({"name": pl.String, "positions": pl.List(pl.Int32)})
)

TEXT_COLUMNS = ("clean", "corrupted", "answers", "wrong_answers")


@dataclass(frozen=True)
class Tokenized:
    """The usable pairs (`PAIR_SCHEMA`) and the rejected ones (`REJECT_SCHEMA`)."""

    pairs: pl.DataFrame
    rejects: pl.DataFrame


def tokenize_pairs(prompts: pl.DataFrame, tokenizer: Tokenizer) -> Tokenized:
    """Tokenize and check every row of a frame of text pairs (`PROMPT_SCHEMA`).

    Every row becomes either a pair or a reject, with its number and the reason. If the
    frame has a column `marks`, so do the pairs: the positions of the tokens that share
    a character with a mark (`POSITION_SCHEMA`).
    """
    schema = PAIR_SCHEMA | ({MARKS: POSITION_SCHEMA} if MARKS in prompts else {})
    pairs, rejects = [], []
    rows = prompts.iter_rows(named=True)
    for row in progress(rows, len(prompts), "row"):
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
    kinds = described_kinds(each["reason"] for each in rejects)
    for kind in kinds:
        log.info("%s", kind)
    if rejects and not pairs:
        log.warning("no row is usable for this model, %s", kinds[0])
    return Tokenized(
        pl.DataFrame(pairs, schema=schema),
        pl.DataFrame(rejects, schema=REJECT_SCHEMA),
    )


def select_pairs(pairs: pl.DataFrame, split: str, examples: int) -> pl.DataFrame:
    """Return the first usable pairs of a split (`train` or `test`)."""
    return pairs.filter(pl.col("split") == split).head(examples)


def begin_twice(pairs: pl.DataFrame, added: list[int]) -> int:
    """Return how many pairs have the tokens twice that the tokenizer puts first.

    Args:
        pairs: a frame of `PAIR_SCHEMA`.
        added: the tokens that the tokenizer puts before every text.
    """
    twice = [*added, *added]
    return bool(added) * sum(
        ids[: len(twice)] == twice for ids in pairs["clean_ids"].to_list()
    )


class _Reject(Exception):
    """Why a row cannot be used."""


def _tokenize_row(row: dict[str, Any], tokenizer: Tokenizer) -> dict[str, Any]:
    for column in TEXT_COLUMNS[:2]:
        if not (row[column] or "").strip():
            raise _Reject(f"{column} is empty")
    clean, corrupted = (
        _known_ids(column, tokenizer.encode(row[column]), tokenizer)
        for column in TEXT_COLUMNS[:2]
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
    if not 0 <= min(used) <= max(used) < tokenizer.vocabulary:
        raise _Reject(
            f"a token id is not below the size of the model's vocabulary, "
            f"{tokenizer.vocabulary}"
        )
    ids = {
        "clean_ids": clean,
        "corrupted_ids": corrupted,
        "answer_ids": answers,
        "wrong_answer_ids": wrong,
    }
    return ids | (_positions(row, tokenizer) if MARKS in row else {})


def _positions(row: dict[str, Any], tokenizer: Tokenizer) -> dict[str, list[dict]]:
    """Return the positions of the tokens of every mark of the clean prompt."""
    spans = tokenizer.encode(row["clean"]).spans
    marks = [
        {
            "name": mark["name"],
            "positions": [
                position
                for position, (begin, end) in enumerate(spans)
                if begin < mark["stop"] and end > mark["start"]
            ],
        }
        for mark in row[MARKS]
    ]
    return {MARKS: marks}


def _answer_tokens(
    row: dict[str, Any], column: str, prompt: list[int], tokenizer: Tokenizer
) -> list[int]:
    """Return the first token of every answer, each once, in order."""
    if row[f"{column}_ids"]:
        return _given_tokens(row, column, tokenizer)
    texts = row[f"{column}s"]
    if not texts or not all((text or "").strip() for text in texts):
        raise _Reject(f"{column} is empty")
    tokens = []
    for text in texts:
        if row["tokenized"] == ALONE:
            ids = _known_ids(column, tokenizer.encode_alone(text), tokenizer, 0, 1)
        else:
            ids = _following(column, row["clean"], text, prompt, tokenizer)
        if not ids:
            raise _Reject(f"{column} has no token of its own")
        if row["single_token"] and len(ids) > 1:
            raise _Reject(f"{column} has {len(ids)} tokens, the task needs one")
        tokens.append(ids[0])
    return list(dict.fromkeys(tokens))


def _given_tokens(row: dict[str, Any], column: str, tokenizer: Tokenizer) -> list[int]:
    """Return the token ids of a file, each once, in order."""
    ids, unknown = list(dict.fromkeys(row[f"{column}_ids"])), tokenizer.unknown
    if unknown and unknown.id in ids:
        # Of whatever word: the program that wrote the file has lost it.
        raise _Reject(
            f"{column}: the token id {unknown.id} is that of every unknown word, "
            f"{quoted(unknown.text)}"
        )
    return ids


def _following(
    column: str, clean: str, answer: str, prompt: list[int], tokenizer: Tokenizer
) -> list[int]:
    """Return the tokens that follow the prompt when it is read with its answer."""
    whole, end = tokenizer.encode(clean + answer), len(prompt)
    if whole.ids[:end] != prompt:
        cure = "begin the answers with a space, unless they complete a word"
        if clean[-1].isspace():
            cure = "move the space at the end of the prompts to the answers"
        raise _Reject(f"{column} runs into the last token of the prompt: {cure}")
    return _known_ids(column, whole, tokenizer, end, end + 1)


def _known_ids(
    column: str,
    encoding: Encoding,
    tokenizer: Tokenizer,
    start: int = 0,
    stop: int | None = None,
) -> list[int]:
    """Return the tokens from `start`, of which those before `stop` must be known."""
    lost = lost_word(encoding, tokenizer, start, stop)
    if lost is not None:
        raise _Reject(
            f"{column}: {quoted(repr(lost))} is not in the model's vocabulary"
        )
    return encoding.ids[start:]
