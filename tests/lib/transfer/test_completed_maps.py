import numpy as np
import pytest

from circuit_transfer.artifacts.alignments import Alignment
from circuit_transfer.transfer.controls import CONTROLS
from circuit_transfer.transfer.maps import transformed
from circuit_transfer.transfer.projection import projected_rankings

SOURCE_NODES, TARGET_NODES = ["a0.h0", "m0"], ["a0.h0", "a0.h1", "m0"]
# No node of the source is like the target's second one.
MATRIX = np.array([[1, 0, 0], [0, 0, 1]], np.float32)
SOURCES = {
    "a": np.array([2.0, -4.0], np.float32),
    "b": np.array([1.0, 0.5], np.float32),
    "c": np.array([3.0, 6.0], np.float32),
}
GOLD = {
    "a": np.array([9.0, 9.0, 9.0], np.float32),
    "b": np.array([1.0, 2.0, -4.0], np.float32),
    "c": np.array([0.0, 5.0, 1.0], np.float32),
}
CHANGES = np.array([8.0, 2.0, 4.0], np.float32)
MEAN_GOLD = np.array([0.125, 0.75, -0.4], np.float32)
ADDED_TO_GOLD = ["mean-gold-lineage", "mean-gold-matched", "mean-gold-residual"]
FAMILIES = {task: [task] for task in SOURCES}


def rankings(name, matrix=MATRIX, *, stitched=True):
    """Return the rankings of a map of one fit, by control."""
    metadata = {"training_set": "without-a", "seed": 0, "maps": [name]}
    metadata |= {"transform": "sum", "tasks": ["b", "c"]}
    metadata |= {"source_nodes": SOURCE_NODES, "target_nodes": TARGET_NODES}
    own = {"alignment": np.zeros((2, 3), np.float32), "node-changes": CHANGES}
    own["self-stitched"] = CHANGES
    found = projected_rankings(
        "a",
        SOURCES,
        GOLD,
        [Alignment({"alignment": matrix}, metadata)],
        [],
        controls=CONTROLS,
        families=FAMILIES,
        stitched=Alignment(own, {}) if stitched else None,
    )
    rows = found.filter(map=name).iter_rows(named=True)
    return {row["control"]: np.array(row["scores"], np.float32) for row in rows}


@pytest.mark.parametrize("name", ["lineage-filled", "matched-filled"])
def test_nodes_without_a_counterpart_get_their_change_on_the_carried_scale(name):
    found = rankings(name)
    np.testing.assert_allclose(found["none"], [0.5, 0.25, -1])
    np.testing.assert_allclose(found["source-free"], [1, 0.25, 1])
    # Of two nodes: the order is the same, or turned around.
    assert found["random-source"].tolist() in ([0.5, 0.25, -1], [-1, 0.25, 0.5])
    others = [[1, 0.25, 0.5], [0.5, 0.25, 1]]
    assert found["other-family"].tolist() in others
    assert set(found) == {
        *("none", "source-free", "random-source", "other-family"),
        *("scrambled-source", "permuted-alignment"),
    }


def test_a_node_with_a_counterpart_keeps_its_score_of_zero():
    found = rankings("matched-filled", np.eye(2, 3, dtype=np.float32))
    np.testing.assert_allclose(found["none"], [0.5, -1, 0.5])
    zero = rankings("lineage-filled", np.zeros((2, 3), np.float32))
    np.testing.assert_allclose(zero["none"], CHANGES / 8)


def test_without_changes_what_is_filled_is_unknown():
    assert np.isnan(rankings("lineage-filled", stitched=False)["none"]).all()


@pytest.mark.parametrize("name", ADDED_TO_GOLD)
def test_what_is_beyond_the_mean_of_the_source_is_added_to_mean_gold(name):
    found = rankings(name)
    largest = {task: transformed(each, "max") for task, each in SOURCES.items()}
    mean = (largest["b"] + largest["c"]) / 2  # .75 and .75
    np.testing.assert_allclose(mean, 0.75)
    expected = MEAN_GOLD + [0.5 - 0.75, 0, -1 - 0.75]
    np.testing.assert_allclose(found["none"], expected, rtol=1e-6)
    assert found["other-family"].tolist() in (
        (MEAN_GOLD + ((largest[task] - mean) @ MATRIX)).tolist() for task in "bc"
    )
    shuffled = MEAN_GOLD + np.array([-1 - 0.75, 0, 0.5 - 0.75], np.float32)
    possible = [expected, shuffled]
    assert any(np.allclose(found["random-source"], each) for each in possible)


@pytest.mark.parametrize("name", ADDED_TO_GOLD)
def test_a_constant_source_gives_mean_gold_exactly(name):
    expected = np.stack([transformed(GOLD[task], "max") for task in "bc"]).mean(0)
    found = rankings(name)["source-free"]
    assert np.array_equal(found, expected)
    np.testing.assert_allclose(found, MEAN_GOLD, rtol=1e-6)


def test_an_unknown_correspondence_gives_unknown_scores():
    unknown = np.full((2, 3), np.nan, np.float32)
    for name in ("lineage", "matched-filled", "mean-gold-matched"):
        assert np.isnan(rankings(name, unknown)["none"]).all()
