"""A study of a model and a task from a hub, a small one on the loopback interface."""

import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
import yaml
from hub_server import serve

HOME = Path(__file__).parents[2]
STUDY = {
    "study": {
        "tasks": ["theirs"],
        "methods": ["nap"],
        "models": ["far"],
        "transfers": [],
        "siblings": [],
    },
    "models": {"far": {"hub": "lab/tiny", "revision": "main"}},
    "tasks": {
        "theirs": {
            "mib": "ioi",
            "hub": "mib-bench/ioi",
            "revision": "main",
            "leading_space": "auto",
        }
    },
}


@pytest.fixture
def hub():
    with serve() as running:
        yield running


@pytest.fixture
def rows(tmp_path):
    """Rows of MIB's IOI in the words that the tiny tokenizer knows."""
    folder = tmp_path / "rows"
    folder.mkdir()
    for split, numbers in (("train", range(6)), ("test", range(6, 10))):
        lines = [json.dumps(row(number)) for number in numbers]
        (folder / f"{split}.jsonl").write_text("\n".join(lines))
    return folder


def row(number: int) -> dict:
    one, other = f"w{number}", f"w{number + 10}"

    def prompt(subject, left):
        text = f"{one} , {other} : {subject} ."
        choices = {"choices": [one, other], "answerKey": [one, other].index(left)}
        return {"prompt": text} | choices

    names = {"indirect_object": one, "subject": other}
    return {
        "template": "t",
        "metadata": names,
        **prompt(other, left=one),
        "s2_io_flip_counterfactual": prompt(one, left=other),
    }


def run(hub, folder, *arguments):
    (folder / "study.yaml").write_text(yaml.safe_dump(STUDY))
    command = [sys.executable, "-m", "snakemake", "--snakefile", HOME / "Snakefile"]
    command += ["--directory", ".", "--cores", "2"]
    command += ["--configfile", HOME / "config.yaml", "study.yaml"]
    environment = {key: os.environ[key] for key in os.environ if key != "HF_TOKEN"}
    environment |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(folder / "cache")}
    return subprocess.run(
        [*command, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_what_cannot_be_had_stops_the_study_before_any_stage(
    hub, tiny_checkpoint, tmp_path
):
    hub.push("lab/tiny", tiny_checkpoint("llama"), gated=True)
    result = run(hub, tmp_path)
    assert result.returncode != 0
    assert "tasks.theirs: mib-bench/ioi@main: no such dataset" in result.stderr
    assert "models.far: lab/tiny@main: gated; accept the licence" in result.stderr
    assert "`hf auth login`" in result.stderr
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.glob("results/**/*.parquet"))
    assert not list(tmp_path.glob("results/models/**/*.json"))


def test_a_dry_run_asks_the_hub_nothing(hub, tmp_path):
    result = run(hub, tmp_path, "--dry-run")
    assert result.returncode == 0, result.stderr
    assert hub.asked == []


def test_a_model_and_rows_of_the_hub_are_studied(hub, tiny_checkpoint, rows, tmp_path):
    commit = hub.push("lab/tiny", tiny_checkpoint("llama"))
    hub.push("mib-bench/ioi", rows, kind="datasets")
    targets = ("faithfulness/gold/far/theirs/nap.parquet", "pairs/far/theirs.parquet")
    result = run(hub, tmp_path, "--", *(f"results/{each}" for each in targets))
    assert result.returncode == 0, result.stdout + result.stderr
    model = json.loads((tmp_path / "results/models/far/model.json").read_text())
    asked = {"repository": "lab/tiny", "revision": "main", "commit": commit}
    assert model["hub"] == asked
    pairs = pl.read_parquet(tmp_path / "results/pairs/far/theirs.parquet")
    assert sorted(pairs["split"]) == ["test"] * 4 + ["train"] * 6
    gold = tmp_path / "results/faithfulness/gold/far/theirs/nap.parquet"
    assert pl.read_parquet(gold)["faithfulness"].to_list()[-1] == 1.0
