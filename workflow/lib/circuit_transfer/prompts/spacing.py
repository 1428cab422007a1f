"""Spaces before answers that are missing, or that end the prompt instead.

Most tokenizers have one token for a word with the space before it and others without.
After a prompt that a space should follow, a model rarely predicts one of the latter.
"""

import re
import unicodedata
from collections import Counter
from enum import Enum
from typing import Any

import polars as pl

from circuit_transfer.prompts.encoding import Encoding, Tokenizer
from circuit_transfer.prompts.frame import FOLLOWING

# After these a word follows with a space, unless the prompt itself does without.
PAUSES = ":,;?!"
# Scripts that are written without spaces between words, by the names of characters.
UNSPACED = re.compile(
    "CJK|IDEOGRAPH|HIRAGANA|KATAKANA|HANGUL|THAI|LAO|KHMER|MYANMAR|TIBETAN|BOPOMOFO"
)


class Boundary(Enum):
    """What an answer without a leading space is to its prompt."""

    MISSING_SPACE = "the model has a token for the answer with a space"
    COMPLETION = "the answer completes the last word of the prompt"
    FINE = "neither"


def missing_spaces(prompts: pl.DataFrame, tokenizer: Tokenizer) -> list[str]:
    """Return for every pair whose answers lack a leading space the text that they make.

    An answer lacks it if with a space it is one token and without it is not that token.
    It lacks none if it completes a word or a number, or if the script has no spaces.

    Args:
        prompts: a frame of `PROMPT_SCHEMA`.
        tokenizer: the tokenizer of the model.
    """
    known: dict[tuple[str, str], Boundary] = {}
    found = [
        _boundary_of_row(row, tokenizer, known)
        for row in prompts.filter(tokenized=FOLLOWING).iter_rows(named=True)
    ]
    counts = Counter(boundary for boundary, _ in found)
    # Few tokens of suffixes, such as "est", look like words of a task of completions.
    if counts[Boundary.COMPLETION] > counts[Boundary.MISSING_SPACE]:
        return []
    return [text for boundary, text in found if boundary is Boundary.MISSING_SPACE]


def trailing_spaces(prompts: pl.DataFrame, tokenizer: Tokenizer) -> list[str]:
    """Return the last word of every prompt that ends with the space of its answer.

    It does so if the answer with the space is one token, which the space in the prompt
    takes apart.

    Args:
        prompts: a frame of `PROMPT_SCHEMA`.
        tokenizer: the tokenizer of the model.
    """
    rows = prompts.filter(tokenized=FOLLOWING).iter_rows(named=True)
    return [
        _last_word(row["clean"].rstrip()) + " "
        for row in rows
        if _ends_in_space(row, tokenizer)
    ]


def _boundary_of_row(
    row: dict[str, Any], tokenizer: Tokenizer, known: dict[tuple[str, str], Boundary]
) -> tuple[Boundary, str]:
    """Return the boundary of a pair, and what it was seen from.

    Args:
        row: the pair.
        tokenizer: the tokenizer of the model.
        known: boundaries by last word and answer, which is added to: templates repeat.
    """
    clean, found = row["clean"] or "", {}
    for answer in _answers(row):
        if _may_lack_space(clean, answer):
            key = (_last_word(clean), answer)
            if key not in known:
                known[key] = _boundary(clean, answer, tokenizer)
            found.setdefault(known[key], "".join(key))
    for boundary in (Boundary.COMPLETION, Boundary.MISSING_SPACE):
        if boundary in found:
            return boundary, found[boundary]
    return Boundary.FINE, ""


def _may_lack_space(clean: str, answer: str) -> bool:
    """Return whether a space is possible between a prompt and an answer, by writing."""
    word = _last_word(clean)
    if word == clean or not word or not answer[:1].isalnum():
        return False
    if any(UNSPACED.search(unicodedata.name(each, "")) for each in word + answer):
        return False
    if word[-1] in PAUSES:
        is_glued = re.search(rf"{re.escape(word[-1])}[^\W\d_]", clean)
        return not is_glued and not word[-2:-1].isdigit()
    if answer[0].isdigit():
        # A number is continued by a number, and a variable may have one.
        return unicodedata.category(word[-1])[0] in "LM" and len(word) > 1
    # A number may have a unit.
    has_letter = any(each.isalpha() for each in word)
    return unicodedata.category(word[-1])[0] in "LMN" and has_letter


def _boundary(clean: str, answer: str, tokenizer: Tokenizer) -> Boundary:
    prompt, joined = tokenizer.encode(clean), tokenizer.encode(clean + answer)
    spaced, end = tokenizer.encode(f"{clean} {answer}").ids, len(prompt.ids)
    is_token = spaced[:end] == prompt.ids and len(spaced) == end + 1
    if tokenizer.unknown is not None and tokenizer.unknown.id in joined.ids:
        # Both may be words, but what they make is none.
        known = is_token and tokenizer.unknown.id not in spaced
        return Boundary.MISSING_SPACE if known else Boundary.FINE
    word = _last_word(clean)
    begin = len(clean) - len(word)
    if word[-1] not in PAUSES and not _is_new_word(word, answer):
        before, after = _pieces(prompt, begin), _pieces(joined, begin)
        if after <= before:
            # The tokenizer knows the whole word.
            return Boundary.COMPLETION
        if before > 1 or joined.ids[:end] != prompt.ids:
            # Perhaps a part of a rare word: no evidence of two words.
            return Boundary.FINE
    # Where a space is in no token, the token is the same without it.
    differs = is_token and spaced[end] not in joined.ids[end:]
    return Boundary.MISSING_SPACE if differs else Boundary.FINE


def _pieces(encoding: Encoding, begin: int) -> int:
    """Return how many tokens the text has from a character on."""
    return sum(end > begin for _, end in encoding.spans)


def _is_new_word(word: str, answer: str) -> bool:
    """Return whether a capital letter after a small one begins a word."""
    return word[-1].islower() and answer[0].isupper()


def _ends_in_space(row: dict[str, Any], tokenizer: Tokenizer) -> bool:
    clean = row["clean"] or ""
    stripped = clean.rstrip(" ")
    if stripped == clean or not stripped:
        return False
    prompt = tokenizer.encode(stripped).ids
    if tokenizer.encode(clean).ids == prompt:
        return False
    texts = [f"{stripped} {each.lstrip(' ')}" for each in _answers(row)]
    return any(tokenizer.encode(text).ids[:-1] == prompt for text in texts)


def _answers(row: dict[str, Any]) -> list[str]:
    return [each for each in (*row["answers"], *row["wrong_answers"]) if each]


def _last_word(text: str) -> str:
    """Return what follows the last white space of a text."""
    return re.split(r"\s", text)[-1]
