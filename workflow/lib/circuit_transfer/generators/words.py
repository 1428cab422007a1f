"""The word lists and the fact table that generators draw from."""

import csv
from dataclasses import dataclass
from pathlib import Path

import yaml


@dataclass(frozen=True)
class Fact:
    """One row of the fact table, such as (owl, animal, bird, forest)."""

    thing: str
    kind: str
    category: str
    habitat: str


@dataclass(frozen=True)
class Words:
    """The words that generators may use in a prompt.

    `women` is the subset of `names` that are women's; in `opposites` each word is
    followed by its opposite.
    """

    names: tuple[str, ...]
    places: tuple[str, ...]
    objects: tuple[str, ...]
    nouns: tuple[str, ...]
    colors: tuple[str, ...]
    letters: tuple[str, ...]
    women: tuple[str, ...]
    days: tuple[str, ...]
    months: tuple[str, ...]
    opposites: tuple[str, ...]
    containers: tuple[str, ...]
    drinks: tuple[str, ...]
    facts: tuple[Fact, ...]


def read_words(words_path: Path | str, facts_path: Path | str) -> Words:
    """Read the word lists (YAML) and the fact table (CSV).

    Raises:
        ValueError: A list or column is missing, or an entry is not a single word.
    """
    lists = yaml.safe_load(Path(words_path).read_text(encoding="utf-8"))
    with open(facts_path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    _check_keys(words_path, lists, set(Words.__annotations__) - {"facts"})
    _check_keys(facts_path, rows[0] if rows else {}, set(Fact.__annotations__))
    for name, entries in lists.items():
        _check_entries(words_path, name, entries)
    for number, row in enumerate(rows, start=2):
        _check_entries(facts_path, f"line {number}", list(row.values()))
    things = [row["thing"] for row in rows]
    _check_entries(facts_path, "things", things)
    return Words(
        facts=tuple(Fact(**row) for row in rows),
        **{name: tuple(entries) for name, entries in lists.items()},
    )


def _check_keys(path: Path | str, found: object, expected: set[str]) -> None:
    if not isinstance(found, dict) or set(found) != expected:
        raise ValueError(f"{path}: expected exactly {sorted(expected)}, found {found}")


def _check_entries(path: Path | str, where: str, entries: object) -> None:
    if not isinstance(entries, list):
        raise ValueError(f"{path}: {where}: expected a list, found {entries!r}")
    for entry in entries:
        # YAML parses an unquoted `no` as a boolean.
        if not isinstance(entry, str) or not entry.isalpha():
            raise ValueError(f"{path}: {where}: {entry!r} is not a plain word")
        if entries.count(entry) > 1:
            raise ValueError(f"{path}: {where}: {entry!r} occurs twice")


def with_article(word: str) -> str:
    """Return a word with its article: `an owl`, `a hen`."""
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"
