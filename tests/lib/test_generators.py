import csv
import re
from pathlib import Path

import polars as pl
import pytest
import yaml

from circuit_transfer.generators import GENERATORS, generate_prompts, read_words
from circuit_transfer.generators.contract import split_of

WORDS, FACTS = "data/words.yaml", "data/facts.csv"
LISTS = yaml.safe_load(Path(WORDS).read_text())
CASES = [
    (name, counterfactual)
    for name, generator in GENERATORS.items()
    for counterfactual in generator.counterfactuals
]
TRAIN, TEST = 500, 200


@pytest.fixture(scope="module")
def words():
    return read_words(WORDS, FACTS)


@pytest.fixture(scope="module")
def facts():
    with open(FACTS) as file:
        return {row["thing"]: row for row in csv.DictReader(file)}


def solve(prompt: str, facts: dict) -> str:
    """Read a prompt as a person would and answer it."""
    if prompt.endswith(" to"):
        return solve_ioi(prompt)
    if prompt.endswith("Answer:"):
        return solve_lookup(prompt, facts)
    first, second = map(int, re.findall(r"\d+", prompt))
    adds = "sum" in prompt or "plus" in prompt
    return str(first + second if adds else first - second)


def solve_ioi(prompt: str) -> str:
    names = LISTS["names"]
    giver = re.search(r", (\w+) ", prompt).group(1)
    present = {word for word in re.findall(r"\w+", prompt) if word in names}
    (receiver,) = present - {giver}
    return receiver


def solve_lookup(prompt: str, facts: dict) -> str:
    options = dict(re.findall(r"([A-Z])\. (\w+)", prompt))
    if match := re.match(r"An? (\w+) is (\w+)\. What color is an? (\w+)\?", prompt):
        assert match[1] == match[3]
        right = [key for key, color in options.items() if color == match[2]]
    elif match := re.match(r"Which of these is a kind of (\w+)\?", prompt):
        right = having(options, facts, "category", match[1])
    else:
        animal = re.match(r"Which of these is found where an? (\w+) lives\?", prompt)[1]
        assert facts[animal]["kind"] == "animal"
        right = having(options, facts, "habitat", facts[animal]["habitat"])
    assert len(options) == 4
    (answer,) = right
    return answer


def having(options: dict, facts: dict, column: str, value: str) -> list[str]:
    return [key for key, thing in options.items() if facts[thing][column] == value]


@pytest.mark.parametrize(("name", "counterfactual"), CASES)
def test_answers_and_counterfactuals_are_right(name, counterfactual, words, facts):
    frame = generate_prompts(
        name, words, train=TRAIN, test=TEST, seed=0, counterfactual=counterfactual
    )
    for row in frame.iter_rows(named=True):
        assert row["answers"] == [f" {solve(row['clean'], facts)}"]
        assert row["wrong_answers"] == [f" {solve(row['corrupted'], facts)}"]
        assert row["answers"] != row["wrong_answers"]
        assert row["single_token"] == name.startswith("arithmetic")


@pytest.mark.parametrize(("name", "counterfactual"), CASES)
def test_no_prompt_is_in_both_splits(name, counterfactual, words):
    frame = generate_prompts(
        name, words, train=TRAIN, test=TEST, seed=1, counterfactual=counterfactual
    )
    sides = {
        split: {text for column in ("clean", "corrupted") for text in part[column]}
        for (split,), part in frame.group_by("split")
    }
    assert frame["clean"].n_unique() == len(frame) == TRAIN + TEST
    assert not sides["train"] & sides["test"]
    splits = frame["group"].map_elements(split_of, pl.String)
    assert splits.to_list() == frame["split"].to_list()


def test_ordered_operands_of_test_sums_are_never_trained_on(words):
    frame = generate_prompts("arithmetic-addition", words, train=2000, test=400, seed=0)
    pairs = {
        split: {
            tuple(re.findall(r"\d+", text))
            for text in [*part["clean"], *part["corrupted"]]
        }
        for (split,), part in frame.group_by("split")
    }
    assert not pairs["train"] & pairs["test"]


def test_about_a_tenth_of_the_groups_is_for_testing():
    splits = [split_of(str(number)) for number in range(5000)]
    assert splits.count("test") == pytest.approx(500, abs=70)


@pytest.mark.parametrize("name", GENERATORS)
def test_same_seed_same_prompts_and_fewer_rows_are_the_beginning(name, words):
    many = generate_prompts(name, words, train=40, test=30, seed=3)
    few = generate_prompts(name, words, train=10, test=30, seed=3)
    other = generate_prompts(name, words, train=40, test=30, seed=4)
    assert many["row"].to_list() == list(range(1, 71))
    many, few, other = (frame.drop("row").rows() for frame in (many, few, other))
    assert many[:10] == few[:10]
    assert many[40:] == few[10:]
    assert many != other


def test_symbol_changes_every_letter_and_question_changes_none(words):
    def letters(frame):
        pattern = r"([A-Z])\. "
        return [
            (set(re.findall(pattern, row[0])), set(re.findall(pattern, row[1])))
            for row in frame.select("clean", "corrupted").rows()
        ]

    for name in ("mcqa", "arc-easy", "arc-challenge"):
        symbol, question = (
            generate_prompts(name, words, train=50, test=0, seed=0, counterfactual=kind)
            for kind in ("symbol", "question")
        )
        assert all(not clean & changed for clean, changed in letters(symbol))
        assert all(clean == kept for clean, kept in letters(question))


def test_says_how_many_prompts_there_are(words):
    with pytest.raises(ValueError, match=r"only \d+ distinct test .* 9999 were asked"):
        generate_prompts("arithmetic-subtraction", words, train=0, test=9999, seed=0)


def test_unknown_names_are_errors(words):
    with pytest.raises(ValueError, match="unknown generator 'poetry'"):
        generate_prompts("poetry", words, train=1, test=1, seed=0)
    with pytest.raises(ValueError, match="no counterfactual 'symbol'.*s2_io_flip"):
        generate_prompts("ioi", words, train=1, test=1, seed=0, counterfactual="symbol")


def test_bad_word_lists_are_errors(tmp_path):
    path = tmp_path / "words.yaml"
    for change, message in (
        ({"names": ["Anna", "Ann-Mary"]}, "names: 'Ann-Mary' is not a plain word"),
        ({"colors": ["red", "red"]}, "colors: 'red' occurs twice"),
        ({"colours": ["red"]}, "expected exactly"),
    ):
        path.write_text(yaml.safe_dump(LISTS | change))
        with pytest.raises(ValueError, match=message):
            read_words(path, FACTS)
