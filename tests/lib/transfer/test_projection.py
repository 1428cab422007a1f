from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from circuit_transfer.artifacts.alignments import Alignment
from circuit_transfer.models.nodes import node_names
from circuit_transfer.transfer.controls import (
    CONTROLS,
    RIDGE_CONTROLS,
    depth_heuristic,
    mlps_first,
    permuted,
    ridge,
)
from circuit_transfer.transfer.maps import transformed
from circuit_transfer.transfer.projection import (
    RANKING_SCHEMA,
    collapsed,
    projected_rankings,
)
from circuit_transfer.transfer.training_sets import training_tasks

SOURCE_NODES, TARGET_NODES = node_names(1, 2), node_names(2, 1)
TASKS = ["a", "b", "c"]
FAMILIES = {"first": ["a", "b"], "second": ["c"]}
SEEDS = (0, 1)
draw = np.random.default_rng(0).standard_normal
SOURCES = {task: draw(3).astype(np.float32) for task in TASKS}
SOURCES["a"] = np.array([2.0, -1.0, 0.5], np.float32)
GOLD = {task: draw(4).astype(np.float32) for task in TASKS}
SCALED = np.array([1.0, -0.5, 0.25], np.float32)
ZERO_SHOT = ("without-a", "without-family-first")
MAPS = ["free", "depth-prior", "prior-residual"]


def make_alignment(training_set, seed, transform="max"):
    generator = np.random.default_rng(seed)
    maps = MAPS if training_set.startswith("without") else MAPS[:1]
    names = ["alignment", "initial"]
    if len(maps) > 1:
        names += ["alignment/source-free", "alignment/random-source"]
        kinds = ("alignment", "alignment/source-free", "alignment/random-source")
        names += [f"prior-residual/{kind}" for kind in kinds]
    tensors = {
        name: generator.standard_normal((3, 4)).astype(np.float32) for name in names
    }
    for name in [each for each in names if each.startswith("prior-residual/")]:
        bias = generator.standard_normal(4).astype(np.float32)
        tensors[name.replace("alignment", "bias")] = bias
    if len(maps) > 1:
        tensors["depth-prior/alignment"] = np.eye(3, 4, dtype=np.float32)
    metadata = {"training_set": training_set, "seed": seed, "maps": maps}
    metadata |= {"source_nodes": SOURCE_NODES, "target_nodes": TARGET_NODES}
    metadata["tasks"] = training_tasks(training_set, TASKS, FAMILIES)
    return Alignment(tensors, metadata | {"transform": transform})


SETS = ("only-a", "only-b", *ZERO_SHOT, "all")
ALIGNMENTS = [make_alignment(name, seed) for name in SETS for seed in SEEDS]
MASKS = [
    Alignment({"alignment": np.full((1, 4), seed, np.float32)}, {"seed": seed})
    for seed in SEEDS
]


def project(alignments=ALIGNMENTS, masks=MASKS, controls=CONTROLS, sources=SOURCES):
    return projected_rankings(
        "a", sources, GOLD, alignments, masks, controls=controls, families=FAMILIES
    )


@pytest.fixture(scope="module")
def rankings():
    return project()


def scores_of(rankings, training_set, name, control, seed):
    """Return the scores of the one row with these labels."""
    labels = {"training_set": training_set, "map": name, "control": control}
    same = [
        pl.col(key).eq_missing(pl.lit(value, pl.String))
        for key, value in labels.items()
    ]
    rows = rankings.filter(
        *same, pl.col("seed").eq_missing(pl.lit(seed, dtype=pl.Int64))
    )
    assert len(rows) == 1
    return np.array(rows["scores"][0])


def fit_of(training_set, seed):
    labels = {"training_set": training_set, "seed": seed}
    return next(x for x in ALIGNMENTS if x.metadata.items() >= labels.items())


def test_every_matrix_projects_the_transformed_scores(rankings):
    for each in ALIGNMENTS:
        labels = each.metadata["training_set"], each.metadata["seed"]
        found = scores_of(rankings, labels[0], "free", "none", labels[1])
        np.testing.assert_allclose(found, SCALED @ each.alignment, rtol=1e-5)
    ranked = make_alignment("all", 0, transform="rank")
    found = project(alignments=[ranked], masks=[])
    expected = transformed(SOURCES["a"], "rank") @ ranked.alignment
    np.testing.assert_allclose(
        scores_of(found, "all", "free", "none", 0), expected, rtol=1e-5
    )


@pytest.mark.parametrize("training_set", ZERO_SHOT)
def test_every_map_projects_where_it_was_fitted(rankings, training_set):
    tensors = fit_of(training_set, 1).tensors
    found = scores_of(rankings, training_set, "prior-residual", "none", 1)
    matrix, bias = (tensors[f"prior-residual/{k}"] for k in ("alignment", "bias"))
    np.testing.assert_allclose(found, SCALED @ matrix + bias, rtol=1e-5)
    # An untrained map is the same for every seed, and there once.
    found = scores_of(rankings, training_set, "depth-prior", "none", None)
    assert found.tolist() == [*SCALED, 0]


def test_every_control_has_its_rows_under_both_protocols(rankings):
    found = rankings.filter(pl.col("control") != "none").drop("scores", "collapsed")
    expected = {
        *((None, "free", "random-alignment", seed) for seed in SEEDS),
        *(("only-a", None, "free-mask", seed) for seed in SEEDS),
        (None, None, "depth-heuristic", None),
        (None, None, "mlps-first", None),
    }
    for name in ZERO_SHOT:
        expected |= {(name, None, "mean-gold", None), (name, None, "ridge", None)}
        for seed in SEEDS:
            first = ("scrambled-source", "permuted-alignment")
            expected |= {(name, "free", control, seed) for control in first}
            for control in ("source-free", "random-source", "other-family"):
                trained = ("free", "prior-residual")
                expected |= {(name, each, control, seed) for each in trained}
            for control in ("random-source", "other-family"):
                expected |= {(name, "depth-prior", control, seed)}
        expected |= {(name, "depth-prior", "source-free", None)}
    assert rankings.schema == RANKING_SCHEMA
    assert len(found) == len(expected)
    assert set(found.rows()) == expected


@pytest.mark.parametrize("training_set", ZERO_SHOT)
@pytest.mark.parametrize("seed", SEEDS)
def test_controls_are_what_they_are_called(rankings, training_set, seed):
    fit = fit_of(training_set, seed)
    tensors = fit.tensors
    shuffled = {
        what: permuted(SCALED, task="a", seed=seed, what=what)
        for what in ("scrambled-source", "random-source")
    }
    trained = [transformed(SOURCES[task], "max") for task in fit.metadata["tasks"]]
    constant = np.full(3, np.sqrt(np.mean(np.square(trained))))
    other = transformed(SOURCES["c"], "max")
    residual = {
        kind: (tensors[f"prior-residual/alignment{kind}"],)
        + (tensors[f"prior-residual/bias{kind}"],)
        for kind in ("", "/source-free", "/random-source")
    }

    def by_residual(scores, kind=""):
        return scores @ residual[kind][0] + residual[kind][1]

    expected = {
        ("free", "scrambled-source"): shuffled["scrambled-source"] @ fit.alignment,
        ("free", "source-free"): constant @ tensors["alignment/source-free"],
        ("free", "random-source"): (
            shuffled["random-source"] @ tensors["alignment/random-source"]
        ),
        ("free", "other-family"): other @ fit.alignment,
        ("prior-residual", "source-free"): by_residual(constant, "/source-free"),
        ("prior-residual", "random-source"): by_residual(
            shuffled["random-source"], "/random-source"
        ),
        ("prior-residual", "other-family"): by_residual(other),
        ("depth-prior", "random-source"): [*shuffled["random-source"], 0],
        ("depth-prior", "other-family"): [*other, 0],
    }
    for (name, control), scores in expected.items():
        found = scores_of(rankings, training_set, name, control, seed)
        np.testing.assert_allclose(found, scores, rtol=1e-5, atol=1e-6)
    found = scores_of(rankings, training_set, "free", "permuted-alignment", seed)
    assert sorted(found) == pytest.approx(sorted(SCALED @ fit.alignment), rel=1e-5)


@pytest.mark.parametrize(
    ("shares", "expected"),
    [([0.1, 0.9], False), ([0.1, 0.0], True), ([1.0, 0.9], True)],
)
def test_a_mask_collapses_at_both_ends_only(shares, expected):
    assert collapsed(np.array(shares, np.float32)) is expected


def test_what_is_projected_by_a_collapsed_fit_is_marked():
    ends = {
        ("without-a", 0): {
            "open_share": [0.5, 0.0],
            "open_share/source-free": [0.5, 0.5],
        },
        ("without-a", 1): {
            "open_share": [1.0, 0.5],
            "open_share/source-free": [1.0, 1.0],
        },
        ("all", 0): {"open_share": [0.25, 0.75]},
    }
    fits = []
    for (name, seed), shares in ends.items():
        fit = make_alignment(name, seed)
        tensors = {key: np.array(each, np.float32) for key, each in shares.items()}
        fits.append(replace(fit, tensors=fit.tensors | tensors))
    closed = {"open_share": np.zeros(1, np.float32)}
    masks = [replace(each, tensors=each.tensors | closed) for each in MASKS]
    found = project(alignments=fits, masks=masks).filter(
        pl.col("collapsed").is_not_null()
    )
    labels = ("training_set", "map", "control", "seed", "collapsed")
    assert {*found.select(labels).iter_rows()} == {
        ("without-a", "free", "none", 0, True),
        ("without-a", "free", "none", 1, True),
        ("without-a", "free", "source-free", 0, False),
        ("without-a", "free", "source-free", 1, True),
        ("all", "free", "none", 0, False),
        *(("only-a", None, "free-mask", seed, True) for seed in SEEDS),
    }


def test_the_untrained_matrix_is_one_of_those_that_training_starts_from(rankings):
    found = scores_of(rankings, None, "free", "random-alignment", 1)
    np.testing.assert_allclose(
        found, SCALED @ fit_of("without-a", 1).tensors["initial"], rtol=1e-5
    )


@pytest.mark.parametrize("training_set", ZERO_SHOT)
def test_supervised_controls_see_the_gold_scores_of_the_training_tasks(
    rankings, training_set
):
    tasks = training_tasks(training_set, TASKS, FAMILIES)
    gold, seen = (
        np.stack([transformed(scores[task], "max") for task in tasks])
        for scores in (GOLD, SOURCES)
    )
    found = scores_of(rankings, training_set, None, "mean-gold", None)
    np.testing.assert_allclose(found, gold.mean(0), rtol=1e-5)
    found = scores_of(rankings, training_set, None, "ridge", None)
    np.testing.assert_allclose(found, ridge(seen, gold, SCALED), rtol=1e-5)


def test_the_gold_scores_of_the_evaluated_task_change_nothing(rankings):
    other = GOLD | {"a": np.full(4, 99, np.float32)}
    found = projected_rankings(
        "a", SOURCES, other, ALIGNMENTS, MASKS, controls=CONTROLS, families=FAMILIES
    )
    assert found.equals(rankings)


def test_some_controls_need_no_training(rankings):
    found = scores_of(rankings, None, None, "depth-heuristic", None)
    expected = SCALED @ depth_heuristic(SOURCE_NODES, TARGET_NODES)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert found.tolist() == [0.5, 0.25, 0.0, 0.0]
    found = scores_of(rankings, None, None, "mlps-first", None)
    np.testing.assert_allclose(found, mlps_first(TARGET_NODES))


def test_only_the_controls_asked_for_are_made():
    assert set(project(controls=["source-free"])["control"]) == {"none", "source-free"}
    plain = [make_alignment("only-a", 0)]
    assert set(project(plain, [], controls=[])["control"]) == {"none"}


def test_unknown_scores_give_unknown_rankings_except_where_the_source_is_not_used():
    unknown = SOURCES | {"a": np.full(3, np.nan, np.float32)}
    found = project(sources=unknown)
    known = found.filter(
        pl.col("scores").list.eval(pl.element().is_finite()).list.all()
    )
    assert set(known["control"]) == {
        *("source-free", "other-family", "mean-gold", "free-mask", "mlps-first"),
    }
    others = found.join(known, on="control", how="anti")
    assert others["scores"].explode().is_nan().all()


def test_a_task_of_another_family_without_scores_does_not_stand_in():
    unknown = SOURCES | {"c": np.full(3, np.nan, np.float32)}
    assert "other-family" not in set(project(sources=unknown)["control"])


def test_what_is_made_from_the_task_s_prompts_stands_under_both_protocols():
    matrix = draw((3, 4)).astype(np.float32)
    own = {"node-changes": draw(4), "self-stitched": draw(4)}
    carried = {"none": draw(4), "source-free": draw(4), "random-source/1": draw(4)}
    found = projected_rankings(
        "a",
        SOURCES,
        GOLD,
        ALIGNMENTS,
        [],
        controls=CONTROLS,
        families=FAMILIES,
        stitched=Alignment({"alignment": matrix, **own}, {}),
        carried=carried,
    )
    other = transformed(SOURCES["c"], "max")
    for training_set in ZERO_SHOT:
        plain = scores_of(found, training_set, "stitched", "none", None)
        np.testing.assert_allclose(plain, SCALED @ matrix, rtol=1e-5)
        swapped = scores_of(found, training_set, "stitched", "other-family", 1)
        np.testing.assert_allclose(swapped, other @ matrix, rtol=1e-5)
        for name, scores in carried.items():
            control, _, seed = name.partition("/")
            labels = ("carried-gradients", control, int(seed) if seed else None)
            row = scores_of(found, training_set, *labels)
            np.testing.assert_allclose(row, scores, rtol=1e-5)
        for name, scores in own.items():
            row = scores_of(found, training_set, None, name, None)
            np.testing.assert_allclose(row, scores, rtol=1e-5)
    maps = found.filter(pl.col("map").is_in(["stitched", "carried-gradients"]))
    # A matrix has a constant once, and two controls of both seeds.
    assert len(maps) == 2 * ((2 + 2 * len(SEEDS)) + len(carried))


def test_an_untrained_first_map_has_no_alignment_from_before_training():
    names = {"source_nodes": SOURCE_NODES, "target_nodes": TARGET_NODES}
    names |= {"maps": ["depth-prior"], "transform": "max", "tasks": ["b", "c"]}
    fits = [
        Alignment(
            {"alignment": np.eye(3, 4, dtype=np.float32)},
            {"training_set": "without-a", "seed": seed, **names},
        )
        for seed in SEEDS
    ]
    found = project(fits, [])
    assert "random-alignment" not in set(found["control"])
    assert scores_of(found, "without-a", "depth-prior", "none", None).shape == (4,)


def test_without_alignments_there_is_nothing_to_rank():
    found = project([], [])
    assert found.is_empty()
    assert found.schema == RANKING_SCHEMA


@pytest.mark.parametrize("training_set", ZERO_SHOT)
def test_ridge_has_controls_that_are_given_other_scores(training_set):
    asked = ["ridge", *RIDGE_CONTROLS.values()]
    rankings = project(controls=asked)
    tasks = training_tasks(training_set, TASKS, FAMILIES)
    seen = np.stack([transformed(SOURCES[each], "max") for each in tasks])
    found = np.stack([transformed(GOLD[each], "max") for each in tasks])
    for seed in SEEDS:
        shuffled = permuted(SCALED, task="a", seed=seed, what="scrambled-source")
        given = {"ridge-scrambled-source": shuffled}
        given["ridge-other-family"] = transformed(SOURCES["c"], "max")  # the only one
        for control, scores in given.items():
            predicted = scores_of(rankings, training_set, None, control, seed)
            expected = ridge(seen, found, scores)
            np.testing.assert_allclose(predicted, expected, rtol=1e-5)
            real = scores_of(rankings, training_set, None, "ridge", None)
            assert len(tasks) == 1 or not np.allclose(predicted, real)
    assert not set(RIDGE_CONTROLS.values()) & set(project()["control"])
