import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import circuit_transfer
from circuit_transfer.models.nodes import node_names
from circuit_transfer.transfer.controls import (
    control_sources,
    depth_heuristic,
    mlps_first,
    other_task,
    permuted,
    permuted_columns,
    ridge,
    trained_controls,
)

TASKS = ["a", "b", "c"]
LIBRARY = Path(circuit_transfer.__file__).parents[1]


def test_trained_controls_belong_to_zero_shot_sets():
    controls = ["depth-heuristic", "random-source", "source-free"]
    expected = ["source-free", "random-source"]
    assert trained_controls("without-a", controls) == expected
    assert trained_controls("without-family-a", controls) == expected
    assert trained_controls("only-a", controls) == []
    assert trained_controls("all", controls) == []
    assert trained_controls("without-a", ["permuted-alignment"]) == []


def test_permutations_depend_on_task_seed_and_purpose():
    scores = np.arange(50)
    orders = {
        tuple(permuted(scores, task=task, seed=seed, what=what))
        for task in TASKS
        for seed in (0, 1)
        for what in ("scrambled-source", "random-source")
    }
    assert len(orders) == 12
    assert all(sorted(order) == list(range(50)) for order in orders)


def test_permuted_columns_stay_whole():
    matrix = np.arange(60).reshape(3, 20)
    found = permuted_columns(matrix, task="a", seed=0)
    assert not np.array_equal(found, matrix)
    assert np.array_equal(found[:, found[0].argsort()], matrix)


def test_permutations_are_the_same_in_another_process():
    code = (
        "import numpy as np; from circuit_transfer.transfer.controls import permuted;"
        "print(*permuted(np.arange(20), task='a', seed=3, what='random-source'))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(LIBRARY), "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    expected = permuted(np.arange(20), task="a", seed=3, what="random-source")
    assert list(map(int, found)) == expected.tolist()


def test_source_free_is_one_constant_of_the_same_magnitude():
    sources = {
        "a": np.array([3.0, 0.0, 0.0, 0.0], np.float32),
        "b": np.array([0.0, -4.0, 0.0, 0.0], np.float32),
    }
    free = control_sources("source-free", sources, seed=0)
    constant = np.sqrt((9 + 16) / 8)
    for task in sources:
        assert free[task].dtype == np.float32
        np.testing.assert_allclose(free[task], [constant] * 4, rtol=1e-6)


def test_random_source_permutes_tasks_differently():
    sources = {task: np.arange(30.0) for task in TASKS}
    found = control_sources("random-source", sources, seed=1)
    assert len({tuple(each) for each in found.values()}) == 3
    expected = permuted(sources["a"], task="a", seed=1, what="random-source")
    assert np.array_equal(found["a"], expected)


def test_a_control_that_is_not_trained_is_an_error():
    with pytest.raises(ValueError, match="'scrambled-source' is not one of"):
        control_sources("scrambled-source", {}, seed=0)


def test_mlps_come_first_and_early_layers_before_late_ones():
    nodes = node_names(2, 2)
    order = np.argsort(-mlps_first(nodes))
    expected = ["m0", "m1", "a0.h0", "a0.h1", "a1.h0", "a1.h1"]
    assert [nodes[each] for each in order] == expected


def test_another_task_is_drawn_for_every_task_and_seed():
    others = ["x", "y", "z"]
    drawn = [other_task("a", others, seed=seed) for seed in range(30)]
    assert set(drawn) == set(others)
    assert drawn == [other_task("a", others, seed=seed) for seed in range(30)]
    assert drawn != [other_task("b", others, seed=seed) for seed in range(30)]


def test_ridge_solves_the_penalised_least_squares():
    generator = np.random.default_rng(0)
    sources, gold = generator.random((4, 6)), generator.random((4, 9))
    centred = sources - sources.mean(0)
    strength = 0.1 * np.square(centred).sum(1).mean()
    # The same, by least squares with rows that hold the weights at zero.
    matrix, *_ = np.linalg.lstsq(
        np.vstack([centred, np.sqrt(strength) * np.eye(6)]),
        np.vstack([gold - gold.mean(0), np.zeros((6, 9))]),
    )
    scores = generator.random(6)
    expected = gold.mean(0) + (scores - sources.mean(0)) @ matrix
    np.testing.assert_allclose(ridge(sources, gold, scores), expected, rtol=1e-5)


def test_ridge_on_one_task_knows_its_gold_scores_alone():
    gold = np.array([[1.0, 2.0]])
    assert ridge(np.ones((1, 3)), gold, np.zeros(3)).tolist() == [1.0, 2.0]


# Rows are source nodes, columns target nodes.
TWO_TO_THREE = [
    # a0.h0 m0  a1.h0 m1  a2.h0 m2
    [1, 0, 0, 0, 0, 0],
    [1, 0, 0, 0, 0, 0],
    [0, 1, 0, 0, 0, 0],
    [0, 0, 0, 0, 1, 0],
    [0, 0, 0, 0, 1, 0],
    [0, 0, 0, 0, 0, 1],
]
THREE_TO_TWO = [
    # a0.h0 a0.h1 m0 a1.h0 a1.h1 m1
    [1 / 2, 1 / 2, 0, 0, 0, 0],
    [0, 0, 1, 0, 0, 0],
    [1 / 4, 1 / 4, 0, 1 / 4, 1 / 4, 0],
    [0, 0, 1 / 2, 0, 0, 1 / 2],
    [0, 0, 0, 1 / 2, 1 / 2, 0],
    [0, 0, 0, 0, 0, 1],
]
FOUR_TO_THREE = [
    [1, 0, 0, 0, 0, 0],
    [0, 1, 0, 0, 0, 0],
    [1 / 3, 0, 2 / 3, 0, 0, 0],
    [0, 1 / 3, 0, 2 / 3, 0, 0],
    [0, 0, 2 / 3, 0, 1 / 3, 0],
    [0, 0, 0, 2 / 3, 0, 1 / 3],
    [0, 0, 0, 0, 1, 0],
    [0, 0, 0, 0, 0, 1],
]
ONE_TO_TWO = [[1 / 2, 1 / 2, 0, 0, 0, 0], [0, 0, 1, 0, 0, 0]]


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ((2, 2), (3, 1), TWO_TO_THREE),
        ((3, 1), (2, 2), THREE_TO_TWO),
        ((4, 1), (3, 1), FOUR_TO_THREE),
        ((1, 1), (2, 2), ONE_TO_TWO),
        ((2, 1), (1, 1), [[1, 0], [0, 1]] * 2),
    ],
)
def test_the_depth_heuristic_by_hand(source, target, expected):
    found = depth_heuristic(node_names(*source), node_names(*target))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)
