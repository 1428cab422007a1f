"""The table of the similarity of tasks, against numbers by hand."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from circuit_transfer.tables.task_correlation import (
    task_correlation_table,
    task_similarity,
)

VECTORS = {
    "a": np.array([1.0, 2, 3]),
    "b": np.array([3.0, 2, 1]),
    "c": np.array([2.0, 4, 7]),
    "empty": np.full(3, np.nan),
}


def test_the_most_similar_tasks_come_first():
    scores = {("nap", task): vector for task, vector in VECTORS.items()}
    table = task_correlation_table(scores, methods=["nap"], tasks=[*VECTORS])
    pairs = table.frame.select("task", "other_task").rows()
    assert pairs[:3] == [("a", "c"), ("b", "c"), ("a", "b")]
    known = table.frame["correlation"].to_list()
    # By hand: covariance 5/3, variances 2/3 and 38/9.
    alike = (5 / 3) / np.sqrt(2 / 3 * 38 / 9)
    assert known[:3] == pytest.approx([alike, -alike, -1])
    assert pairs[3:] == [("a", "empty"), ("b", "empty"), ("c", "empty")]
    assert known[3:] == [None] * 3


def test_one_task_has_no_other():
    table = task_correlation_table({}, methods=["nap"], tasks=["a"])
    assert table.frame.is_empty()


# Four tasks of two families in a model of three nodes.
ALIKE = [np.array(each, float) for each in ([3, 1, 0], [3, 2, 0], [0, 3, 1], [0, 1, 3])]
ACROSS = {"tasks": ["a", "b", "c", "d"], "families": {"one": ["a", "b"]}}


def test_tasks_are_similar_in_the_same_way_whatever_the_nodes_are():
    # Other nodes, other scale and level: correlations stay the same.
    other = [np.repeat(2 * each + 1, 2) for each in ALIKE]
    assert task_similarity(ALIKE, other, **ACROSS) == pytest.approx(1)
    matrix = np.corrcoef(ALIKE)
    swapped = [ALIKE[n] for n in (2, 0, 3, 1)]
    pairs = [(0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]  # not (0, 1), which is a family
    moved = np.corrcoef(swapped)
    by_hand = spearmanr([matrix[p] for p in pairs], [moved[p] for p in pairs])
    found = task_similarity(ALIKE, swapped, **ACROSS)
    assert found == pytest.approx(by_hand.statistic)
    # What a family shares does not count: with it, the number is another one.
    alone = task_similarity(ALIKE, swapped, tasks=ACROSS["tasks"], families={})
    assert alone != pytest.approx(found)


def test_fewer_than_three_pairs_of_known_tasks_say_nothing():
    unknown = [*ALIKE[:2], None, None]
    assert np.isnan(task_similarity(ALIKE, unknown, **ACROSS))
    unknown = [np.full(3, np.nan), *ALIKE[1:]]
    assert task_similarity(unknown, ALIKE, **ACROSS) == pytest.approx(1)
    assert np.isnan(task_similarity([], [], tasks=[], families={}))
