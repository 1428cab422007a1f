import pytest

from circuit_transfer.importers import data_files
from circuit_transfer.importers.mib_files import find_files


@pytest.fixture
def folder(tmp_path):
    """A function that makes a folder of empty files."""

    def make(*names):
        for name in names:
            path = tmp_path / "folder" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return tmp_path / "folder"

    return make


def found(path, configuration=None):
    return [(file.name, file.split) for file in find_files(path, configuration)]


def test_shards_are_in_order_and_validation_is_not_read_beside_test(folder):
    path = folder(
        "README.md",
        "dataset_infos.json",
        ".cache/huggingface/train.jsonl",
        "data/train-00001-of-00002.parquet",
        "data/train-00000-of-00002.parquet",
        "data/validation-00000-of-00001.parquet",
        "data/test-00000-of-00001.parquet",
        "data/notes.parquet",
    )
    assert found(path) == [
        ("data/test-00000-of-00001.parquet", "test"),
        ("data/train-00000-of-00002.parquet", "train"),
        ("data/train-00001-of-00002.parquet", "train"),
    ]
    files = data_files({"mib": "ioi"}, path)
    assert files[0] == path / "data/test-00000-of-00001.parquet"


def test_validation_replaces_a_missing_test_split(folder):
    path = folder("train.jsonl", "validation.jsonl")
    assert found(path) == [("train.jsonl", "train"), ("validation.jsonl", "test")]


def test_a_folder_may_name_the_split(folder):
    path = folder("default/train/0000.parquet", "default/test/0000.parquet")
    assert found(path) == [
        ("default/test/0000.parquet", "test"),
        ("default/train/0000.parquet", "train"),
    ]


def test_files_without_a_split_are_all_read(folder):
    path = folder("latest.jsonl", "trained.jsonl")
    assert found(path) == [("latest.jsonl", None), ("trained.jsonl", None)]


def test_a_folder_named_data_is_no_configuration(folder):
    path = folder("data/en/test.jsonl", "data/de/test.jsonl")
    assert found(path, "de") == [("data/de/test.jsonl", "test")]


def test_a_folder_hidden_from_above_is_read(folder, tmp_path):
    """As in the cache of the hub, which lies in a hidden folder."""
    folder("train.jsonl")
    hidden = tmp_path / ".cache"
    (tmp_path / "folder").rename(hidden)
    assert found(hidden) == [("train.jsonl", "train")]


def test_one_of_several_configurations_must_be_chosen(folder):
    path = folder(
        "2_answer_choices/test-00000-of-00001.parquet",
        "4_answer_choices/test-00000-of-00001.parquet",
        "4_answer_choices/train-00000-of-00001.parquet",
    )
    names = r"\['2_answer_choices', '4_answer_choices'\]"
    with pytest.raises(ValueError, match=f"choose one of the configurations {names}"):
        find_files(path)
    with pytest.raises(
        ValueError, match=f"'4' is not one of the configurations {names}"
    ):
        find_files(path, "4")
    assert found(path, "4_answer_choices") == [
        ("4_answer_choices/test-00000-of-00001.parquet", "test"),
        ("4_answer_choices/train-00000-of-00001.parquet", "train"),
    ]
    entry = {"mib": "copycolors_mcqa", "configuration": "2_answer_choices"}
    assert len(data_files(entry, path)) == 1
    # That of the circuit track.
    files = data_files({"mib": "copycolors_mcqa"}, path)
    assert {file.parent.name for file in files} == {"4_answer_choices"}
    with pytest.raises(ValueError, match="choose one of the configurations"):
        data_files({"mib": "arc_easy"}, path)


def test_what_cannot_be_read_is_named(folder, tmp_path):
    with pytest.raises(ValueError, match=r"folder: no data files \(.parquet, .jsonl\)"):
        find_files(folder("README.md"))
    with pytest.raises(ValueError, match="nowhere: no such file or folder"):
        find_files(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="README.md: expected a file of type .parquet"):
        find_files(tmp_path / "folder/README.md")
    path = folder("train.jsonl", "train.parquet")
    with pytest.raises(ValueError, match=r"folder: expected files of one type, found"):
        find_files(path)
