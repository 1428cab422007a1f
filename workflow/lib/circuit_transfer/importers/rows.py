"""Convert rows to pairs, or to rejects with the reason."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from reprlib import repr as shortened
from typing import Any

import polars as pl

from circuit_transfer.importers.lists import parsed_list
from circuit_transfer.importers.tables import Row
from circuit_transfer.messages import quoted
from circuit_transfer.prompts.frame import (
    SPLITS,
    Prompt,
    Reject,
    prompt_frame,
    reject_frame,
)

TEXTS = ("clean", "corrupted", "answers", "wrong_answers")
# Token ids are stored as 32-bit integers.
LARGEST_ID = 2**31 - 1

# Extracts one attribute of a `Prompt` from the cells of a row.
Part = Callable[[dict[str, Any]], Any]


class UnusableRow(Exception):
    """The reason why a row cannot be used as a pair."""


@dataclass(frozen=True)
class Imported:
    """The pairs of a file (`PROMPT_SCHEMA`) and its rejects (`REJECT_SCHEMA`)."""

    prompts: pl.DataFrame
    rejects: pl.DataFrame

    def of_split(self, split: str) -> "Imported":
        """Return the pairs of a split, and all rejects, whose split is not known."""
        return Imported(self.prompts.filter(split=split), self.rejects)


@dataclass(frozen=True)
class ParsedRows:
    """Parsed rows, as pairs and rejects."""

    prompts: tuple[Prompt, ...] = ()
    rejects: tuple[Reject, ...] = ()

    def __add__(self, other: "ParsedRows") -> "ParsedRows":
        """Concatenate the rows of two files."""
        return ParsedRows(self.prompts + other.prompts, self.rejects + other.rejects)

    def with_splits_apart(self) -> "ParsedRows":
        """Reject test pairs whose clean prompt is also in the train split."""
        known = {p.clean for p in self.prompts if p.split == "train"}
        leaks = {p for p in self.prompts if p.split == "test" and p.clean in known}
        rejects = [_reject(p, "the clean prompt is in the train split") for p in leaks]
        return ParsedRows(
            tuple(p for p in self.prompts if p not in leaks),
            (*self.rejects, *rejects),
        )

    def head(self, **limits: int | None) -> "ParsedRows":
        """Return the first pairs of each split, up to the limits `train` and `test`."""
        remaining = {split: limits.get(split) for split in SPLITS}
        selected = []
        for prompt in self.prompts:
            if remaining[prompt.split] is None:
                selected.append(prompt)
            elif remaining[prompt.split] > 0:
                remaining[prompt.split] -= 1
                selected.append(prompt)
        return replace(self, prompts=tuple(selected))

    def frames(self) -> Imported:
        """Return pairs and rejects as frames, rejects in the order of their rows."""
        rejects = sorted(self.rejects, key=lambda reject: (reject.file, reject.row))
        return Imported(prompt_frame(self.prompts), reject_frame(rejects))


def parse_rows(rows: Iterable[Row], parts: Mapping[str, Part], file: str) -> ParsedRows:
    """Convert every row to a pair, or to a reject with all reasons.

    Args:
        rows: rows of one file.
        parts: by attribute of `Prompt`, the function that extracts it from the cells of
            a row or raises `UnusableRow`. By default the group is the clean prompt, and
            the split is determined by a hash of the group.
        file: name of the file in pairs and rejects.
    """
    prompts, rejects = [], []
    for row in rows:
        found, reasons = _try_parts(row, parts)
        if not reasons and (reason := _contradiction(found)):
            reasons = [reason]
        if reasons:
            texts = {name: found[name] for name in TEXTS if name in found}
            reason = "; ".join(dict.fromkeys(reasons))
            rejects.append(Reject(reason=reason, row=row.number, file=file, **texts))
        else:
            prompts.append(_prompt(row, found, file))
    return ParsedRows(tuple(prompts), tuple(rejects))


def split_by_hash(group: str) -> str:
    """Return the split of a group by its hash; half of all groups are in each."""
    return SPLITS[sha256(group.encode()).digest()[0] % 2]


def text(column: str) -> Part:
    """Return a function that extracts the text of a column."""

    def part(cells: dict[str, Any]) -> str:
        return as_text(cells.get(column), column)

    return part


def texts(column: str, *, has_lists: bool = True) -> Part:
    """Return a function that extracts the texts of a column: one, or a list.

    Args:
        column: the column.
        has_lists: whether its file can have a list, see `Table`.
    """

    def part(cells: dict[str, Any]) -> tuple[str, ...]:
        found = cells.get(column)
        try:
            found = found if has_lists else parsed_list(found)
        except ValueError as error:
            raise UnusableRow(f"{column}: {error}") from error
        found = [found] if isinstance(found, str) else found
        if not isinstance(found, list) or not found:
            raise UnusableRow(f"{column}: expected texts, found {shortened(found)}")
        return tuple(as_text(each, column) for each in found)

    return part


def token_ids(column: str) -> Part:
    """Return a function that extracts token ids: a number or list, also as text."""

    def part(cells: dict[str, Any]) -> tuple[int, ...]:
        found = parsed = cells.get(column)
        if isinstance(found, str):
            try:
                parsed = json.loads(found)
            except (ValueError, RecursionError):
                parsed = None
        ids = [*map(as_integer, parsed if isinstance(parsed, list) else [parsed])]
        if not ids or not all(i is not None and 0 <= i <= LARGEST_ID for i in ids):
            raise UnusableRow(f"{column}: expected token ids, found {shortened(found)}")
        return tuple(ids)

    return part


def always(value: Any) -> Part:
    """Return a function that returns the same value for every row."""
    return lambda cells: value


def as_text(value: Any, name: str) -> str:
    """Return a value, after checking that it is text.

    Raises:
        UnusableRow: The value is not text.
    """
    if not is_text(value):
        raise UnusableRow(f"{name}: expected text, found {shortened(value)}")
    return value


def is_text(value: Any) -> bool:
    """Return whether a value is valid UTF-8 text (JSON allows lone surrogates)."""
    try:
        return isinstance(value, str) and value.encode() is not None
    except UnicodeEncodeError:
        return False


def as_integer(value: Any) -> int | None:
    """Return a whole number as an integer, or None for any other value."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    whole = isinstance(value, int) and not isinstance(value, bool)
    return value if whole else None


def _try_parts(row: Row, parts: Mapping[str, Part]) -> tuple[dict[str, Any], list[str]]:
    found, reasons = {}, []
    for name, part in parts.items():
        try:
            found[name] = part(row.cells)
        except UnusableRow as reason:
            reasons.append(str(reason))
    return found, reasons


def _contradiction(found: dict[str, Any]) -> str | None:
    for right, wrong in (
        ("answers", "wrong_answers"),
        ("answer_ids", "wrong_answer_ids"),
    ):
        both = set(found.get(right, ())) & set(found.get(wrong, ()))
        if both:
            one = quoted(repr(min(both)))
            return f"{one} is both a right and a wrong answer"
    return None


def _prompt(row: Row, found: dict[str, Any], file: str) -> Prompt:
    texts = {"answers": (), "wrong_answers": (), "group": found["clean"]} | found
    split = found.get("split") or split_by_hash(texts["group"])
    return Prompt(**{**texts, "split": split}, row=row.number, file=file)


def _reject(prompt: Prompt, reason: str) -> Reject:
    texts = {name: getattr(prompt, name) for name in TEXTS}
    return Reject(reason=reason, row=prompt.row, file=prompt.file, **texts)
