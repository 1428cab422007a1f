"""The table of a model's top nodes, and that of its tasks, from scores on disk."""

import numpy as np
import polars as pl
from plot_task_correlation import plot_task_correlation
from summarise_top_nodes import summarise_top_nodes

from circuit_transfer.artifacts.scores import write_scores

NODES = ["a0.h0", "a0.h1", "m0"]
SCORES = {"b": [3.0, -2, 1], "a": [-1.0, 2, 0], "empty": [np.nan] * 3}
SUFFIXES = ("csv", "tex", "html")


def test_files_are_told_apart_by_what_they_say(tmp_path):
    files = []
    for number, (task, values) in enumerate(SCORES.items()):
        files.append(tmp_path / f"{number}.safetensors")
        by_example = np.float32([values, values])
        write_scores(
            files[-1],
            by_example.mean(0),
            nodes=NODES,
            by_example=by_example[: 0 if task == "empty" else 2],
            prompt_numbers=[0, 1],
            task=task,
            method="nap",
        )
    names = {"model": "mine", "tasks": ["a", "b", "empty"], "methods": ["nap"]}
    top = [tmp_path / f"top.{suffix}" for suffix in SUFFIXES]
    summarise_top_nodes(files, top, **names)
    table = pl.read_csv(top[0])
    assert table.columns == (
        ["task", "method", "rank", "node", "score", "low", "high", "sign"]
    )
    shown = table.select("task", "node", "score", "low", "high", "sign").rows()
    assert shown == [
        ("a", "a0.h1", 2, 2, 2, "+"),
        ("a", "m0", 0, 0, 0, "0"),
        ("a", "a0.h0", -1, -1, -1, "-"),
        ("b", "a0.h0", 3, 3, 3, "+"),
        ("b", "m0", 1, 1, 1, "+"),
        ("b", "a0.h1", -2, -2, -2, "-"),
        ("empty", *[None] * 5),
    ]
    assert "Top nodes of mine" in top[2].read_text()
    alike = [tmp_path / f"alike.{suffix}" for suffix in SUFFIXES]
    plot_task_correlation(files, alike, [tmp_path / "alike.png"], **names)
    pairs = pl.read_csv(alike[0]).select("task", "other_task").rows()
    assert pairs == [("a", "b"), ("a", "empty"), ("b", "empty")]
