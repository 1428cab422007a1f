import time

import pytest
from written import reasons, write

from circuit_transfer.importers import import_task

# As published, with further columns.
STORY = "The hat is in Box G, the bill is in Box A, the kite is in Box Q."
ROW = {"sentence": f"{STORY} Box A contains the bill.", "sample_id": 0, "numops": 0}


def read(sentences, tmp_path):
    rows = [ROW | {"sentence": sentence} for sentence in sentences]
    path = write(tmp_path / "data.jsonl", rows)
    return import_task({"file": path.name}, path)


def pairs(imported):
    columns = ("clean", "corrupted", "answers", "wrong_answers")
    return imported.prompts.select(columns).rows()


@pytest.mark.parametrize("end", [".", "", " ", " .", "\n"])
def test_the_last_word_is_the_answer_and_the_next_box_the_other_one(end, tmp_path):
    ends = [f"Box A contains the bill{end}", f"Box Q contains the kite{end}"]
    imported = read([f"{STORY} {each}" for each in ends], tmp_path)
    assert pairs(imported) == [
        (
            f"{STORY} Box A contains the",
            f"{STORY} Box Q contains the",
            [" bill"],
            [" kite"],
        ),
        # After the last one comes the first.
        (
            f"{STORY} Box Q contains the",
            f"{STORY} Box G contains the",
            [" kite"],
            [" hat"],
        ),
    ]
    assert imported.rejects.is_empty()
    # All questions about a story are in one split.
    assert set(imported.prompts["group"]) == {STORY}
    assert imported.prompts["split"].n_unique() == 1


def test_the_other_published_forms_are_read(tmp_path):
    boxes = "Box 0 contains shirt, Box 1 contains nothing, Box 2 contains suit."
    things = "Watch is in Box 0, nothing is in Box 1, book is in Box 2."
    imported = read(
        [
            f"{boxes} Box 0 contains shirt.",
            f"{boxes} Box 1 contains nothing.",
            f"{things} Box 0 contains watch.",
        ],
        tmp_path,
    )
    assert pairs(imported) == [
        (
            f"{boxes} Box 0 contains",
            f"{boxes} Box 1 contains",
            [" shirt"],
            [" nothing"],
        ),
        (f"{boxes} Box 1 contains", f"{boxes} Box 2 contains", [" nothing"], [" suit"]),
        (
            f"{things} Box 0 contains",
            f"{things} Box 1 contains",
            [" watch"],
            [" nothing"],
        ),
    ]


def test_moves_are_followed(tmp_path):
    story = (
        f"{STORY} Move the hat from Box G to Box B. Move the kite from Box Q to Box A."
    )
    imported = read([f"{story} Box B contains the hat"], tmp_path)
    # Nothing and two things cannot be asked for, so no box is left.
    assert reasons(imported) == {
        1: "sentence: no other box with a single other content"
    }
    story = (
        f"{STORY} Move the hat from Box G to Box B. Move the bill from Box A to Box G."
    )
    imported = read([f"{story} Box G contains the bill"], tmp_path)
    ((clean, corrupted, answers, wrong),) = pairs(imported)
    assert (clean, answers) == (f"{story} Box G contains the", [" bill"])
    assert (corrupted, wrong) == (f"{story} Box Q contains the", [" kite"])


def test_generated_prompts_are_read_as_they_were_made(tmp_path):
    from circuit_transfer.generators import generate_prompts, read_words

    words = read_words("data/words.yaml", "data/facts.csv")
    made = generate_prompts("entity-tracking", words, "train", 100, seed=0)
    rows = made.select("clean", "answers").rows()
    imported = read([f"{clean}{answer}" for clean, (answer,) in rows], tmp_path)
    assert imported.rejects.is_empty()
    assert imported.prompts.select("clean", "answers").rows() == rows


def test_rows_that_are_no_such_sentences_are_rejected(tmp_path):
    imported = read(
        [
            ROW["sentence"],
            None,
            "",
            "The hat is in Box A.",
            f"{STORY} Box A contains the hat",
            f"{STORY} Box Z contains the hat",
            f"{STORY} Box A is red. Box A contains the bill",
            "The hat and the cap are in Box A, the map is in Box B. Box B contains map",
            f"{STORY} Move the hat from Box A to Box B. Box A contains the bill",
            "The hat is in Box A. Box A contains the hat",
        ],
        tmp_path,
    )
    assert len(imported.prompts) == 1
    expected = {
        2: "sentence: expected text, found None",
        3: "sentence: expected statements about boxes and",
        4: "sentence: expected statements about boxes and",
        5: "sentence: ends with 'hat', but by its statements Box A contains ['bill']",
        6: "sentence: ends with 'hat', but by its statements Box Z contains 'what is",
        7: "expected such as 'Move the hat from Box A to Box B', found 'Box A is red'",
        8: "expected such as 'the hat is in Box A', found 'The hat and the cap are",
        9: "'Move the hat from Box A to Box B', but the object is not in this box",
        10: "sentence: no other box with a single other content",
    }
    found = reasons(imported)
    assert {*found} == {*expected}
    for number, reason in expected.items():
        assert reason in found[number]


@pytest.mark.parametrize(
    "text",
    [
        STORY + " " * 200_000 + "x",
        STORY + ". " * 100_000 + "Box",
        "the " * 100_000 + ". Box A contains the hat",
        "a, " * 100_000 + ". Box A contains the hat",
        "Box A contains " * 50_000,
    ],
)
def test_long_sentences_take_no_time(text, tmp_path):
    start = time.process_time()
    assert read([ROW["sentence"], text], tmp_path).rejects["row"].to_list() == [2]
    assert time.process_time() - start < 3


def test_a_lacking_column_and_sentences_about_something_else_are_errors(tmp_path):
    path = write(tmp_path / "data.jsonl", [{"text": "x"}])
    with pytest.raises(ValueError, match=r"no column \['sentence'\], only \['text'\]"):
        import_task({"file": path.name, "format": "entity-tracking"}, path)
    path = write(tmp_path / "data.jsonl", [{"sentence": "A dog barked."}])
    with pytest.raises(ValueError, match="expected one of these formats"):
        import_task({"file": path.name}, path)
    # Named, its rows are rejects with their reason.
    named = import_task({"file": path.name, "format": "entity-tracking"}, path)
    assert [*reasons(named)] == [1]
