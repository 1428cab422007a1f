"""Comments, docstrings and messages use the standard terms of the field."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

WORKFLOW = Path(__file__).parents[2] / "workflow"
FILES = sorted(
    each for folder in ("lib", "scripts") for each in (WORKFLOW / folder).rglob("*.py")
)
# Private idioms, and the terms to use instead.
IDIOMS = {
    r"there and back": "forward and backward pass",
    r"half shared": "with a shared prefix of half the tokens",
    r"\bat hand\b": "available",
    r"\bway out\b": "remedy",
    r"\b(and|or) the like\b": "similar",
    r"\bas ever\b": "as usual",
    r"\bmend(s|ed)?\b": "correct",
    r"\bif one likes\b": "optionally",
    r"\blikeliest\b": "most likely",
    r"\b(is|are) taken (for|to be)\b": "is assumed to be",
    r"\bof an older version\?": "written by an older version?",
    r"\btold\b": "logged, given or reported",
    r"\b(goes|go) on\b": "resumes or continues",
    r"\b[Tt]ell whether\b": "return whether",
    r"\blook(s|ed|ing)? at\b": "measured or examined",
    r"\b[Ll]ikeness": "similarity",
    r"\banew\b": "again",
    r"\btaken up\b": "restored",
    r"\bis none of\b": "is not one of",
    r"\basked for\b": "requested",
    r"\bhow (a)?like\b": "how similar",
    r"\bnodes? writes?\b": "a node's output",
    r"\bfor want of\b": "for lack of",
    r"\bsays of\b": "describes",
    r"\b[Ww]hat lies\b": "what is",
    r"\b[Bb]eside (it|them) stand": "are written too",
}


def texts(source: str) -> Iterator[tuple[int, str]]:
    """Yield line and text of every comment and string, line breaks as spaces."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, " ".join(node.value.split())


@cache
def all_texts() -> list[tuple[str, str]]:
    return [
        (f"{file.relative_to(WORKFLOW)}:{line}", text)
        for file in FILES
        for line, text in texts(file.read_text())
    ]


@pytest.mark.parametrize("idiom", IDIOMS)
def test_private_idioms_are_not_used(idiom):
    found = [place for place, text in all_texts() if re.search(idiom, text)]
    assert not found, f"expected: {IDIOMS[idiom]}"


def test_comments_and_strings_are_searched_but_names_are_not():
    source = 'name = f"a {name} b"  # c\n"""d\n\ne"""\nother = ("f "\n  "g")\n'
    found = {text for _, text in texts(source)}
    assert {"a", "b", "# c", "d e", "f g"} <= found
    assert not any("name" in text for text in found)
