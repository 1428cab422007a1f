import pytest
from written import reasons, write

from circuit_transfer.importers import MIB_TASKS, import_task

NAMES = {
    "object": "fridge",
    "place": "consulate",
    "random_a": "Ann",
    "random_b": "Bob",
    "random_c": "Cid",
}


def choice(prompt, choices, key):
    return {"prompt": prompt, "choices": choices, "answerKey": key}


def ioi_row(number=0, **change):
    """The published example, with a number to tell rows apart."""
    start = f"{number or ''}As Carl and Maria left the consulate, "
    row = {
        "template": "As {name_A} and {name_B} left the {place}, {name_C} gave a ...",
        "metadata": NAMES | {"indirect_object": "Maria", "subject": "Carl"},
        **choice(f"{start}Carl gave a fridge to", ["Maria", "Carl"], 0),
        "abc_counterfactual": choice(
            "As Ann and Bob left the consulate, Cid gave a fridge to",
            ["Ann", "Bob"],
            -1,
        ),
        "random_names_counterfactual": choice(
            "As Ann and Bob left the consulate, Ann gave a fridge to", ["Bob", "Ann"], 0
        ),
        "s1_io_flip_counterfactual": choice(
            "As Maria and Carl left the consulate, Carl gave a fridge to",
            ["Maria", "Carl"],
            0,
        ),
        "s2_io_flip_counterfactual": choice(
            f"{start}Maria gave a fridge to", ["Maria", "Carl"], 1
        ),
        "s1_ioi_flip_s2_ioi_flip_counterfactual": choice(
            "As Maria and Carl left the consulate, Maria gave a fridge to",
            ["Maria", "Carl"],
            1,
        ),
    }
    return row | change


BOX = "A box is brown. What color is a box?"
COLORS = ["gray", "black", "white", "brown"]


def options(labels, texts):
    return " ".join(
        f"{label}. {text}" for label, text in zip(labels, texts, strict=True)
    )


def labelled(labels, key, texts=COLORS):
    """A question with its choices, as mcqa and arc have them."""
    return {
        "prompt": f"{BOX} {options(labels, texts)} Answer:",
        "choices": {"label": labels, "text": texts},
        "answerKey": key,
    }


def mcqa_row(**change):
    """The published example; the labels of its symbol counterfactual are numbers."""
    row = {"idx": 0, "question": BOX, **labelled([*"ABCD"], 3)}
    row |= {
        "symbol_counterfactual": labelled([1, 2, 3, 4], 3),
        "answerPosition_counterfactual": labelled([*"ABCD"], 1),
        "noun_counterfactual": labelled([*"ABCD"], 3) | {"prompt": "A cup is brown."},
        "color_counterfactual": labelled([*"ABCD"], -1),
    }
    return row | change


def sum_row(template="Q: How much is {} plus {}? A: ", **change):
    """The published example."""
    row = {
        "idx": 5,
        "template": template,
        "prompt": template.format(27, 64),
        "label": "91",
        "operator": "+",
        "num_digit": 2,
        "operand1": 27,
        "operand2": 64,
        "random_counterfactual": {
            "label": 109,
            "operand1": 72,
            "operand2": 37,
            "prompt": template.format(72, 37),
        },
        "ones_carry_counterfactual": None,
    }
    return row | change


def read(task, path, **entry):
    return import_task({"mib": task, "path": str(path)} | entry, path)


@pytest.fixture(params=[".jsonl", ".parquet"])
def file(request, tmp_path):
    """A function that writes rows to a file without a split, of either type."""
    return lambda *rows: write(tmp_path / f"rows{request.param}", rows)


def only(imported):
    assert imported.rejects.is_empty()
    (row,) = imported.prompts.iter_rows(named=True)
    return row


def test_ioi_as_in_the_circuit_track(file):
    row = only(read("ioi", file(ioi_row())))
    assert row["clean"] == "As Carl and Maria left the consulate, Carl gave a fridge to"
    assert row["corrupted"] == (
        "As Carl and Maria left the consulate, Maria gave a fridge to"
    )
    assert row["answers"] == [" Maria"]
    assert row["wrong_answers"] == [" Carl"]
    assert row["group"] == row["clean"]
    assert (row["tokenized"], row["single_token"]) == ("alone", False)


def test_mcqa_as_in_the_circuit_track(file):
    row = only(read("copycolors_mcqa", file(mcqa_row())))
    assert row["clean"] == (
        "A box is brown. What color is a box? "
        "A. gray B. black C. white D. brown Answer:"
    )
    assert row["corrupted"] == (
        "A box is brown. What color is a box? "
        "1. gray 2. black 3. white 4. brown Answer:"
    )
    assert row["answers"] == ["D"]
    assert row["wrong_answers"] == ["4"]
    assert (row["tokenized"], row["single_token"]) == ("alone", False)


@pytest.mark.parametrize("count", [3, 4, 5])
@pytest.mark.parametrize("task", ["arc_easy", "arc_challenge"])
def test_arc_has_three_to_five_choices(task, count, file):
    texts = [f"choice {number}" for number in range(count)]
    other = labelled([*"12345"[:count]], 0, texts) | {"label": "1", "question": BOX}
    row = {
        "arc_id": "Mercury_1",
        "question": BOX,
        **labelled([*"ABCDE"[:count]], count - 1, texts),
        "label": "ABCDE"[count - 1],
        "idx": 3,
        "symbol_counterfactual": other,
    }
    found = only(read(task, file(row)))
    assert found["answers"] == ["ABCDE"[count - 1]]
    assert found["wrong_answers"] == ["1"]


def test_arithmetic_as_in_the_circuit_track(file):
    row = only(read("arithmetic_addition", file(sum_row())))
    assert row["clean"] == "Q: How much is 27 plus 64? A: "
    assert row["corrupted"] == "Q: How much is 72 plus 37? A: "
    assert row["answers"] == ["91"]
    assert row["wrong_answers"] == ["109"]
    assert (row["tokenized"], row["single_token"]) == ("alone", True)


def test_unusable_arithmetic_rows_are_rejected(tmp_path):
    other = sum_row()["random_counterfactual"]
    rows = [
        sum_row(operator="-"),
        sum_row(random_counterfactual=None),
        sum_row(random_counterfactual=dict.fromkeys(other)),
        sum_row(random_counterfactual=other | {"label": 91}),
        sum_row(random_counterfactual=other | {"label": None}),
        sum_row(operand1=None),
        sum_row(idx=5),
        # A column with empty cells may have become one of floating point numbers.
        sum_row(random_counterfactual=other | {"label": 109.0}),
        {"prompt": None},
    ]
    imported = read("arithmetic_addition", write(tmp_path / "rows.jsonl", rows))
    assert imported.prompts["row"].to_list() == [7, 8]
    assert imported.prompts["wrong_answers"].to_list() == [["109"], ["109"]]
    found = reasons(imported)
    assert found.pop(9).startswith("prompt: expected text, found None; no random_")
    assert found == {
        1: "operator: expected '+', found '-'",
        2: "no random_counterfactual",
        3: "no random_counterfactual",
        4: "'91' is both a right and a wrong answer",
        5: "label: expected text, found None",
        6: "operand1 or operand2 is not a whole number",
    }
    second = imported.rejects.row(1, named=True)
    assert second["clean"] == "Q: How much is 27 plus 64? A: "
    assert (second["corrupted"], second["answers"]) == (None, ["91"])
    minus = read("arithmetic_subtraction", tmp_path / "rows.jsonl")
    assert minus.prompts["row"].to_list() == [1]


@pytest.mark.parametrize(
    ("name", "corrupted"),
    [
        ("abc", "As Ann and Bob left the consulate, Cid gave a fridge to"),
        (
            "abc_counterfactual",
            "As Ann and Bob left the consulate, Cid gave a fridge to",
        ),
        ("random_names", "As Ann and Bob left the consulate, Ann gave a fridge to"),
        (
            "s1_ioi_flip_s2_ioi_flip",
            "As Maria and Carl left the consulate, Maria gave a fridge to",
        ),
    ],
)
def test_ioi_contrasts_its_names_whatever_the_counterfactual(name, corrupted, file):
    row = only(read("ioi", file(ioi_row()), counterfactual=name))
    assert row["corrupted"] == corrupted
    assert row["answers"] == [" Maria"]
    assert row["wrong_answers"] == [" Carl"]


def test_unusable_ioi_rows_are_rejected(tmp_path):
    flip = ioi_row()["s2_io_flip_counterfactual"]
    rows = [
        ioi_row(s2_io_flip_counterfactual=flip | {"answerKey": 0}),
        ioi_row(s2_io_flip_counterfactual=flip | {"answerKey": None}),
        ioi_row(metadata={"indirect_object": "Maria"}),
        ioi_row(metadata=None),
    ]
    imported = read("ioi", write(tmp_path / "rows.jsonl", rows))
    assert imported.prompts.is_empty()
    assert reasons(imported) == {
        1: "the counterfactual has the same answer, 'Maria'",
        2: "answerKey None is not an index of 2 choices",
        3: "metadata.subject: expected text, found None",
        4: "metadata.indirect_object: expected text, found None",
    }


def test_a_counterfactual_with_the_same_answer_is_rejected(file):
    path = file(ioi_row())
    imported = read("ioi", path, counterfactual="s1_io_flip")
    assert reasons(imported) == {1: "the counterfactual has the same answer, 'Maria'"}
    path = file(mcqa_row())
    imported = read("copycolors_mcqa", path, counterfactual="noun")
    assert reasons(imported) == {1: "'D' is both a right and a wrong answer"}


def test_an_undefined_label_is_rejected(tmp_path):
    path = tmp_path / "rows.jsonl"
    write(path, [mcqa_row(), mcqa_row(answerKey=4), mcqa_row(choices=None)])
    imported = read("copycolors_mcqa", path, counterfactual="color")
    found = reasons(imported)
    assert found[1] == "answerKey -1 is not an index of 4 choices"
    assert found[2] == "answerKey 4 is not an index of 4 choices; " + found[1]
    assert found[3].startswith("choices: expected a list, found None")
    assert imported.rejects["answers"].to_list() == [["D"], [], []]


@pytest.mark.parametrize(
    ("leading_space", "mcqa", "addition", "tokenized"),
    [
        (True, " D", " 91", "following"),
        ("auto", " D", "91", "following"),
        (False, "D", "91", "alone"),
    ],
)
def test_a_leading_space_can_be_chosen(
    leading_space, mcqa, addition, tokenized, tmp_path
):
    path = write(tmp_path / "mcqa.jsonl", [mcqa_row()])
    row = only(read("copycolors_mcqa", path, leading_space=leading_space))
    assert (row["answers"], row["tokenized"]) == ([mcqa], tokenized)
    path = write(tmp_path / "sums.jsonl", [sum_row()])
    row = only(read("arithmetic_addition", path, leading_space=leading_space))
    assert (row["answers"], row["tokenized"]) == ([addition], tokenized)
    assert row["wrong_answers"] == [addition.replace("91", "109")]


def test_an_unknown_counterfactual_lists_the_known_ones(file):
    path = file(ioi_row())
    message = r"rows.*: no counterfactual 's2_ioi_flip', only \['abc', 'random_names', "
    with pytest.raises(ValueError, match=message):
        read("ioi", path, counterfactual="s2_ioi_flip")


def test_unknown_tasks_and_missing_columns_are_named(file):
    with pytest.raises(ValueError, match=r"unknown MIB task 'ravel': expected one of"):
        read("ravel", file(ioi_row()))
    with pytest.raises(ValueError, match=r"no column \['choices', 'answerKey'\], only"):
        read("arc_easy", file(sum_row()))
    assert len(MIB_TASKS) == 6


def test_official_splits_are_used_and_nothing_is_shuffled(tmp_path):
    train = [ioi_row(number) for number in range(9, 0, -1)]
    write(tmp_path / "data/train-00000-of-00002.parquet", train[:5])
    write(tmp_path / "data/train-00001-of-00002.parquet", train[5:])
    write(tmp_path / "data/validation-00000-of-00001.parquet", [ioi_row(80)])
    write(tmp_path / "data/test-00000-of-00001.parquet", [ioi_row(90), ioi_row(9)])
    imported = read("ioi", tmp_path)
    frame = imported.prompts
    assert frame["split"].to_list() == ["test"] + ["train"] * 9
    assert [clean[0] for clean in frame["clean"][1:]] == [*"987654321"]
    assert frame["row"].to_list() == [1, 1, 2, 3, 4, 5, 1, 2, 3, 4]
    assert frame["file"][-1] == "data/train-00001-of-00002.parquet"
    (leak,) = imported.rejects.iter_rows(named=True)
    assert leak["reason"] == "the clean prompt is in the train split"
    assert (leak["file"], leak["row"]) == ("data/test-00000-of-00001.parquet", 2)
    assert leak["clean"].startswith("9As Carl")


def test_the_rows_of_each_split_can_be_limited(tmp_path):
    write(tmp_path / "train.jsonl", [ioi_row(number) for number in range(1, 6)])
    write(tmp_path / "test.jsonl", [ioi_row(number) for number in range(5, 9)])
    imported = read("ioi", tmp_path, train=2, test=1)
    # The first test row is also the last of the train rows, and rejected for that.
    assert [clean[0] for clean in imported.prompts["clean"]] == ["6", "1", "2"]
    assert read("ioi", tmp_path, train=0).prompts["split"].to_list() == ["test"] * 3


def test_the_templates_of_a_sum_share_their_split_when_it_is_hashed(tmp_path):
    rows = [
        sum_row(
            template,
            prompt=template.format(a, 64),
            operand1=a,
            label=str(a + 64),
            idx=a,
        )
        for a in range(40)
        for template in ("{} plus {} is ", "The sum of {} and {} is ")
    ]
    frame = read("arithmetic_addition", write(tmp_path / "sums.jsonl", rows)).prompts
    assert frame["group"].to_list()[:3] == ["0 + 64", "0 + 64", "1 + 64"]
    assert frame["split"].to_list()[::2] == frame["split"].to_list()[1::2]
    assert frame["split"].n_unique() == 2
    official = write(tmp_path / "train.jsonl", rows)
    frame = read("arithmetic_addition", official).prompts
    assert frame["group"].to_list() == frame["clean"].to_list()


def test_a_file_named_after_a_split_is_of_that_split(tmp_path):
    for name, split in (("train", "train"), ("validation", "test"), ("test", "test")):
        path = write(tmp_path / f"{name}.jsonl", [ioi_row(1), ioi_row(2), ioi_row(3)])
        frame = read("ioi", path).prompts
        assert frame["split"].to_list() == [split] * 3
        assert set(frame["file"]) == {str(path)}


def test_no_rows_are_an_error(tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_text("\n")
    with pytest.raises(ValueError, match="train.jsonl: no rows"):
        read("ioi", path)
