import csv
import re
from itertools import chain, islice
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


def solve_entity_tracking(prompt: str) -> str:
    statements, *moves, question = prompt.split(". ")
    boxes = {}
    for statement in statements.split(", "):
        words = statement.split()
        assert [words[0].lower(), *words[2:5]] == ["the", "is", "in", "Box"]
        assert boxes.setdefault(words[5], words[1]) == words[1]
    for move in moves:
        words = move.split()
        assert [
            *words[:2],
            *words[3:5],
            *words[6:8],
        ] == ["Move", "the", "from", "Box", "to", "Box"]
        thing, source, to = words[2], words[5], words[8]
        assert boxes.pop(source) == thing
        assert to not in boxes
        boxes[to] = thing
    return boxes[re.fullmatch(r"Box (\w) contains the", question)[1]]


def solve_theory_of_mind(prompt: str) -> str:
    """Go through the story sentence by sentence, with what each person knows."""
    rule, *sentences = prompt.split(". ")
    assert "unknown" in rule
    first, second = re.match(r"(\w+) and (\w+) ", sentences[0]).groups()
    partner = {first: second, second: first}
    knows, filled = {first: {}, second: {}}, {}
    for sentence in sentences[1:-1]:
        words = sentence.split()
        if fill := re.search(
            r"(\w+) (?:takes|fills) (?:another|a) \w+ (\w+) ", sentence
        ):
            filled[fill[1]] = fill[2], words[-1]
            knows[fill[1]][fill[2]] = words[-1]
        elif sight := re.match(r"(\w+) (can|cannot) see what (\w+) does", sentence):
            assert partner[sight[1]] == sight[3]
            if sight[2] == "can":
                container, state = filled[sight[3]]
                knows[sight[1]][container] = state
        elif words[0] == "Later":
            actor, old, container, new = (words[place] for place in (1, 4, 7, 9))
            assert (container, old) in filled.values()
            knows[actor][container] = new
        else:
            other, noticed = words[:2]
            assert partner[actor] == other
            if noticed == "notices":
                knows[other][container] = new
    asked = re.match(
        r"Question: What does (\w+) believe the (\w+) contains\? Answer:", sentences[-1]
    ).groups()
    assert asked[1] in dict(filled.values())
    return knows[asked[0]].get(asked[1], "unknown")


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
    "entity-tracking": solve_entity_tracking,
    "theory-of-mind": solve_theory_of_mind,
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


def drawn(name, words, count=100, **settings):
    return [*islice(draw_pairs(name, words, "train", Random(0), **settings), count)]


def boxes_of(pair):
    return {*re.findall(r"Box (\w)", pair.clean)}


def test_seven_boxes_and_up_to_two_moves_and_fewer_boxes_to_learn_with(words):
    pairs = drawn("entity-tracking", words)
    assert all(boxes_of(pair) == {*"ABCDEFG"} for pair in pairs)
    assert {pair.clean.count("Move the") for pair in pairs} == {0, 1, 2}
    # Every prompt without moves has the published form.
    (plain, *_) = (pair.clean for pair in pairs if "Move" not in pair.clean)
    form = r"The \w+ is in Box \w(, the \w+ is in Box \w){6}\. Box \w contains the"
    assert re.fullmatch(form, plain)
    for options in (2, 3):
        fewer = drawn("entity-tracking", words, options=options)
        assert {len(boxes_of(pair)) for pair in fewer} == {options}
        labels = set().union(*map(boxes_of, fewer))
        assert labels == {*"ABCDEFG"}
        moved = drawn("entity-tracking", words, options=options, counterfactual="move")
        assert all("Move" in pair.clean for pair in moved)
        for pair in (*fewer, *moved):
            assert pair.answer == f" {solve_entity_tracking(pair.clean)}"
            assert pair.wrong_answer == f" {solve_entity_tracking(pair.corrupted)}"


def differing(pair):
    """The parts of a prompt that its counterfactual changes."""
    both = [re.split(r"(?<=[,.?]) ", text) for text in (pair.clean, pair.corrupted)]
    return [parts for parts in zip(*both, strict=True) if parts[0] != parts[1]]


def test_the_counterfactuals_of_boxes_change_what_they_say(words):
    for pair in drawn("entity-tracking", words):
        ((asked, other),) = differing(pair)
        assert asked.startswith("Box ") and other.startswith("Box ")
    for pair in drawn("entity-tracking", words, counterfactual="objects"):
        right, wrong = pair.answer[1:], pair.wrong_answer[1:]
        names = {right: wrong, wrong: right}
        words_of = re.findall(r"\w+|\W+", pair.clean)
        exchanged = "".join(names.get(each, each) for each in words_of)
        assert exchanged == pair.corrupted
    for pair in drawn("entity-tracking", words, counterfactual="labels"):
        both = (text.rsplit("Box ", 1) for text in (pair.clean, pair.corrupted))
        (told, asked), (relabelled, same) = both
        assert asked == same
        # The objects stay, and so do the labels of all other boxes.
        label = re.compile(r"(?<=Box )\w")
        assert label.sub("", told) == label.sub("", relabelled)
        changes = set(zip(label.findall(told), label.findall(relabelled), strict=True))
        moved = {pair for pair in changes if pair[0] != pair[1]}
        assert len(moved) == 2 and {pair[::-1] for pair in moved} == moved
        assert asked[0] in chain.from_iterable(moved)
    for pair in drawn("entity-tracking", words, counterfactual="move"):
        ((move, other),) = differing(pair)
        # The last of the moves, into the box that is asked for.
        assert pair.clean.split(". ")[-2] + "." == move
        assert move[-2] == other[-2] == pair.clean.rsplit("Box ", 1)[1][0]
        assert move.split()[2] == pair.answer[1:]


def test_the_counterfactuals_of_beliefs_change_what_they_say(words):
    for pair in drawn("theory-of-mind", words):
        assert all("believe" in part for part, _ in differing(pair))
    for pair in drawn("theory-of-mind", words, counterfactual="states"):
        right, wrong = pair.answer[1:], pair.wrong_answer[1:]
        assert {right, wrong} < {*words.drinks}
        names = {right: wrong, wrong: right}
        words_of = re.findall(r"\w+|\W+", pair.clean)
        assert "".join(names.get(each, each) for each in words_of) == pair.corrupted
    senses = {"can", "cannot", "notices", "misses"}
    for pair in drawn("theory-of-mind", words, counterfactual="sight"):
        ((clean, corrupted),) = differing(pair)
        assert len(changed := {*clean.split()} ^ {*corrupted.split()}) == 2
        assert changed < senses


def test_beliefs_are_right_wrong_and_unknown(words):
    pairs = drawn("theory-of-mind", words, 400)
    answers = {pair.answer for pair in pairs}
    assert answers == {f" {state}" for state in (*words.drinks, "unknown")}
    unknown = sum(pair.answer == " unknown" for pair in pairs)
    assert 0.15 < unknown / len(pairs) < 0.5
    # A content that was replaced without being noticed is still believed.
    false = [
        pair
        for pair in pairs
        if f"replaces the{pair.answer} " in pair.clean and "misses" in pair.clean
    ]
    assert false
    assert any(pair.clean.count("Later") for pair in pairs)
    for options in (2, 3):
        fewer = drawn("theory-of-mind", words, options=options)
        assert not any("Later" in pair.clean for pair in fewer)


MARKED = {
    "entity-tracking": ("object", "box", "query"),
    "theory-of-mind": ("state", "sight", "person", "container"),
}


@pytest.mark.parametrize(("name", "counterfactual"), CASES)
def test_marks_are_of_the_words_that_decide(name, counterfactual, words):
    frame = generate_prompts(
        name, words, "train", 100, seed=0, counterfactual=counterfactual
    )
    # Of other generators the frames are what they were.
    assert ("marks" in frame.columns) == (name in MARKED)
    for row in frame.iter_rows(named=True) if name in MARKED else ():
        spans = {mark["name"]: mark for mark in row["marks"]}
        assert {*spans} == {*MARKED[name]} and len(row["marks"]) == len(spans)
        clean, answer = row["clean"], row["answers"][0]
        text = {
            name: clean[mark["start"] : mark["stop"]] for name, mark in spans.items()
        }
        if name == "entity-tracking":
            assert f" {text['object']}" == answer
            assert text["box"] == text["query"]
            assert clean[spans["query"]["stop"] :] == " contains the"
            between = clean[spans["object"]["stop"] : spans["box"]["start"]]
            assert re.fullmatch(r" is in Box | from Box \w to Box ", between)
            # It is the last time that the object is put into a box.
            assert (
                clean.lower().rindex(f"the {text['object']} ") + 4
                == spans["object"]["start"]
            )
        else:
            question = f"does {text['person']} believe the {text['container']} contains"
            assert question in clean[spans["person"]["start"] - 5 :]
            person = clean[: spans["sight"]["start"]].split()[-1]
            assert person == text["person"]
            assert text["sight"] in ("can", "cannot")
            if answer != " unknown":
                assert f" {text['state']}" == answer
            assert text["container"] in clean[: spans["state"]["start"]]


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
