import pytest
from written import reasons, write

from circuit_transfer.importers import import_task

ROW = {
    "clean": "Carl and Maria left, Carl gave it to <predict> Maria</predict>.",
    "corrupted": "Carl and Maria left, Maria gave it to <predict> Carl</predict>.",
}


def read(rows, tmp_path):
    path = write(tmp_path / "data.jsonl", rows)
    return import_task({"file": path.name, "format": "edge-pruning"}, path)


def test_the_span_is_the_answer_and_the_rest_is_ignored(tmp_path):
    imported = read([ROW], tmp_path)
    row = imported.prompts.row(0, named=True)
    assert row["clean"] == "Carl and Maria left, Carl gave it to"
    assert row["corrupted"] == "Carl and Maria left, Maria gave it to"
    assert row["answers"] == [" Maria"]
    assert row["wrong_answers"] == [" Carl"]
    assert row["tokenized"] == "following"
    assert row["group"] == row["clean"]
    assert imported.rejects.is_empty()


@pytest.mark.parametrize(
    ("clean", "prompt", "answer"),
    [
        ("to <predict> X</predict>", "to", " X"),
        ("to<predict> X</predict>", "to", " X"),
        ("to <predict>X</predict>", "to", " X"),
        ("17<predict>84</predict>", "17", "84"),
        ("a\nb:\n<predict>X\nY</predict>", "a\nb:", " X\nY"),
        ("to<predict> X</predict> or <predict> Z</predict>", "to", " X"),
    ],
)
def test_white_space_around_the_tag_counts_once(clean, prompt, answer, tmp_path):
    row = {"clean": clean, "corrupted": clean.replace("X", "W").replace("84", "01")}
    found = read([row], tmp_path).prompts.row(0, named=True)
    assert found["clean"] == prompt
    assert found["answers"] == [answer]


def test_rows_without_a_wrong_answer_are_rejected(tmp_path):
    rows = [
        ROW | {"corrupted": "Carl and Maria left, Maria gave it to Carl."},
        ROW | {"clean": "no span"},
        ROW | {"corrupted": None},
        ROW | {"clean": "to<predict></predict>"},
        ROW | {"corrupted": "to <predict> Maria</predict>"},
    ]
    imported = read(rows, tmp_path)
    assert imported.prompts.is_empty()
    assert reasons(imported) == {
        1: "corrupted: no <predict> span, so no wrong answer",
        2: "clean: no <predict> span, so no answer",
        3: "corrupted: expected text, found None",
        4: "clean: no <predict> span, so no answer",
        5: "' Maria' is both a right and a wrong answer",
    }
    first = imported.rejects.row(0, named=True)
    assert first["clean"] == "Carl and Maria left, Carl gave it to"
    assert first["answers"] == [" Maria"]


def numbered(number, split):
    return {key: f"{number} {text}" for key, text in ROW.items()} | {"split": split}


def test_validation_replaces_a_missing_test_split(tmp_path):
    rows = [numbered(1, "train"), numbered(2, "validation")]
    imported = read(rows, tmp_path)
    assert imported.prompts["split"].to_list() == ["train", "test"]


def test_validation_is_rejected_beside_a_test_split(tmp_path):
    rows = [numbered(i, s) for i, s in enumerate(["train", "validation", "test", None])]
    imported = read(rows, tmp_path)
    assert imported.prompts["split"].to_list() == ["train", "test"]
    assert reasons(imported) == {
        2: "split: expected one of ['train', 'test'], found 'validation'",
        4: "split: expected text, found None",
    }


def test_a_prompt_of_the_train_split_is_rejected_from_test(tmp_path):
    imported = read([ROW | {"split": "train"}, ROW | {"split": "test"}], tmp_path)
    assert imported.prompts["row"].to_list() == [1]
    assert reasons(imported) == {2: "the clean prompt is in the train split"}


def test_columns_of_its_own_tasks_are_not_enough(tmp_path):
    row = {"ioi_sentences": "a", "corr_ioi_sentences": "b"}
    with pytest.raises(ValueError, match=r"no column \['clean', 'corrupted'\], only"):
        read([row], tmp_path)
