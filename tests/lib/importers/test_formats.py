"""Formats are recognised by columns and structure; a format that is named must fit."""

import json
import re
from itertools import product

import pytest
from written import write

from circuit_transfer.importers import FORMATS, import_task

TEXTS = {"clean": "Ann met Bob, Bob gave to", "corrupted": "Ann met Bob, Ann gave to"}
YEARS = {"clean": "from the year 1352 to 13", "corrupted": "from the year 1301 to 13"}
PROMPT = {"clean": TEXTS["clean"], "corrupt": TEXTS["corrupted"]} | {
    "answers": [" Ann"],
    "wrong_answers": [" Bob", " Cid"],
}
SPANS = {
    "clean": "Ann met Bob, Bob gave to <predict> Ann</predict>.",
    "corrupted": "Ann met Bob, Ann gave to <predict> Bob</predict>.",
}
# By the columns that the repositories of these projects publish.
ROWS = {
    "pairs": [TEXTS | {"answer": " Ann", "wrong_answer": " Bob"}],
    "eap-ig": [
        TEXTS | {"correct_idx": "7", "incorrect_idx": "8"},
        TEXTS
        | {"corrupted_hard": "x", "answers_idx": "[7]"}
        | {"corrupted_answers_idx": "[8, 9]"},
        TEXTS | {"country_idx": "7", "corrupted_country_idx": "8", "answer": "x"},
        YEARS | {"label": "52"},
        YEARS | {"correct_idx": "52"},
    ],
    "edge-pruning-ioi": [
        {
            "ioi_sentences": "Ann met Bob, Bob gave it to Ann",
            "corr_ioi_sentences": "Cid met Dan, Eve gave it to Cid",
            "a": "Ann",
            "b": "Bob",
            "c": "Cid",
        }
    ],
    "causal-tom": [
        {
            "characters": ["Ann", "Bob"],
            "objects": ["cup", "jar"],
            "states": ["tea", "milk"],
            "story": "Ann fills a cup with tea. Bob fills a jar with milk.",
            "question": "What does Ann believe the cup contains?",
            "target": "tea",
            "prompt": "Ann fills a cup with tea. Bob fills a jar with milk. "
            "What does Ann believe the cup contains? Answer:",
            "character_idx": 0,
            "object_idx": 0,
            "template_idx": 2,
        }
    ],
    "entity-tracking": [
        {"sentence": "The hat is in Box A, the map is in Box B. Box B contains the map"}
    ],
    "edge-pruning": [SPANS, SPANS | {"split": "train"}, SPANS | {"answer": " Ann"}],
}
FILES = [".csv", ".tsv", ".jsonl", ".json", ".parquet"]
CASES = [
    (name, row, suffix)
    for name, rows in ROWS.items()
    for row, suffix in product(rows, FILES)
    # Lists in CSV are written as text, see the tests of the importer.
    if not (name == "causal-tom" and suffix in (".csv", ".tsv"))
]


def frames(path, **entry):
    imported = import_task({"file": path.name} | entry, path)
    return imported.prompts, imported.rejects


@pytest.mark.parametrize(("name", "row", "suffix"), CASES)
def test_a_format_is_recognised(name, row, suffix, tmp_path):
    path = write(tmp_path / f"x{suffix}", [row, row])
    found, named = frames(path), frames(path, format=name)
    for one, other in zip(found, named, strict=True):
        assert one.equals(other)
    assert len(found[0]) == 2
    # EAP-IG may have answers as text too.
    fitting = {name, "auto-circuit"} | ({"eap-ig"} if name == "pairs" else set())
    for other in FORMATS.keys() - fitting:
        with pytest.raises(ValueError, match=rf"of the format '{name}', not '{other}'"):
            frames(path, format=other)


def test_the_prompts_of_auto_circuit_are_recognised(tmp_path):
    path = tmp_path / "x.json"
    path.write_text(json.dumps({"word_idxs": {}, "prompts": [PROMPT, PROMPT]}))
    found, named = frames(path), frames(path, format="auto-circuit")
    assert found[0].equals(named[0])
    assert found[0]["wrong_answers"].to_list() == [[" Bob", " Cid"]] * 2
    message = "of the format 'auto-circuit', not 'pairs', which needs columns clean"
    with pytest.raises(ValueError, match=message):
        frames(path, format="pairs")


def test_texts_are_preferred_to_token_ids_which_belong_to_one_tokenizer(tmp_path):
    ids = {"correct_idx": 7, "incorrect_idx": 8}
    path = write(tmp_path / "x.jsonl", [ROWS["pairs"][0] | ids])
    assert frames(path)[0]["answers"].to_list() == [[" Ann"]]
    assert frames(path, format="eap-ig")[0]["answer_ids"].to_list() == [[7]]


def test_a_marked_answer_is_no_part_of_the_prompt_whatever_the_columns(tmp_path):
    marked = SPANS | {"answer": " Ann", "wrong_answer": " Bob"}
    found = frames(write(tmp_path / "x.jsonl", [marked] * 2))[0]
    assert set(found["clean"]) == {"Ann met Bob, Bob gave to"}
    # One text among others that only mentions the tag is a text.
    own = ROWS["pairs"][0]
    found = frames(write(tmp_path / "y.jsonl", [own, own | {"clean": SPANS["clean"]}]))
    assert found[0]["clean"].to_list() == [TEXTS["clean"], SPANS["clean"]]


@pytest.mark.parametrize(
    "row",
    [
        {"ioi_sentences": "a", "corr_ioi_sentences": "b"},
        {"clean": "a", "label": "b"},
        {"clean": "a", "corrupt": "b"},
    ],
)
def test_a_file_of_no_format_is_an_error(row, tmp_path):
    path = write(tmp_path / "x.jsonl", [row])
    match = r"x.jsonl: no column .*\]; expected one of these formats: pairs: .*; eap-ig"
    with pytest.raises(ValueError, match=match):
        frames(path)


@pytest.mark.parametrize(
    ("row", "missing"),
    [
        (TEXTS, "answer', 'wrong_answer"),
        (TEXTS | {"label": " Ann"}, "answer', 'wrong_answer"),
        (TEXTS | {"label": "[7, 8]"}, "answer', 'wrong_answer"),
        (TEXTS | {"incorrect_idx": "7"}, "answer', 'wrong_answer"),
        (TEXTS | {"answer": " Ann"}, "wrong_answer"),
        (TEXTS | {"answers": [" Ann"]}, "wrong_answer"),
        ({"answer": " Ann", "wrong_answer": " Bob"}, "clean', 'corrupted"),
        (
            {key: cell for key, cell in PROMPT.items() if key != "answers"},
            "corrupted', 'answer",
        ),
    ],
)
def test_a_file_with_half_of_the_columns_of_pairs_lacks_the_others(
    row, missing, tmp_path
):
    path = write(tmp_path / "x.jsonl", [row])
    message = f"{path}: no column ['{missing}'], only {[*row]}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        frames(path)


def test_a_format_whose_rows_are_all_rejected_is_still_that_format(tmp_path):
    """The reasons are those of its rows; see the tests of the importers."""
    path = write(tmp_path / "x.jsonl", [TEXTS | {"label": 7}])
    assert len(frames(path, format="eap-ig")[1]) == 1
