import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import circuit_transfer
from circuit_transfer.controls import (
    control_sources,
    depth_heuristic,
    permuted,
    permuted_columns,
    scaled,
    trained_controls,
    training_sets,
    training_tasks,
)
from circuit_transfer.nodes import node_names

TASKS = ["a", "b", "c"]
LIBRARY = Path(circuit_transfer.__file__).parents[1]


def test_training_sets_are_one_all_but_one_and_all():
    assert training_sets(TASKS) == [
        "only-a",
        "only-b",
        "only-c",
        "without-a",
        "without-b",
        "without-c",
        "all",
    ]
    assert training_sets(["a"]) == ["only-a", "all"]


@pytest.mark.parametrize(
    ("name", "tasks"),
    [("only-b", ["b"]), ("without-b", ["a", "c"]), ("all", ["a", "b", "c"])],
)
def test_a_training_set_has_its_tasks(name, tasks):
    assert training_tasks(name, TASKS) == tasks


def test_tasks_with_hyphens_keep_their_names():
    tasks = ["arc-easy", "without-easy"]
    assert training_tasks("only-arc-easy", tasks) == ["arc-easy"]
    assert training_tasks("without-without-easy", tasks) == ["arc-easy"]


@pytest.mark.parametrize("name", ["only-d", "some", "without-"])
def test_an_unknown_training_set_is_an_error(name):
    with pytest.raises(ValueError, match="is none of this study's"):
        training_tasks(name, TASKS)


def test_trained_controls_belong_to_zero_shot_sets():
    controls = ["depth-heuristic", "random-source", "source-free"]
    expected = ["source-free", "random-source"]
    assert trained_controls("without-a", controls) == expected
    assert trained_controls("only-a", controls) == []
    assert trained_controls("all", controls) == []
    assert trained_controls("without-a", ["permuted-alignment"]) == []


def test_scaling_divides_by_the_largest_magnitude():
    assert scaled(np.array([1.0, -4.0, 2.0])).tolist() == [0.25, -1.0, 0.5]
    assert scaled(np.zeros(3)).tolist() == [0.0, 0.0, 0.0]


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
        "import numpy as np; from circuit_transfer.controls import permuted;"
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
