"""Reasons of rejected rows, grouped by kind."""

import pytest

from circuit_transfer.messages import quoted
from circuit_transfer.prompts.reasons import count_kinds, described_kinds, kind_of

LOST = "is not in the model's vocabulary"
WORDS = [
    *("hello", "don't", "it's 'quoted'", 'say "so"', "both ' and \"", "back\\slash"),
    *("'", '"', "x" * 400, "an 'x " * 80, "two words", "semi; colon", ""),
]


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("answer: ", f" {LOST}"),
        ("", " is both a right and a wrong answer"),
        ("the counterfactual has the same answer, ", ""),
    ],
)
def test_a_quoted_word_makes_no_kind_of_its_own(word, before, after):
    assert kind_of(f"{before}{quoted(repr(word))}{after}") == f"{before}'...'{after}"


def test_a_possessive_is_no_quotation_mark():
    assert kind_of("the model's token '(a)' is") == "the model's token '...' is"


def test_numbers_and_found_values_make_no_kind_of_their_own():
    assert kind_of("clean prompt has 12 tokens, corrupted 3") == (
        "clean prompt has N tokens, corrupted N"
    )
    kind = "corrupt: expected text, found ..."
    for value in (7, ["a", "b"], {"a": [1]}, "a; b", True):
        assert kind_of(f"corrupt: expected text, found {quoted(repr(value))}") == kind
    # A missing value is a cause of its own, and each column is.
    both = "clean: expected text, found None; corrupt: expected text, found 'x'"
    assert kind_of(both) == f"clean: expected text, found None; {kind}"


def test_kinds_are_counted_with_their_first_reason_most_frequent_first():
    reasons = ["answer is empty", f"answer: 'a' {LOST}", f"answer: 'b' {LOST}"]
    kind = f"answer: '...' {LOST}"
    empty = reasons[0]
    assert count_kinds(reasons) == [(kind, 2, reasons[1]), (empty, 1, empty)]
    assert described_kinds(reasons) == [
        f"2 rejected, such as: {reasons[1]}",
        "1 rejected: answer is empty",
    ]
    assert described_kinds(reasons[1:2]) == [f"1 rejected: {reasons[1]}"]
    assert count_kinds([]) == []
