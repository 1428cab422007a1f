import pytest
from written import reasons, write

from circuit_transfer.importers import import_task


def row(character, thing, target, *, sees="cannot", **changes):
    """A row as published, of a story with two characters."""
    characters, objects, states = ["Ann", "Bob"], ["cup", "jar"], ["tea", "milk"]
    story = (
        "Ann and Bob are working in a bar. To complete an order, Ann grabs an opaque "
        "cup and fills it with tea. Then Bob grabs another opaque jar and fills it "
        "with milk. "
        f"Bob cannot observe Ann's actions. Ann {sees} observe Bob's actions."
    )
    question = (
        f"What does {characters[character]} believe the {objects[thing]} contains?"
    )
    made = {
        "characters": characters,
        "objects": objects,
        "states": states,
        "story": story,
        "question": question,
        "target": target,
        "prompt": f"Say it.\n\nStory: {story}\nQuestion: {question}\nAnswer:",
        "character_idx": character,
        "object_idx": thing,
        "template_idx": 0,
    }
    return made | changes


def read(rows, tmp_path, suffix=".jsonl"):
    path = write(tmp_path / f"data{suffix}", rows)
    return import_task({"file": path.name}, path)


def test_a_known_state_changes_places_with_the_other_one(tmp_path):
    rows = [row(0, 0, "tea"), row(0, 1, "milk", sees="can")]
    imported = read(rows, tmp_path)
    for given, found in zip(rows, imported.prompts.iter_rows(named=True), strict=True):
        states = {"tea": "milk", "milk": "tea"}
        assert found["clean"] == given["prompt"]
        assert found["answers"] == [f" {given['target']}"]
        assert found["wrong_answers"] == [f" {states[given['target']]}"]
        expected = given["prompt"].replace("tea", "@").replace("milk", "tea")
        assert found["corrupted"] == expected.replace("@", "milk")
    assert imported.rejects.is_empty()


def test_of_an_unknown_state_the_own_object_is_asked_for(tmp_path):
    given = row(1, 0, "unknown")
    found = read([given], tmp_path).prompts.row(0, named=True)
    assert found["clean"] == given["prompt"]
    changed = given["prompt"].replace("believe the cup", "believe the jar")
    assert found["corrupted"] == changed != given["prompt"]
    assert found["answers"] == [" unknown"] and found["wrong_answers"] == [" milk"]


def test_only_the_story_is_changed_and_only_whole_words(tmp_path):
    given = row(0, 0, "tea")
    story = f"{given['story']} A teapot is near. Tea-time is over, the tea is cold."
    prompt = given["prompt"].replace(given["story"], story)
    given |= {"story": story, "prompt": f"Drinks are tea or milk. {prompt}"}
    corrupted = read([given], tmp_path).prompts["corrupted"][0]
    assert corrupted.startswith("Drinks are tea or milk. ")
    assert "A teapot is near. Tea-time is over, the milk is cold." in corrupted


def test_questions_about_one_story_are_in_one_split(tmp_path):
    rows = [row(0, 0, "tea"), row(1, 0, "unknown"), row(1, 1, "milk")]
    imported = read(rows, tmp_path)
    assert imported.prompts["group"].n_unique() == 1
    swapped = [{**rows[0], "states": ["milk", "tea"]}]
    for name in ("story", "prompt"):
        text = rows[0][name].replace("tea", "@").replace("milk", "tea")
        swapped[0][name] = text.replace("@", "milk")
    swapped[0]["target"] = "milk"
    other = read(swapped, tmp_path)
    # What one file has as corrupted prompt is another row's clean prompt.
    assert other.prompts["clean"][0] == imported.prompts["corrupted"][0]
    assert other.prompts["group"][0] == imported.prompts["group"][0]


@pytest.mark.parametrize("suffix", [".json", ".parquet", ".jsonl.gz"])
def test_other_types_of_files_have_the_same_pairs(suffix, tmp_path):
    rows = [row(0, 0, "tea"), row(1, 0, "unknown")]
    first, second = (read(rows, tmp_path, each) for each in (".jsonl", suffix))
    assert first.prompts.drop("file").equals(second.prompts.drop("file"))


def test_lists_and_numbers_in_csv_are_read(tmp_path):
    given = row(0, 0, "tea")
    lists = {name: str(given[name]) for name in ("characters", "objects", "states")}
    found = read([given | lists], tmp_path, ".csv")
    assert found.prompts["answers"].to_list() == [[" tea"]]


def test_a_single_character_of_the_published_code_is_read(tmp_path):
    given = row(0, 0, "tea", characters=["Ann", "<N/A>"])
    assert read([given], tmp_path).rejects.is_empty()


def test_rows_that_contradict_themselves_are_rejected(tmp_path):
    cases = {
        "characters: expected texts, found None": {"characters": None},
        "states: expected texts, found []": {"states": []},
        "story: expected text, found 7": {"story": 7},
        "prompt: expected a text that contains the story": {"story": "Once."},
        "prompt: expected a text that contains the question": {"question": "Why?"},
        "character_idx: expected the index of one of 2 characters, found 2": {
            "character_idx": 2
        },
        "object_idx: expected the index of one of 2 objects, found -1": {
            "object_idx": -1
        },
        "question: expected one with the character 'Bob'": {"character_idx": 1},
        "question: expected one with the object 'jar'": {"object_idx": 1},
        "target: expected one of ['tea', 'unknown'], found 'milk'": {"target": "milk"},
        "target: 'unknown', but 'Ann' has filled 'cup'": {"target": "unknown"},
        "states: expected two that are in the story": {"states": ["tea"]},
    }
    whole = row(0, 0, "tea")
    imported = read([whole, *(whole | change for change in cases.values())], tmp_path)
    assert len(imported.prompts) == 1
    found = reasons(imported)
    for number, reason in enumerate(cases, start=2):
        assert found[number].startswith(reason)


def test_a_lacking_column_is_named(tmp_path):
    given = row(0, 0, "tea")
    del given["target"]
    path = write(tmp_path / "data.jsonl", [given])
    with pytest.raises(ValueError, match=r"no column \['target'\], only \['characters"):
        import_task({"file": path.name, "format": "causal-tom"}, path)
