"""The table of a model's highest and most negative nodes, against numbers by hand."""

import numpy as np
import pytest

from circuit_transfer.artifacts.scores import Scores
from circuit_transfer.models.nodes import node_names
from circuit_transfer.tables.top_nodes import top_nodes_table
from circuit_transfer.tables.typesetting import to_csv

NODES = node_names(6, 3)  # 24, every fourth of them an MLP


def rows(scores, by_example=None, **metadata):
    found = Scores(np.float32(scores), NODES[: len(scores)], metadata, by_example)
    table = top_nodes_table({("a", "nap"): found}, tasks=["a"], methods=["nap"])
    return table, table.frame.to_dicts()


def test_ten_highest_and_five_most_negative_nodes_by_rank():
    table, found = rows([*range(12), *range(-1, -13, -1)])
    assert [row["rank"] for row in found] == [*range(1, 11), *range(20, 25)]
    assert [row["score"] for row in found[:10]] == [*range(11, 1, -1)]
    assert [row["score"] for row in found[10:]] == [-8, -9, -10, -11, -12]
    # Heads and MLPs both.
    assert [row["node"] for row in found[:4]] == ["m2", "a2.h2", "a2.h1", "a2.h0"]
    assert [row["sign"] for row in found] == ["+"] * 10 + ["-"] * 5
    # Unknown examples give no interval.
    assert {row["low"] for row in found} == {row["high"] for row in found} == {None}
    # A sign in a cell is no formula, so that no apostrophe is put before it.
    assert "m2,11.0,,,+\n" in to_csv(table) and ",-12.0,,,-\n" in to_csv(table)


@pytest.mark.parametrize(
    ("scores", "listed"),
    [
        ([1, -1, 0], [("a0.h0", "+"), ("a0.h2", "0"), ("a0.h1", "-")]),
        # None is listed twice, and none that is not negative as negative.
        ([*range(12, 0, -1)], [(name, "+") for name in NODES[:10]]),
        # Equal scores keep the order of the nodes.
        ([2, 2, 2], [(name, "+") for name in NODES[:3]]),
    ],
)
def test_few_nodes_are_listed_once(scores, listed):
    _, found = rows(scores)
    assert [(row["node"], row["sign"]) for row in found] == listed


@pytest.mark.parametrize(
    ("scores", "decimals"),
    [([20, -7], 3), ([0.1, -3], 3), ([0.00078, 0.0001], 6), ([0, 0], 3), ([1e-30], 8)],
)
def test_scores_have_three_digits_whatever_their_size(scores, decimals):
    table, _ = rows(scores)
    assert table.decimals == decimals


def test_the_interval_is_over_distinct_pairs_of_prompts():
    # The first pair of prompts twice. Drawn twice from two pairs: only the first, both
    # or only the second, a quarter of the draws each end.
    by_example = np.float32([[1, -2], [3, -2], [5, -8]])
    _, found = rows(by_example.mean(0), by_example, prompt_numbers=[0, 0, 1])
    bounds = [(row["low"], row["high"]) for row in found]
    assert bounds == [(2, 5), (-8, -2)]


def test_one_pair_of_prompts_has_no_interval():
    by_example = np.float32([[1, -2], [3, -2]])
    _, found = rows(by_example.mean(0), by_example, prompt_numbers=[0, 0])
    assert {row[bound] for row in found for bound in ("low", "high")} == {None}


def test_a_task_without_pairs_is_an_empty_row():
    empty = Scores(np.full(3, np.nan), NODES[:3], {}, np.empty((0, 3)))
    known = Scores(np.ones(3), NODES[:3], {})
    scores = {("a", "nap"): empty, ("b", "nap"): known}
    table = top_nodes_table(scores, tasks=["a", "b"], methods=["nap"])
    first, *rest = table.frame.to_dicts()
    assert (first.pop("task"), first.pop("method")) == ("a", "nap")
    assert set(first.values()) == {None}
    assert {row["task"] for row in rest} == {"b"} and len(rest) == 3
