"""Where models and tasks come from: folders on the disk, generators, the hub."""

import re

import pytest

from circuit_transfer.study.origins import Origins
from circuit_transfer.study.study import Study

CONFIG = {
    "models": {
        "trained": {"train": {}},
        "shipped": {"path": "models/shipped", "dtype": "float32"},
        "remote": {"hub": "them/theirs", "revision": "abc"},
        "quantised": {"gguf": "models/file.gguf"},
    },
    "tasks": {
        "drawn": {"generator": "ioi"},
        "own": {"file": "own.csv", "format": "pairs"},
        "mib": {"mib": "ioi", "hub": "them/ioi", "revision": "abc"},
    },
}


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A folder of the Snakefile with a shipped model, not the working directory."""
    home, here = tmp_path / "home", tmp_path / "here"
    (home / "models/shipped").mkdir(parents=True)
    here.mkdir()
    monkeypatch.chdir(here)
    return home


def test_the_working_directory_comes_before_the_home(home):
    origins = Origins(CONFIG, home)
    assert origins.located("models/shipped") == str(home / "models/shipped")
    (home.parent / "here/models/shipped").mkdir(parents=True)
    assert origins.located("models/shipped") == "models/shipped"
    assert origins.located("no/folder") == "no/folder"


def test_paths_that_only_the_home_has_are_named(home):
    (home / "models/file.gguf").touch()
    (home / "own.csv").touch()
    study = {"tasks": ["own", "drawn"], "models": ["shipped", "quantised", "trained"]}
    config = {**CONFIG, "study": {**study, "transfers": []}}
    circuit = {"importances": "models/shipped"}
    config["evaluation"] = {"circuits": {"theirs": circuit}}
    origins = Origins(config, home)
    files = ["models/shipped", "models/file.gguf", "own.csv", "models/shipped"]
    assert origins.found_at_home(Study(config)) == files
    # Here, it is that of the working directory.
    (home.parent / "here/own.csv").touch()
    files.remove("own.csv")
    assert origins.found_at_home(Study(config)) == files


def test_inputs_that_no_rule_makes_are_marked_and_what_rules_make_is_placed(home):
    (home / "models/shipped/config.json").touch()
    (home / "models/shipped/training.json").touch()
    marks = {"given": lambda path: f"given {path}", "made": lambda path: f"made {path}"}
    origins = Origins(CONFIG, home, **marks)
    shipped = home / "models/shipped"
    assert origins.words == f"given {home / 'data/words.yaml'}"
    assert origins.weights("shipped") == [f"given {shipped / 'config.json'}"]
    assert origins.record("shipped") == f"given {shipped / 'training.json'}"
    assert origins.gguf_file("quantised") == "given models/file.gguf"
    assert origins.pair_files("own") == ["given own.csv"]
    assert origins.configurations(["shipped"]) == [f"given {shipped / 'config.json'}"]
    # Snakemake places inputs and outputs itself; what a stage reads as a param is not
    # one of them, and neither is where a given file is.
    assert origins.checkpoint("trained") == "made results/models/trained/checkpoint"
    assert all(path.startswith("results") for path in origins.weights("trained"))
    assert origins.record("trained").startswith("results")
    assert origins.checkpoint("shipped") == str(shipped)
    assert origins.pairs_path("own") == "own.csv"
    assert origins.given_gguf_files() == {"quantised": "models/file.gguf"}


def test_paths_are_relative_where_the_repository_is_the_working_directory(
    home, monkeypatch
):
    assert Origins(CONFIG, home).words == home / "data/words.yaml"
    monkeypatch.chdir(home)
    assert str(Origins(CONFIG, home).words) == "data/words.yaml"


def test_weights_are_the_files_that_results_depend_on(home):
    folder = home / "models/shipped"
    for name in ("model.safetensors", "config.json", "tokenizer.json", "README.md"):
        (folder / name).touch()
    origins = Origins(CONFIG, home)
    names = ("config.json", "model.safetensors", "tokenizer.json")
    assert origins.weights("shipped") == [str(folder / name) for name in names]
    made = sorted({"generation_config.json", "tokenizer_config.json", *names})
    trained = [f"results/models/trained/checkpoint/{name}" for name in made]
    download = "results/models/remote/download.json"
    assert origins.weights("trained", "remote") == [*trained, download]
    converted = [f"results/models/quantised/checkpoint/{name}" for name in made]
    assert origins.weights("quantised") == converted


def test_what_else_a_tokenizer_is_made_of_is_among_them(home):
    folder = home / "models/shipped"
    names = {"special_tokens_map.json", "added_tokens.json", "vocab.json"}
    names |= {"merges.txt", "tokenizer.model", "generation_config.json"}
    for name in names | {"trainer_state.json", "training.json"}:
        (folder / name).touch()
    found = Origins(CONFIG, home).weights("shipped")
    assert set(found) == {str(folder / name) for name in names}


def test_configurations_are_those_of_the_models_that_are_studied(home):
    published = home / "data/configurations/them/theirs.json"
    origins = Origins(CONFIG, home)
    given = str(home / "models/shipped/config.json")
    # Whoever reads it says best that the other is missing.
    assert origins.configurations(["trained", "shipped", "remote"]) == [given]
    published.parent.mkdir(parents=True)
    published.touch()
    assert origins.configurations(["remote"]) == [str(published)]


def test_a_record_is_asked_for_where_there_is_one(home):
    origins = Origins(CONFIG, home)
    assert origins.record("remote") == "results/models/remote/download.json"
    training = "results/models/trained/checkpoint/training.json"
    assert origins.record("trained") == training
    conversion = "results/models/quantised/checkpoint/conversion.json"
    assert origins.record("quantised") == conversion
    assert origins.record("shipped") == []
    (home / "models/shipped/training.json").touch()
    assert origins.record("shipped") == str(home / "models/shipped/training.json")


def test_what_a_training_reads_and_needs(home):
    sizes = {"layers": 4, "heads": 4, "kv_heads": 2, "d_model": 64, "d_mlp": 128}
    whole = {"architecture": "llama", **sizes}
    models = {
        "whole": {"train": whole},
        "half": {"train": {"init": {"prune": "whole", "keep": {"layers": 2}}}},
        "last": {"train": {"init": {"from": "half"}, "distil": {"teacher": "remote"}}},
        "remote": {"hub": "them/theirs"},
    }
    origins = Origins({"models": models, "tasks": {}}, home)
    assert (origins.parent("last"), origins.teacher("last")) == (["half"], ["remote"])
    assert (origins.parent("whole"), origins.teacher("whole")) == ([], [])
    folder = "results/models/half/checkpoint"
    named = {"name": "half", "checkpoint": folder}
    assert origins.named_checkpoint(["half"]) == named
    assert origins.named_checkpoint([]) is None
    assert origins.records(["half"]) == [f"{folder}/training.json"]
    assert origins.unused_trainers("whole") == ("embedded.inheritance",)
    assert "embedded.importance" in origins.unused_trainers("last")
    assert origins.unused_trainers("half") == ()
    training = origins.training("half")
    assert training["train"]["layers"] == 2 and training["parent"] == whole
    assert origins.training("whole") == {"train": whole}
    # Not downloaded yet.
    with pytest.raises(FileNotFoundError):
        origins.training("last")


def test_checkpoints(home):
    origins = Origins(CONFIG, home)
    assert origins.checkpoint("trained") == "results/models/trained/checkpoint"
    assert origins.checkpoint("remote") is None
    assert origins.checkpoint("quantised") == "results/models/quantised/checkpoint"
    assert origins.given_gguf_files() == {"quantised": "models/file.gguf"}
    (home / "models/file.gguf").touch()
    assert origins.gguf_file("quantised") == str(home / "models/file.gguf")
    folder = str(home / "models/shipped")
    assert origins.checkpoint("shipped") == folder
    assert origins.given_checkpoints() == {"shipped": folder}
    assert origins.load_options("shipped") == {"dtype": "float32"}


def test_a_rule_makes_the_checkpoints_of_its_own_models_alone(home):
    origins = Origins(CONFIG, home)
    assert origins.made_by("train") == "trained"
    assert origins.made_by("gguf") == "quantised"
    given = Origins({**CONFIG, "models": {"a": {"path": "b"}}}, home)
    assert re.fullmatch(given.made_by("gguf"), "a") is None


def test_remote_models_are_prepared_only_where_they_are_studied(home):
    origins = Origins(CONFIG, home)
    assert origins.available(["trained"]) == ["trained", "shipped"]
    assert origins.available(["remote"]) == ["trained", "shipped", "remote"]
    studied = ["trained", "shipped", "quantised"]
    assert origins.available(["quantised"]) == studied


def test_sources_of_pairs(home):
    origins = Origins(CONFIG, home)
    data = home / "data"
    assert origins.prompt_sources("drawn") == [data / "words.yaml", data / "facts.csv"]
    assert list(map(str, origins.prompt_sources("own"))) == ["own.csv"]
    assert origins.prompt_sources("mib") == []
    assert origins.pairs_path("drawn") is None


def test_readers_of_other_sources_do_not_count(home):
    origins = Origins(CONFIG, home)
    assert origins.unused_readers("drawn") == ("importers", "models.hub")
    assert origins.unused_readers("own") == ("generators", "models.hub")
    assert origins.unused_readers("mib") == ("generators",)
