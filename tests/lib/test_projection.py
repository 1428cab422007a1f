import numpy as np
import polars as pl
import pytest

from circuit_transfer.artifacts import Alignment, Scores
from circuit_transfer.controls import CONTROLS, depth_heuristic, permuted
from circuit_transfer.nodes import node_names
from circuit_transfer.projection import RANKING_SCHEMA, projected_rankings

SOURCE_NODES, TARGET_NODES = node_names(1, 2), node_names(2, 1)
SOURCE = Scores(
    np.array([2.0, -1.0, 0.5], np.float32), SOURCE_NODES, {"task": "a", "model": "s"}
)
SCALED = np.array([1.0, -0.5, 0.25], np.float32)


def make_alignment(training_set, seed):
    generator = np.random.default_rng(seed)
    names = ("alignment", "initial", "alignment/source-free", "alignment/random-source")
    tensors = {
        name: generator.standard_normal((3, 4)).astype(np.float32) for name in names
    }
    nodes = {"source_nodes": SOURCE_NODES, "target_nodes": TARGET_NODES}
    return Alignment(tensors, {"training_set": training_set, "seed": seed, **nodes})


ALIGNMENTS = [
    make_alignment(name, seed)
    for name in ("only-a", "only-b", "without-a", "all")
    for seed in (0, 1)
]
MASKS = [
    Alignment({"alignment": np.full((1, 4), seed, np.float32)}, {"seed": seed})
    for seed in (0, 1)
]


@pytest.fixture(scope="module")
def rankings():
    return projected_rankings(SOURCE, ALIGNMENTS, MASKS, controls=CONTROLS)


def scores_of(rankings, control, seed):
    same = pl.col("seed").eq_missing(pl.lit(seed, pl.Int64))
    rows = rankings.filter((pl.col("control") == control) & same)
    assert len(rows) == 1
    return np.array(rows["scores"][0])


def test_every_matrix_projects_the_scaled_scores(rankings):
    rows = rankings.filter(control="none").rows()
    assert len(rows) == len(ALIGNMENTS)
    for (training_set, _, seed, scores), each in zip(rows, ALIGNMENTS, strict=True):
        expected = {"training_set": training_set, "seed": seed}
        assert each.metadata.items() >= expected.items()
        np.testing.assert_allclose(scores, SCALED @ each.alignment, rtol=1e-6)


def test_every_control_has_its_rows(rankings):
    assert rankings.schema == RANKING_SCHEMA
    found = rankings.filter(pl.col("control") != "none").select(
        "control", "training_set", "seed"
    )
    zero_shot = ("scrambled-source", "permuted-alignment")
    zero_shot += ("source-free", "random-source")
    expected = {(name, "without-a", seed) for name in zero_shot for seed in (0, 1)}
    expected |= {("random-alignment", None, seed) for seed in (0, 1)}
    expected |= {("free-mask", "only-a", seed) for seed in (0, 1)}
    expected |= {("depth-heuristic", None, None)}
    assert len(found) == len(expected)
    assert set(found.rows()) == expected


@pytest.mark.parametrize("seed", [0, 1])
def test_controls_are_what_they_are_called(rankings, seed):
    zero_shot = next(
        each.tensors
        for each in ALIGNMENTS
        if each.metadata["training_set"] == "without-a"
        and each.metadata["seed"] == seed
    )

    def source(what):
        return permuted(SCALED, task="a", seed=seed, what=what)

    expected = {
        "random-alignment": SCALED @ zero_shot["initial"],
        "scrambled-source": source("scrambled-source") @ zero_shot["alignment"],
        "source-free": zero_shot["alignment/source-free"].sum(0),
        "random-source": source("random-source") @ zero_shot["alignment/random-source"],
        "free-mask": np.full(4, seed),
    }
    for control, scores in expected.items():
        found = scores_of(rankings, control, seed)
        np.testing.assert_allclose(found, scores, rtol=1e-5, atol=1e-6)
    shuffled = scores_of(rankings, "permuted-alignment", seed)
    plain = SCALED @ zero_shot["alignment"]
    assert sorted(shuffled) == pytest.approx(sorted(plain))


def test_the_depth_heuristic_needs_no_training(rankings):
    found = scores_of(rankings, "depth-heuristic", None)
    expected = SCALED @ depth_heuristic(SOURCE_NODES, TARGET_NODES)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert found.tolist() == [0.5, 0.25, 0.0, 0.0]


def test_only_the_controls_asked_for_are_made():
    found = projected_rankings(SOURCE, ALIGNMENTS, MASKS, controls=["source-free"])
    assert set(found["control"]) == {"none", "source-free"}


def test_a_matrix_with_ones_on_its_diagonal_gives_the_source_circuit():
    identity = Alignment(
        {"alignment": np.eye(3, dtype=np.float32)}, {"training_set": "all", "seed": 0}
    )
    found = projected_rankings(SOURCE, [identity], [], controls=[])
    assert found["scores"][0].to_list() == SCALED.tolist()


def test_unknown_scores_give_unknown_rankings_except_where_the_source_is_not_used():
    unknown = Scores(np.full(3, np.nan, np.float32), SOURCE_NODES, {"task": "a"})
    found = projected_rankings(unknown, ALIGNMENTS, MASKS, controls=CONTROLS)
    known = found.filter(
        pl.col("scores").list.eval(pl.element().is_finite()).list.all()
    )
    assert set(known["control"]) == {"source-free", "free-mask"}
    others = found.join(known, on="control", how="anti")
    assert others["scores"].explode().is_nan().all()


def test_without_alignments_there_is_nothing_to_rank():
    found = projected_rankings(SOURCE, [], [], controls=CONTROLS)
    assert found.is_empty()
    assert found.schema == RANKING_SCHEMA
