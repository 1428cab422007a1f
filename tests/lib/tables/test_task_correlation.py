"""The table of the similarity of tasks, against numbers by hand."""

import numpy as np
import pytest

from circuit_transfer.tables.task_correlation import task_correlation_table

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
