"""Rows of a file that are there ten times, from the prompts to the intervals."""

import json

import polars as pl
import pytest
from attribute_nodes import attribute_nodes
from evaluate_gold import evaluate_gold
from summarise_faithfulness import summarise_faithfulness
from summarise_statistics import summarise_statistics
from tokenize_pairs import tokenize_pairs
from write_prompts import write_prompts

from circuit_transfer.artifacts.frames import read_frame
from circuit_transfer.artifacts.scores import read_scores

NAMES = {"siblings": [], "families": {}}
SETTINGS = {"ablations": ["counterfactual"], "proportions": [0.3, 0.6, 1.0]}
SETTINGS |= {"examples": 100, "batch_size": 100}
HOW = {"task": "own", "method": "nap", "examples": 100, "batch_size": 100}
HOW |= {"ig_steps": 2, "ablation": "counterfactual"}


def rows(split):
    """Six corrupted prompts of one clean prompt, which both splits have."""
    pair = {"clean": "w0 w1 w2 :", "answer": " w1", "wrong_answer": " w2"}
    pair |= {"split": split, "group": split}
    return [pair | {"corrupted": f"w{n} w1 w2 :"} for n in range(3, 9)]


def statistics(study, folder, copies, distinct=6):
    """The levels of a task from a file, its gold circuit found and measured."""
    folder.mkdir()
    lines = [
        row for split in ("train", "test") for row in rows(split)[:distinct] * copies
    ]
    source = folder / "own.jsonl"
    source.write_text("\n".join(map(json.dumps, lines)))
    for split in ("train", "test"):
        paths = folder / f"prompts-{split}", folder / "rejects"
        names = {"task": "own", "split": split, "path": source}
        write_prompts(*paths, entry={"file": "own.jsonl"}, **names)
        pairs = folder / split, folder / "rejects"
        tokenize_pairs(paths[0], study.model("target"), *pairs)
    scores = folder / "scores"
    costs = folder / "costs"
    attribute_nodes(study.model("target"), folder / "train", scores, costs, **HOW)
    gold = folder / "gold"
    labels = {"target": "target", "task": "own", "method": "nap"}
    paths = (study.model("target"), folder / "test", scores, gold, costs)
    evaluate_gold(*paths, **labels, settings=SETTINGS)
    curves, cpr = folder / "curves", folder / "cpr"
    summarise_faithfulness([gold], [], [], [], curves, cpr, **NAMES)
    found = folder / "statistics"
    summarise_statistics(cpr, [gold], [], [], [], found, folder / "bands", [], **NAMES)
    numbers = read_scores(scores).metadata["prompt_numbers"]
    return read_frame(found).filter(task="own"), read_frame(folder / "bands"), numbers


def test_ten_copies_of_every_row_change_no_interval(study, tmp_path):
    once, bands, numbers = statistics(study, tmp_path / "once", 1)
    tenfold, same_bands, copied = statistics(study, tmp_path / "tenfold", 10)
    assert numbers == [*range(6)] and copied == numbers * 10
    counts = [frame.select("n_examples", "n_distinct") for frame in (once, tenfold)]
    assert [frame.row(0) for frame in counts] == [(6, 6), (60, 6)]
    areas = ("cpr", "cpr_low", "cpr_high", "cmd", "cmd_low", "cmd_high")
    (expected,), (found,) = (frame.select(areas).rows() for frame in (once, tenfold))
    assert expected[2] - expected[1] > 0.01
    assert found == pytest.approx(expected, abs=1e-5)
    numbers = pl.selectors.float()
    for left, right in zip(
        *(frame.select(numbers).rows() for frame in (bands, same_bands)), strict=True
    ):
        assert left == pytest.approx(right, abs=1e-5)


def test_one_row_again_and_again_has_no_interval(study, tmp_path):
    levels, bands, _ = statistics(study, tmp_path / "single", 10, distinct=1)
    row = levels.row(0, named=True)
    assert (row["n_examples"], row["n_distinct"]) == (10, 1)
    assert row["cpr"] is not None and row["cpr_low"] is None and row["cpr_high"] is None
    assert bands["low"].is_null().all() and bands["faithfulness"].is_not_null().all()
