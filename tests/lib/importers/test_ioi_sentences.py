import pytest
from written import reasons, write

from circuit_transfer.importers import import_task

# As in the data of Edge Pruning, which has further columns.
ROW = {
    "ioi_sentences": "Then, Ann and Bob went to the store. Bob gave a ring to Ann",
    "corr_ioi_sentences": "Then, Cid and Dan went to the store. Eve gave a ring to Cid",
    "a": "Ann",
    "b": "Bob",
    "c": "Cid",
}


def read(rows, tmp_path):
    path = write(tmp_path / "data.jsonl", rows)
    return import_task({"file": path.name}, path)


def test_the_last_word_is_the_answer_and_the_other_name_the_wrong_one(tmp_path):
    imported = read([ROW], tmp_path)
    row = imported.prompts.row(0, named=True)
    assert row["clean"] == "Then, Ann and Bob went to the store. Bob gave a ring to"
    assert row["corrupted"] == "Then, Cid and Dan went to the store. Eve gave a ring to"
    assert row["answers"] == [" Ann"] and row["wrong_answers"] == [" Bob"]
    assert row["tokenized"] == "following"
    assert imported.rejects.is_empty()


def test_rows_that_are_not_such_sentences_are_rejected(tmp_path):
    rows = [
        ROW | {"ioi_sentences": "Ann and Bob went. Bob gave a ring to Bob"},
        ROW | {"ioi_sentences": None},
        ROW | {"corr_ioi_sentences": "Cid"},
        ROW | {"b": " "},
        ROW | {"b": "Ann"},
    ]
    assert reasons(read(rows, tmp_path)) == {
        1: "ioi_sentences: ends with 'Bob', expected the name in the column a",
        2: "ioi_sentences: expected text, found None",
        3: "corr_ioi_sentences: expected several words, found ['Cid']",
        4: "b: expected a name, found nothing",
        5: "' Ann' is both a right and a wrong answer",
    }


def numbered(number, split):
    sentences = {key: f"{number} {ROW[key]}" for key in [*ROW][:2]}
    return ROW | sentences | {"split": split}


def test_validation_is_for_testing_only_without_a_test_split(tmp_path):
    rows = [numbered(1, "train"), numbered(2, "validation")]
    assert read(rows, tmp_path).prompts["split"].to_list() == ["train", "test"]
    imported = read([*rows, numbered(3, "test")], tmp_path)
    assert imported.prompts["split"].to_list() == ["train", "test"]
    assert [*reasons(imported)] == [2]


def test_a_lacking_column_is_named(tmp_path):
    path = write(tmp_path / "data.jsonl", [{k: ROW[k] for k in [*ROW][:3]}])
    with pytest.raises(ValueError, match=r"no column \['b'\], only \['ioi_sentences"):
        import_task({"file": path.name, "format": "edge-pruning-ioi"}, path)
