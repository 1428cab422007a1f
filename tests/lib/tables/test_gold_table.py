"""The table of a model's own circuits, against numbers by hand."""

import numpy as np
import polars as pl
import pytest

from circuit_transfer.tables.gold import gold_table, top_heads


def test_the_highest_heads_are_named_and_no_mlp():
    nodes = ("a0.h0", "a0.h1", "m0", "a1.h0", "a1.h1", "m1")
    scores = np.array([0.1, 0.4, 0.9, -0.5, 0.4, 0.2], dtype=np.float32)
    assert top_heads(scores, nodes, count=3) == "a0.h1 a1.h1 a0.h0"
    assert top_heads(np.full(6, np.nan), nodes) == ""


def test_every_cell_has_whole_model_circuits_and_random_ones():
    # Of another model and of a transfer, as the frame of a whole study has them.
    columns = ["row", "source", "target", "task", "method"]
    areas = ["cpr", "cpr_low", "cpr_high", "cmd", "cmd_low", "cmd_high"]
    areas += ["n_distinct", "right_above_wrong_area", "max_faithfulness"]
    rows = [
        ("level", None, "mine", "ioi", "nap", 0.9, 0.8, 1.0, 0.1, 0.05, 0.15),
        ("level", None, "mine", "ioi", "random", 0.3, 0.2, 0.4, 0.7, 0.6, 0.8),
        ("level", None, "other", "ioi", "nap", 0.5, 0.4, 0.6, 0.5, 0.4, 0.6),
        ("level", "other", "mine", "ioi", "nap", 0.2, 0.1, 0.3, 0.8, 0.7, 0.9),
    ]
    more = [(3, 0.6, 1.2), (3, 0.2, 1.0), (4, 0.5, 1.0), (2, 0.5, 1.0)]
    rows = [(*row, *rest) for row, rest in zip(rows, more, strict=True)]
    table = gold_table(
        pl.DataFrame(rows, schema=[*columns, *areas], orient="row"),
        {("ioi", "nap"): [2.0, -1.0, 3.0, 4.0]},
        {("ioi", "nap"): "a0.h1"},
        target="mine",
        tasks=["ioi", "empty"],
        methods=["nap"],
    )
    full, empty = table.frame.to_dicts()
    assert full == {
        "task": "ioi",
        "method": "nap",
        "pairs": 4,
        "distinct": 3,
        "right_above_wrong": 0.75,
        "logit_diff": 2.0,
        "cpr": 0.9,
        "cpr_half_width": pytest.approx(0.1),
        "cmd": 0.1,
        "cmd_half_width": pytest.approx(0.05),
        "cpr_exaggerates": True,
        "right_above_wrong_area": 0.6,
        "right_above_wrong_area_half_width": None,
        "random-rankings_cpr": 0.3,
        "random-rankings_cmd": 0.7,
        "random-rankings_right_above_wrong_area": 0.2,
        "top_heads": "a0.h1",
    }
    assert empty.pop("task") == "empty"
    assert empty.pop("method") == "nap"
    assert empty.pop("pairs") == 0
    assert set(empty.values()) == {None}
