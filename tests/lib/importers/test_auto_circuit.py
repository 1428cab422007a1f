import json

import pytest
from written import reasons

from circuit_transfer.importers import import_task

PROMPT = {
    "clean": "The war lasted from 1784 to 17",
    "corrupt": "The war lasted from 1701 to 17",
    "answers": ["85", "86", "87"],
    "wrong_answers": ["00", "01"],
}


def read(content, tmp_path):
    path = tmp_path / "prompts.json"
    path.write_text(json.dumps(content))
    return import_task({"file": path.name, "format": "auto-circuit"}, path)


def test_lists_of_answers_may_differ_in_length(tmp_path):
    content = {
        "seq_labels": ["The", "war"],
        "word_idxs": {"end": 7},
        "prompts": [PROMPT],
    }
    imported = read(content, tmp_path)
    row = imported.prompts.row(0, named=True)
    assert row["clean"] == PROMPT["clean"]
    assert row["corrupted"] == PROMPT["corrupt"]
    assert row["answers"] == ["85", "86", "87"]
    assert row["wrong_answers"] == ["00", "01"]
    assert row["group"] == PROMPT["clean"]
    assert row["tokenized"] == "following"
    assert imported.rejects.is_empty()


def test_unusable_prompts_are_rejected(tmp_path):
    """The first two are like rows of its mini_prompts and micro_model_inputs."""
    prompts = [
        {"clean": "I like", "corrupt": "I hate"},
        {
            "clean": [[3.0, 3.0]],
            "corrupt": [[-3.0, -3.0]],
            "answers": [0, 1],
            "wrong_answers": [2, 3],
        },
        PROMPT | {"wrong_answers": []},
        PROMPT | {"wrong_answers": ["00", "85"]},
        "text",
        PROMPT,
    ]
    imported = read({"prompts": prompts}, tmp_path)
    assert imported.prompts["row"].to_list() == [6]
    found = reasons(imported)
    assert found[1] == (
        "answers: expected texts, found None; wrong_answers: expected texts, found None"
    )
    assert "clean: expected text, found [[3.0, 3.0]]" in found[2]
    assert "answers: expected text, found 0" in found[2]
    assert found[3] == "wrong_answers: expected texts, found []"
    assert found[4] == "'85' is both a right and a wrong answer"
    assert "clean: expected text, found None" in found[5]
    first, third = (imported.rejects.row(i, named=True) for i in (0, 2))
    assert (first["clean"], first["corrupted"]) == ("I like", "I hate")
    assert third["answers"] == PROMPT["answers"]


@pytest.mark.parametrize("content", [[PROMPT], {"prompts": "text"}, {}])
def test_another_form_is_an_error(content, tmp_path):
    with pytest.raises(
        ValueError, match="expected an object with a list named prompts"
    ):
        read(content, tmp_path)


def test_a_file_without_prompts_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="prompts.json: no prompts"):
        read({"prompts": []}, tmp_path)
