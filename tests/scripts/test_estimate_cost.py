from pathlib import Path

import polars as pl
import pytest
import yaml
from estimate_cost import estimate_cost
from gguf_models import tiny_model, write_gguf

from circuit_transfer.embedded.model import TrainingSettings, build_model
from circuit_transfer.embedded.vocabulary import build_tokenizer
from circuit_transfer.generators import read_words
from circuit_transfer.study.validation import validate_config

ROOT = Path(__file__).parents[2]
WORDS = {
    "words_path": ROOT / "data/words.yaml",
    "facts_path": ROOT / "data/facts.csv",
}


@pytest.fixture
def config():
    """The tiny study, whose target is a published model."""
    config = yaml.safe_load((ROOT / "tests/workflow/tiny.yaml").read_text())
    config["models"]["tiny-target"] = {"hub": "openai-community/gpt2"}
    validate_config(config, ROOT / "workflow/schemas/config.schema.yaml")
    return config


def run(
    config,
    folder,
    checkpoints=None,
    configurations=ROOT / "data/configurations",
    gguf_files=None,
):
    paths, schedule_paths = (
        [folder / f"{name}.{suffix}" for suffix in ("csv", "tex", "html")]
        for name in ("cost", "schedule")
    )
    estimate_cost(
        paths,
        schedule_paths,
        config=config,
        checkpoints=checkpoints or {},
        gguf_files=gguf_files or {},
        configurations=configurations,
        **WORDS,
    )
    return paths


def test_table_has_every_stage_and_the_whole(config, tmp_path):
    csv, tex, html = run(config, tmp_path)
    table = pl.read_csv(csv)
    assert list(dict.fromkeys(table["stage"])) == [
        "download_model",
        "measure_baseline",
        "attribute_nodes",
        "stitch_alignment",
        "carry_gradients",
        "fit_alignment",
        "fit_free_mask",
        "evaluate_gold",
        "evaluate_random",
        "evaluate_aligned",
        "attribute_edges",
        "evaluate_edges",
        "evaluate_random_edges",
        "evaluate_lifted",
        "all",
    ]
    assert table.filter(stage="download_model")["model"].to_list() == ["tiny-target"]
    # Three tasks, two of them a family: alone, without one, without the family, all.
    fits = table.filter(stage="fit_alignment", model="tiny-target")
    assert fits["jobs"].to_list() == [3 + 3 + 1 + 1]
    assert table.filter(stage="fit_alignment", model="tiny-source")["jobs"][0] == 0
    assert r"gpu hours" in tex.read_text()
    assert "A100" in html.read_text()
    schedule = pl.read_csv(tmp_path / "schedule.csv")
    assert schedule["gpus"].to_list()[:-1] == [1, 2, 4, 8, 16]
    # Nothing but downloads is no job of the schedule's.
    assert set(schedule["jobs"]) == {table["jobs"][-1] - 1}
    assert "GB/s" in (tmp_path / "schedule.html").read_text()


def test_a_trained_model_has_the_size_that_training_makes(config, tmp_path, caplog):
    caplog.set_level("INFO")
    run(config, tmp_path)
    train = config["models"]["tiny-source"]["train"]
    tokenizer = build_tokenizer(
        read_words(*WORDS.values()),
        architecture="llama",
        generators=train["generators"],
    )
    model = build_model(TrainingSettings(**train), tokenizer)
    assert f"parameters={model.num_parameters()}," in caplog.text
    assert "GPU hours" in caplog.text


def test_a_pruned_model_has_the_size_that_is_left(config, tmp_path, caplog):
    caplog.set_level("INFO")
    init = {"prune": "tiny-target", "keep": {"heads": 1, "d_model": 12}}
    config["models"]["slim"] = {"train": {"init": init}, "dtype": "float32"}
    config["study"].update(transfers=[], models=["slim", "further"])
    further = {"train": {"init": {"from": "slim"}}, "dtype": "float32"}
    config["models"]["further"] = further
    config["models"]["tiny-target"] = config["models"]["tiny-source"]
    run(config, tmp_path)
    for name in ("slim", "further"):
        assert f"{name}: ModelShape(" in caplog.text
    assert "heads=1, d_head=8, d_model=12, d_mlp=32" in caplog.text


def test_a_model_on_disk_is_read_from_its_folder(config, tiny_checkpoint, tmp_path):
    folder = tiny_checkpoint("qwen2")
    config["models"]["tiny-target"] = {"path": "x", "dtype": "float32"}
    csv, *_ = run(config, tmp_path, checkpoints={"tiny-target": folder})
    table = pl.read_csv(csv)
    assert "download_model" not in table["stage"]
    assert set(table["model"].drop_nulls()) >= {"tiny-source", "tiny-target"}


def test_a_missing_configuration_says_where_to_put_it(config, tmp_path):
    message = r"openai-community/gpt2\.json: no configuration of openai-community/gpt2;"
    with pytest.raises(FileNotFoundError, match=message):
        run(config, tmp_path, configurations=tmp_path)


def test_a_gguf_file_is_estimated_without_its_weights(config, tmp_path):
    path = tmp_path / "model.gguf"
    model = tiny_model("llama")
    write_gguf(path, model, "llama")
    config["models"]["tiny-target"] = {"gguf": str(path), "dtype": "float32"}
    csv, *_ = run(config, tmp_path, gguf_files={"tiny-target": path})
    (row,) = pl.read_csv(csv).filter(stage="convert_gguf").to_dicts()
    assert row["model"] == "tiny-target"
    assert row["disk_gb"] == pytest.approx(4 * model.num_parameters() / 1e9)
