"""Rankings of edges by maps and controls, against products written out."""

from dataclasses import asdict

import numpy as np
import polars as pl
import pytest

from circuit_transfer.artifacts.alignments import Alignment
from circuit_transfer.artifacts.edge_alignments import write_edge_alignment
from circuit_transfer.circuits.edge_controls import ranked
from circuit_transfer.circuits.edge_masks import (
    edge_circuits,
    effective_edges,
    lifted,
)
from circuit_transfer.models.edges import edge_graph
from circuit_transfer.transfer import edge_maps
from circuit_transfer.transfer.controls import depth_heuristic
from circuit_transfer.transfer.edge_circuits import ranked_circuits
from circuit_transfer.transfer.edge_controls import (
    EDGE_CONTROLS,
    EDGE_TARGET_ONLY,
    degree_preserving,
)
from circuit_transfer.transfer.edge_fits import EdgeFit, read_edge_fit
from circuit_transfer.transfer.edge_maps import (
    EdgeMap,
    blocks,
    edge_kinds,
    lifted_map,
    reader_kinds,
    writer_kinds,
)
from circuit_transfer.transfer.levels import EDGES
from circuit_transfer.transfer.lifted import lifted_rankings
from circuit_transfer.transfer.maps import TRAINED_MAPS, transformed
from circuit_transfer.transfer.projection import RANKING_SCHEMA, projected_rankings

SOURCE, TARGET = edge_graph(2, 2, 1), edge_graph(3, 4, 2)
TASKS, SEEDS = ("a", "b", "c"), (0, 1)
FAMILIES = {task: [task] for task in TASKS}
MAPS = ["prior-residual", "depth-prior", "lineage-filled", "mean-gold-matched"]
TRAINED = ("none", "source-free", "random-source", "degree-source")
draw = np.random.default_rng(0).normal
SOURCES = {task: draw(size=SOURCE.n_edges).astype(np.float32) for task in TASKS}
GOLD = {task: draw(size=TARGET.n_edges).astype(np.float32) for task in TASKS}
GRAPHS = {"source_graph": asdict(SOURCE), "target_graph": asdict(TARGET)}
OWN = {each: draw(size=TARGET.n_edges).astype(np.float32) for each in EDGE_TARGET_ONLY}


def random_factors(generator):
    found = {}
    for name, kinds in (("writers", writer_kinds), ("readers", reader_kinds)):
        allowed = blocks(SOURCE, TARGET, kinds)
        found[name] = (generator.normal(size=allowed.shape) * allowed).astype("f4")
    return found


def make_fit(seed, training_set="without-a"):
    generator = np.random.default_rng(seed)
    tensors = {}
    for name in MAPS:
        before = "" if name == MAPS[0] else f"{name}/"
        for control in TRAINED if name in TRAINED_MAPS else TRAINED[:1]:
            after = "" if control == "none" else f"/{control}"
            drawn = random_factors(generator)
            if name not in TRAINED_MAPS:  # the same for every seed
                drawn = random_factors(np.random.default_rng(7 + MAPS.index(name)))
            else:
                initial = random_factors(generator)
                drawn |= {f"initial_{kind}": initial[kind] for kind in initial}
                for kind, size in (("writer", 16), ("reader", 40)):
                    drawn[f"{kind}_bias"] = generator.normal(size=size).astype("f4")
            tensors |= {f"{before}{kind}{after}": x for kind, x in drawn.items()}
        if name == "lineage-filled":
            tensors[f"{before}writers"][:, 2] = 0
    metadata = {"training_set": training_set, "seed": seed, "maps": MAPS, **GRAPHS}
    metadata |= {"tasks": ["b", "c"], "transform": "sum"}
    return EdgeFit(tensors, metadata)


FITS = [make_fit(seed) for seed in SEEDS]
STITCHED = EdgeFit(
    random_factors(np.random.default_rng(9)) | OWN, {"maps": ["stitched"], **GRAPHS}
)
MASKS = [
    Alignment({"alignment": np.full((1, TARGET.n_edges), seed)}, {"seed": seed})
    for seed in SEEDS
]


def project(sources=SOURCES, controls=EDGE_CONTROLS, gold=GOLD):
    return projected_rankings(
        "a",
        sources,
        gold,
        FITS,
        MASKS,
        controls=controls,
        families=FAMILIES,
        stitched=STITCHED,
        level=EDGES,
    )


@pytest.fixture(scope="module")
def rankings():
    return project()


def scores_of(rankings, name, control, seed, training_set="without-a"):
    labels = {"training_set": training_set, "map": name, "control": control}
    same = [
        pl.col(key).eq_missing(pl.lit(value, pl.String))
        for key, value in labels.items()
    ]
    rows = rankings.filter(*same, pl.col("seed").eq_missing(pl.lit(seed, pl.Int64)))
    assert len(rows) == 1, labels
    return np.array(rows["scores"][0])


def by_hand(fit, scores, prefix="", suffix="", kinds=("writers", "readers")):
    """Project by matrices of numpy, with biases, edge by edge."""
    writers, readers = (fit.tensors[f"{prefix}{kind}{suffix}"] for kind in kinds)
    whole = writers.T @ SOURCE.matrix(scores, outside=0) @ readers
    for bias, axis in (("writer_bias", 1), ("reader_bias", 0)):
        if kinds[0] == "writers" and f"{prefix}{bias}{suffix}" in fit.tensors:
            own = fit.tensors[f"{prefix}{bias}{suffix}"]
            whole = whole + np.expand_dims(own, axis)
    pairs = zip(*TARGET.ends, strict=True)
    return np.array([whole[u, v] for u, v in pairs])


def same(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("seed", SEEDS)
def test_maps_project_flat_scores_with_their_biases(rankings, seed):
    scores = transformed(SOURCES["a"], "sum")
    fit = FITS[seed]
    same(scores_of(rankings, MAPS[0], "none", seed), by_hand(fit, scores))
    same(
        scores_of(rankings, "depth-prior", "none", None),
        by_hand(fit, scores, "depth-prior/"),
    )
    by_chance = scores @ edge_maps.random_map(fit.source, fit.target, seed)
    same(scores_of(rankings, MAPS[0], "random-alignment", seed, None), by_chance)
    stitched = scores_of(rankings, "stitched", "none", None)
    same(stitched, by_hand(STITCHED, scores))


@pytest.mark.parametrize("seed", SEEDS)
def test_degrees_go_through_maps_that_were_trained_for_them(rankings, seed):
    reduced = degree_preserving(transformed(SOURCES["a"], "sum"), SOURCE)
    found = scores_of(rankings, MAPS[0], "degree-source", seed)
    same(found, by_hand(FITS[seed], reduced, suffix="/degree-source"))
    found = scores_of(rankings, "depth-prior", "degree-source", None)
    same(found, by_hand(FITS[seed], reduced, "depth-prior/"))
    found = scores_of(rankings, "stitched", "degree-source", None)
    same(found, by_hand(STITCHED, reduced))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("control", ["scrambled-source", "random-source"])
def test_scores_are_shuffled_within_kinds_of_edges(seed, control):
    """Through a map that leaves them where they are, only kinds are kept."""
    fit = EdgeFit(
        {"writers": np.eye(len(SOURCE.writers)), "readers": np.eye(29)[:15, :15]},
        {**FITS[seed].metadata, "maps": ["lineage"], "target_graph": asdict(SOURCE)},
    )
    how = {"controls": [control], "families": FAMILIES, "level": EDGES}
    found = projected_rankings("a", SOURCES, SOURCES, [fit], [], **how)
    shuffled = scores_of(found, "lineage", control, seed)
    scores, kinds = transformed(SOURCES["a"], "sum"), edge_kinds(SOURCE)
    assert (shuffled != scores).mean() > 0.5
    for kind in np.unique(kinds):
        own = kinds == kind
        np.testing.assert_allclose(np.sort(shuffled[own]), np.sort(scores[own]))


def test_every_control_has_its_rows_and_differs_from_its_map(rankings):
    found = {*rankings.select("map", "control", "seed").rows()}
    expected = set()
    for name in [*MAPS, "stitched"]:
        own = SEEDS if name in TRAINED_MAPS else (None,)
        expected |= {(name, "none", seed) for seed in own}
        for control in ("source-free", "degree-source"):
            expected |= {(name, control, seed) for seed in own}
        for control in ("random-source", "other-family"):
            expected |= {(name, control, seed) for seed in SEEDS}
    first = ("scrambled-source", "permuted-alignment", "random-alignment")
    expected |= {(MAPS[0], control, seed) for control in first for seed in SEEDS}
    once = ("mean-gold", "ridge", "depth-heuristic", *EDGE_TARGET_ONLY)
    expected |= {(None, control, None) for control in once}
    expected |= {(None, "free-mask", seed) for seed in SEEDS}
    assert found == expected
    assert rankings.schema == RANKING_SCHEMA
    for name, control, _ in expected:
        if name is not None and control != "none":
            row = rankings.filter(map=name, control=control)["scores"][0]
            for plain in rankings.filter(map=name, control="none")["scores"]:
                assert not np.allclose(row, plain)
    assert set(rankings["scores"].list.len()) == {TARGET.n_edges}


def test_columns_are_permuted_within_kinds(rankings):
    found = scores_of(rankings, MAPS[0], "permuted-alignment", 0)
    plain = transformed(SOURCES["a"], "sum") @ FITS[0].matrix(MAPS[0])
    # Of what `input` writes, whose column stays, to the logits, whose column stays too.
    number = TARGET.number("input->logits")
    np.testing.assert_allclose(found[number], plain[number], rtol=1e-5)
    assert not np.allclose(found, plain)


def test_rows_without_training(rankings):
    scores = transformed(SOURCES["a"], "max")
    nodes = depth_heuristic(SOURCE.writers[1:], TARGET.writers[1:])
    found = scores_of(rankings, None, "depth-heuristic", None, None)
    same(found, scores @ lifted_map(nodes, SOURCE, TARGET))
    for control, own in OWN.items():
        same(scores_of(rankings, None, control, None), own)
    gold = np.stack([transformed(GOLD[task], "max") for task in "bc"]).mean(0)
    same(scores_of(rankings, None, "mean-gold", None), gold)


def test_edges_without_a_counterpart_get_their_change(rankings):
    fit = FITS[0]
    scores = transformed(SOURCES["a"], "sum")
    carried = transformed(by_hand(fit, scores, "lineage-filled/"), "max")
    own = transformed(OWN["edge-changes"], "max")
    empty = TARGET.ends[0] == 2
    expected = np.where(empty, own, carried)
    same(scores_of(rankings, "lineage-filled", "none", None), expected)
    assert empty.any() and not empty.all()


def test_the_deviation_of_the_source_is_added_to_mean_gold(rankings):
    largest = {task: transformed(each, "max") for task, each in SOURCES.items()}
    rest = largest["a"] - (largest["b"] + largest["c"]) / 2
    gold = np.stack([transformed(GOLD[task], "max") for task in "bc"]).mean(0)
    expected = gold + by_hand(FITS[0], rest, "mean-gold-matched/")
    same(scores_of(rankings, "mean-gold-matched", "none", None), expected)


def test_totals_of_writers_and_readers_deviate_from_their_own_mean(rankings):
    """Tasks whose scores are the same have none: mean gold is all that is left."""
    alike = dict.fromkeys(SOURCES, SOURCES["b"])
    found = project(sources=alike)
    name = "mean-gold-matched"
    gold = scores_of(found, None, "mean-gold", None)
    for control in ("none", "degree-source"):
        same(scores_of(found, name, control, None), gold)
    differ = scores_of(rankings, name, "degree-source", None)
    assert not np.allclose(differ, gold, atol=1e-3)


def test_unknown_scores_give_unknown_rankings():
    unknown = SOURCES | {"a": np.full(SOURCE.n_edges, np.nan, np.float32)}
    found = project(sources=unknown).filter(
        pl.col("scores").list.eval(pl.element().is_finite()).list.all()
    )
    sourceless = {"source-free", "other-family", "mean-gold", "free-mask"}
    assert set(found["control"]) == sourceless | {*EDGE_TARGET_ONLY}


def test_a_fit_is_read_as_it_was_written(tmp_path):
    write_edge_alignment(tmp_path / "fit", FITS[0].tensors, FITS[0].metadata)
    found = read_edge_fit(tmp_path / "fit")
    assert (found.source, found.target) == (SOURCE, TARGET)
    scores = SOURCES["a"]
    for control in TRAINED:
        assert np.array_equal(
            found.project(scores, control=control),
            FITS[0].project(scores, control=control),
        )
    assert isinstance(found.alignment, EdgeMap)


def test_rankings_take_scores_as_they_are_or_their_size():
    scores = np.array([1.0, -2.0, np.nan], np.float32)
    np.testing.assert_array_equal(ranked(scores, "signed"), scores)
    np.testing.assert_array_equal(ranked(scores, "absolute"), np.abs(scores))
    with pytest.raises(ValueError, match="signed or absolute"):
        ranked(scores, "both")


def test_lifted_maps_have_the_rows_of_their_nodes():
    labels = [("free", "none", 0), ("free", "source-free", 1), ("free", "ridge", 0)]
    labels += [("cka-prior", "none", None), (None, "mean-gold", None)]
    generator = np.random.default_rng(0)
    rows = [("without-a", *each, generator.normal(size=15), False) for each in labels]
    nodes = pl.DataFrame(rows, schema=RANKING_SCHEMA, orient="row")
    nodes = nodes.select(pl.lit("x").alias("source"), pl.all())
    maps = [MAPS[0], "lifted-free", "stitched"]
    found = lifted_rankings(nodes, TARGET, maps, ["source-free", "ridge"])
    assert found.schema == RANKING_SCHEMA
    names = found.select("map", "control", "seed").rows()
    assert names == [("lifted-free", "none", 0), ("lifted-free", "source-free", 1)]
    for row, given in zip(found["scores"], rows[:2], strict=True):
        expected = lifted(TARGET, given[4])
        np.testing.assert_array_equal(np.array(row, np.float32), expected)
    # Circuits of tasks that a map has learned are not compared.
    everywhere = nodes.with_columns(training_set=pl.lit("all"))
    assert lifted_rankings(everywhere, TARGET, maps, []).is_empty()
    unknown = pl.Series("scores", [[np.nan] * 15], pl.List(pl.Float32))
    unknown = nodes.head(1).with_columns(unknown)
    (row,) = lifted_rankings(unknown, TARGET, maps, [])["scores"]
    assert np.isnan(row.to_numpy()).all()


def test_random_circuits_are_as_effective_as_those_of_the_main_map(rankings):
    sizes = [0.1, 0.5]
    labels, masks = ranked_circuits(TARGET, rankings, sizes, MAPS[0], EDGE_CONTROLS)
    assert len(labels) == len(masks) == 2 * (len(rankings) + 3)
    counts = effective_edges(TARGET, masks).sum(1)

    def rows(**wanted):
        return labels.with_row_index("n").filter(**wanted)["n"].to_numpy()

    plain = rows(map=MAPS[0], control="none", seed=0)
    (own,) = edge_circuits(scores_of(rankings, MAPS[0], "none", 0)[None], sizes)
    np.testing.assert_array_equal(masks[plain], own)
    random = labels.filter(control="random-effective")
    assert random["seed"].to_list() == [0, 0, 1, 1, 2, 2]
    assert random["map"].unique().to_list() == [MAPS[0]]
    for seed in range(3):
        grown = rows(control="random-effective", seed=seed)
        assert (counts[grown] >= counts[plain]).all()
        assert not np.array_equal(masks[grown], masks[plain])
    none = ranked_circuits(TARGET, rankings.clear(), sizes, MAPS[0], EDGE_CONTROLS)
    assert none[0].is_empty() and none[1].shape == (0, TARGET.n_edges)
    without = ranked_circuits(TARGET, rankings, sizes, MAPS[0], [])
    assert len(without[0]) == 2 * len(rankings)
