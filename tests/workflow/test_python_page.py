"""The page on results from Python: its code runs, and says what the study found."""

import re
from pathlib import Path

import polars as pl
import pytest
import torch

from circuit_transfer.artifacts.descriptions import read_description
from circuit_transfer.artifacts.scores import read_scores
from circuit_transfer.circuits.members import circuit_nodes
from circuit_transfer.circuits.runs import run_circuits
from circuit_transfer.models.loading import load_described
from circuit_transfer.prompts.batches import fitting_batches
from circuit_transfer.prompts.pairs import select_pairs

HOME = Path(__file__).parents[2]
PAGE = (HOME / "workflow/docs/python.md").read_text()
# Of the default study, and of the tiny one.
MODELS = {"llama-small": "tiny-source", "llama-medium": "tiny-target"}
SIZES = (0.2, 0.5, 1.0)


@pytest.fixture
def run(study, monkeypatch, capsys) -> tuple[dict, str]:
    """All code of the page, run in the folder of a study: its names, and the output."""
    code = "".join(re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S))
    for of_default, of_tiny in MODELS.items():
        code = code.replace(of_default, of_tiny)
    monkeypatch.chdir(study.folder)
    names = {}
    exec(compile(code, "python.md", "exec"), names)
    return names, capsys.readouterr().out


def test_every_line_runs_and_no_frame_is_empty(run):
    names, printed = run
    assert "shape: (0," not in printed
    frames = ("circuits", "gold", "cpr", "levels", "tests", "measured")
    assert all(len(names[name]) for name in frames)
    assert set(names["circuits"]["task"]) == {
        "ioi",
        "arithmetic-addition",
        "arithmetic-subtraction",
    }


def test_the_columns_that_the_page_names_are_those_of_the_frame(run):
    sentence = re.search(r"the columns (.*?), and in how many", PAGE, re.S)[1]
    assert re.findall(r"`(\w+)`", sentence) == run[0]["circuits"].columns


def test_the_nodes_of_a_circuit_are_those_that_the_evaluation_kept(study, monkeypatch):
    """Circuits by their names of nodes give the measured logit differences."""
    description = read_description(study.result("models/tiny-target/model.json"))
    monkeypatch.chdir(study.folder)
    model = load_described(description)
    pairs = pl.read_parquet(study.result("pairs/tiny-target/ioi/test.parquet"))
    batches = fitting_batches(model, select_pairs(pairs, "test", 8), 8)
    path = study.result("scores/tiny-target/ioi/nap-ig-inputs.safetensors")
    circuits = circuit_nodes(read_scores(path), SIZES)
    kept = [set(circuits.filter(proportion=size)["node"]) for size in SIZES]
    assert list(map(len, kept)) == [1, 2, 5]
    masks = [[float(node in nodes) for node in description["nodes"]] for nodes in kept]
    metrics = run_circuits(model, batches, torch.tensor(masks))
    path = study.result("faithfulness/gold/tiny-target/ioi/nap-ig-inputs.parquet")
    expected = pl.read_parquet(path)["logit_diff"].to_list()
    measured = metrics.logit_diff.mean(dim=1).tolist()
    assert measured == pytest.approx(expected, rel=1e-4, abs=1e-6)
    assert len({round(each, 6) for each in measured}) == 3
