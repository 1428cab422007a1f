import csv
import re
from itertools import islice
from pathlib import Path
from random import Random

import polars as pl
import pytest
import yaml

from circuit_transfer.generators import (
    GENERATORS,
    draw_pairs,
    generate_prompts,
    read_words,
)
from circuit_transfer.generators.agreement import _plural
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


def solve(name: str, prompt: str, facts: dict) -> str:
    """Read a prompt as a person would and answer it."""
    if name == "ioi":
        return solve_ioi(prompt)
    if name in ("mcqa", "arc-easy", "arc-challenge"):
        return solve_lookup(prompt, facts)
    if name.startswith("arithmetic"):
        first, second = map(int, re.findall(r"\d+", prompt))
        adds = "sum" in prompt or "plus" in prompt
        return str(first + second if adds else first - second)
    if name in ("category", "habitat"):
        (thing,) = {*re.findall(r"\w+", prompt)} & {*facts}
        return facts[thing][name]
    if name == "planted-classes":
        (early,) = {letter in "ABCDEFGH" for letter in prompt.split()}
        return "early" if early else "late"
    if name == "planted-induction":
        *listed, cue = prompt.split()
        return listed[listed.index(cue) + 1]
    return SOLVERS[name](prompt)


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


def solve_copying(prompt: str) -> str:
    return re.search(r"\* (\w+)", prompt).group(1)


def solve_induction(prompt: str) -> str:
    start, cue = prompt.rsplit(" ", 1)
    return re.search(rf"\b{cue} (\w+)", start).group(1)


def solve_ordinal(prompt: str) -> str:
    listed = re.search(r"(\w+), (\w+), (\w+), (\w+)", prompt).groups()
    ordinal = re.search(r"the (\w+) (?:one|word)", prompt).group(1)
    return listed[{"first": 0, "second": 1, "third": 2, "last": 3}[ordinal]]


def solve_colored_objects(prompt: str) -> str:
    *statements, question = re.split(r", |\. ", prompt, maxsplit=4)
    colors = dict(reversed(each.split()[-2:]) for each in statements)
    return colors[re.search(r"color of the (\w+)", question).group(1)]


def solve_possession(prompt: str) -> str:
    owners = {
        thing: name
        for name, thing in re.findall(r"(\w+) (?:has|took) the (\w+)[,.]", prompt)
    }
    return owners[re.search(r"the (\w+) (?:now|belongs)", prompt.lower()).group(1)]


def solve_pronoun(prompt: str) -> str:
    (name,) = {*re.findall(r"\w+", prompt)} & {*LISTS["names"]}
    return "she" if name in LISTS["women"] else "he"


def solve_agreement(prompt: str) -> str:
    subject = re.search(r"[Tt]he (\w+)", prompt).group(1)
    return "is" if subject in LISTS["nouns"] else "are"


def solve_comparison(prompt: str) -> str:
    first, second = map(int, re.findall(r"\d+", prompt))
    number, other = (second, first) if "Compared" in prompt else (first, second)
    return "smaller" if number < other else "larger"


def solve_parity(prompt: str) -> str:
    return "even" if re.search(r"\d+", prompt).group()[-1] in "02468" else "odd"


def solve_successor(prompt: str) -> str:
    cycle = LISTS["days" if "day " in prompt else "months"]
    (start,) = {*re.findall(r"\w+", prompt)} & {*cycle}
    step = 1 if " after," in prompt else -1
    return cycle[(cycle.index(start) + step) % len(cycle)]


def solve_opposite(prompt: str) -> str:
    opposites = iter(LISTS["opposites"])
    couples = list(zip(opposites, opposites, strict=True))
    (given,) = {*re.findall(r"\w+", prompt)} & {*LISTS["opposites"]}
    (couple,) = [each for each in couples if given in each]
    return couple[couple[0] == given]


def solve_sequence(prompt: str) -> str:
    listed = prompt.split(": ")[1].rstrip(",").split(", ")
    alphabet = [chr(code) for code in range(ord("A"), ord("Z") + 1)]
    numbers = "one,two,three,four,five,six,seven,eight,nine,ten,eleven,twelve"
    for order in (LISTS["days"], LISTS["months"], alphabet, numbers.split(",")):
        for start in range(len(order) - 3):
            if order[start : start + 3] == listed:
                return order[start + 3]
    raise AssertionError(prompt)


def solve_digit_addition(prompt: str) -> str:
    *examples, asked = prompt.removesuffix(" = ").split(", ")
    assert len(examples) == 2
    for example in examples:
        left, right = example.split(" = ")
        assert sum(map(int, left.split(" + "))) == int(right)
    return str(sum(map(int, asked.split(" + "))))


SOLVERS = {
    "copying": solve_copying,
    "induction": solve_induction,
    "ordinal": solve_ordinal,
    "colored-objects": solve_colored_objects,
    "possession": solve_possession,
    "pronoun": solve_pronoun,
    "agreement": solve_agreement,
    "comparison": solve_comparison,
    "parity": solve_parity,
    "successor": solve_successor,
    "opposite": solve_opposite,
    "sequence": solve_sequence,
    "digit-addition": solve_digit_addition,
}


def both_splits(name, words, train=TRAIN, test=TEST, **settings):
    counts = {"train": train, "test": test}
    return pl.concat(
        generate_prompts(name, words, split, count, **settings)
        for split, count in counts.items()
    )


# Any later year answers its prompts, so another test reads them.
OPEN = "greater-than"


@pytest.mark.parametrize(
    ("name", "counterfactual"), [case for case in CASES if case[0] != OPEN]
)
def test_answers_and_counterfactuals_are_right(name, counterfactual, words, facts):
    frame = both_splits(name, words, seed=0, counterfactual=counterfactual)
    for row in frame.iter_rows(named=True):
        space = "" if row["clean"].endswith(" ") else " "
        assert row["answers"] == [f"{space}{solve(name, row['clean'], facts)}"]
        wrong = solve(name, row["corrupted"], facts)
        assert row["wrong_answers"] == [f"{space}{wrong}"]
        assert row["answers"] != row["wrong_answers"]
        sums = ("arithmetic-addition", "arithmetic-subtraction", "digit-addition")
        assert row["single_token"] == (name in sums)


def test_an_event_ends_in_a_later_year_than_it_began_in(words):
    for row in both_splits(OPEN, words, seed=0).iter_rows(named=True):
        (began,) = re.findall(r"\b(\d{4})\b", row["clean"])
        century = row["clean"][-2:]
        ended, wrong = row["answers"][0], row["wrong_answers"][0]
        assert int(wrong) < int(began[2:]) < int(ended) < 100
        assert began[:2] == century
        # Also for tokenizers that split numbers: the first digits decide.
        assert wrong[0] < began[2] < ended[0]
        assert row["corrupted"] == row["clean"].replace(began, f"{century}01")


@pytest.mark.parametrize(("name", "counterfactual"), CASES)
def test_no_prompt_is_in_both_splits(name, counterfactual, words):
    frame = both_splits(name, words, seed=1, counterfactual=counterfactual)
    sides = {
        split: {text for column in ("clean", "corrupted") for text in part[column]}
        for (split,), part in frame.group_by("split")
    }
    assert frame["clean"].n_unique() == len(frame) == TRAIN + TEST
    assert not sides["train"] & sides["test"]
    splits = frame["group"].map_elements(split_of, pl.String)
    assert splits.to_list() == frame["split"].to_list()


def test_ordered_operands_of_test_sums_are_never_trained_on(words):
    frame = both_splits("arithmetic-addition", words, train=2000, test=400, seed=0)
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
def test_equal_seeds_give_equal_prompts_and_fewer_rows_a_prefix(name, words):
    for split in ("train", "test"):
        many, few, other = (
            generate_prompts(name, words, split, count, seed=seed)
            for count, seed in ((40, 3), (10, 3), (40, 4))
        )
        assert many["row"].to_list() == list(range(1, 41))
        assert set(many["split"]) == {split}
        assert many[:10].equals(few)
        assert not many.equals(other)


def test_symbol_changes_every_letter_and_question_changes_none(words):
    def letters(frame):
        pattern = r"([A-Z])\. "
        return [
            (set(re.findall(pattern, row[0])), set(re.findall(pattern, row[1])))
            for row in frame.select("clean", "corrupted").rows()
        ]

    for name in ("mcqa", "arc-easy", "arc-challenge"):
        symbol, question = (
            generate_prompts(name, words, "train", 50, seed=0, counterfactual=kind)
            for kind in ("symbol", "question")
        )
        assert all(not clean & changed for clean, changed in letters(symbol))
        assert all(clean == kept for clean, kept in letters(question))


@pytest.mark.parametrize("name", SOLVERS)
def test_a_prompt_and_its_counterfactual_share_a_group(name, words):
    for pair in islice(draw_pairs(name, words, "train", Random(0)), 50):
        assert pair.group == pair.corrupted_group


def test_a_changed_question_keeps_the_statements_and_changed_values_do_not(words):
    def halves(text):
        *statements, question = re.split(r", |\. ", text, maxsplit=4)
        return statements, question

    for name in ("colored-objects", "possession"):
        question, values = (
            [
                (halves(pair.clean), halves(pair.corrupted))
                for pair in islice(
                    draw_pairs(
                        name, words, "train", Random(0), counterfactual=counterfactual
                    ),
                    50,
                )
            ]
            for counterfactual in ("question", "values")
        )
        assert all(a[0] == b[0] and a[1] != b[1] for a, b in question)
        assert all(a[0] != b[0] and a[1] == b[1] for a, b in values)


@pytest.mark.parametrize("options", [2, 3, 4])
def test_a_list_is_as_long_as_there_are_options(options, words):
    names = ("copying", "induction", "ordinal", "colored-objects", "possession")
    for name in names:
        drawn = draw_pairs(name, words, "train", Random(0), options=options)
        # Something must follow every word that induction may ask for.
        expected = options + (name == "induction")
        for pair in islice(drawn, 20):
            written = {*re.findall(r"\w+", pair.clean)}
            assert len(written & {*words.nouns, *words.objects}) == expected


def test_a_distractor_may_be_in_the_other_number(words):
    pairs = islice(draw_pairs("agreement", words, "train", Random(0)), 200)
    singular = {*words.nouns}
    kinds = {(pair.answer, pair.clean.rsplit(" ", 1)[1] in singular) for pair in pairs}
    assert len(kinds) == 4


def test_plurals_and_opposites_are_words_as_they_are_written(words):
    plurals = [_plural(noun) for noun in ("key", "box", "brush", "scarf")]
    assert plurals == ["keys", "boxes", "brushes", "scarves"]
    assert not {*map(_plural, words.nouns)} & {*words.nouns}
    assert len(words.opposites) % 2 == 0
    assert {*words.women} < {*words.names}


def test_says_how_many_prompts_there_are(words):
    with pytest.raises(ValueError, match=r"only \d+ distinct .* 9999 were requested"):
        generate_prompts("arithmetic-subtraction", words, "test", 9999, seed=0)


def test_unknown_names_are_errors(words):
    with pytest.raises(ValueError, match="unknown generator 'poetry'"):
        generate_prompts("poetry", words, "train", 1, seed=0)
    with pytest.raises(ValueError, match="no counterfactual 'symbol'.*s2_io_flip"):
        generate_prompts("ioi", words, "train", 1, seed=0, counterfactual="symbol")


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
