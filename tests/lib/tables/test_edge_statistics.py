"""Circuits of edges: areas in closed form, levels, and differences with their tests."""

import numpy as np
import polars as pl
import pytest
import synthetic_edges as study

from circuit_transfer.statistics import bootstrap_p
from circuit_transfer.tables.edge_curves import edge_areas, edge_curves, node_curves
from circuit_transfer.tables.edge_statistics import (
    DOCUMENTATION,
    edge_statistics,
    unmeasured,
)

EAP = {"method": "eap", "control": "none", "ranking": "signed"}
SMALLEST = 2 / 201  # the p value of 200 resamples on one side


def difference(comparison, measure="cpr", task="ioi", **names):
    names = EAP | {"comparison": comparison, "measure": measure, "task": task} | names
    return study.statistics()[0].filter(row="difference", **names).row(0, named=True)


def areas_of(values, **changes):
    frame = study.curve(values, task="ioi", **EAP, **study.LABELS)
    return edge_areas(edge_curves([frame.with_columns(**changes)])).row(0, named=True)


def test_the_areas_of_straight_lines_are_closed_forms():
    # f(s) = s: half of 1 - .01 ** 2, and what lies above it up to 1.
    line = areas_of(study.PROPORTIONS)
    assert line["cpr"] == pytest.approx((1 - 0.01**2) / 2)
    assert line["cmd"] == pytest.approx((1 - 0.01) ** 2 / 2)
    # As a function of the number of effective edges, f is a straight line from 0 to 1.
    straight = areas_of([count / 1000 for count in study.EFFECTIVE])
    assert straight["cpr_effective"] == pytest.approx(0.5)
    flat = areas_of([1.0, 1.0, 1.0, 1.0])
    assert (flat["cpr"], flat["cmd"]) == pytest.approx((0.99, 0.0))
    assert flat["cpr_effective"] == pytest.approx(1)
    # Of the logarithm of size each step counts by its width: 1, log10(5), log10(2).
    widths = np.array([1, np.log10(5), np.log10(2)]) / 2
    means = np.array([0.125, 0.375, 0.75])
    assert flat["accuracy_area"] == pytest.approx(widths @ means)
    assert flat["right_above_wrong_area"] == 1


@pytest.mark.parametrize(
    ("values", "share", "edges", "effective", "close"),
    [
        ([0.2, 0.9, 0.96, 1.0], 0.1, 100, 80, 0.1),
        # Too much is enough, but not close.
        ([0.2, 1.3, 1.1, 1.0], 0.1, 100, 80, 0.5),
        ([0.2, 0.3, 0.4, 1.0], 1.0, 1000, 1000, 1.0),
        ([0.95, 0.3, 0.4, 1.0], 0.01, 10, 0, 0.01),
        ([0.2, 0.3, 0.4, 0.8], None, None, None, None),
    ],
)
def test_the_smallest_circuit_that_suffices_is_found(
    values, share, edges, effective, close
):
    found = areas_of(values)
    names = ("edges_needed", "n_edges_needed", "effective_needed", "close_needed")
    assert [found[name] for name in names] == [share, edges, effective, close]


def test_the_row_of_a_learned_circuit_at_its_own_size_is_on_no_curve():
    frame = study.curve([0.2, 0.9, 0.96, 1.0], task="ioi", **EAP, **study.LABELS)
    own = frame.head(1).with_columns(own_size=pl.lit(True), proportion=pl.lit(0.03))
    assert edge_curves([pl.concat([frame, own])]).equals(edge_curves([frame]))
    # A file of before learned circuits has no such column.
    assert edge_curves([frame.drop("own_size")]).equals(edge_curves([frame]))


def test_a_curve_of_one_size_is_refused_by_name():
    frame = study.curve([0.2, 0.9, 0.96, 1.0], task="ioi", **EAP, **study.LABELS)
    with pytest.raises(ValueError, match="'task': 'ioi', 'method': 'eap'"):
        edge_areas(edge_curves([frame.head(1)]))


def test_a_level_has_its_measures_and_what_it_needs():
    levels = study.statistics()[0].filter(row="level", **EAP)
    assert levels["task"].to_list() == ["addition", "ioi", "mean"]
    one = levels.row(1, named=True)
    # Trapezoids of .2, .9, .96, 1 over .01, .1, .5, 1.
    assert one["cpr"] == pytest.approx(0.55 * 0.09 + 0.93 * 0.4 + 0.98 * 0.5)
    assert one["cmd"] == pytest.approx(0.45 * 0.09 + 0.07 * 0.4 + 0.02 * 0.5)
    # All examples shift alike, so a resample changes nothing.
    assert one["cpr_low"] == pytest.approx(one["cpr"])
    assert one["cpr_high"] == pytest.approx(one["cpr"])
    assert (one["edges_needed"], one["n_edges_needed"]) == (0.1, 100)
    assert (one["effective_needed"], one["close_needed"]) == (80, 0.1)
    assert (one["n_distinct"], one["n_tasks"]) == (study.EXAMPLES, 1)
    other, mean = levels.row(0, named=True), levels.row(2, named=True)
    assert (other["edges_needed"], other["edges_needed_low"]) == (0.5, 0.5)
    assert mean["cpr"] == pytest.approx((one["cpr"] + other["cpr"]) / 2)
    assert mean["edges_needed"] is None and mean["n_tasks"] == 2
    # Random rankings are a level of their own, without a share of one curve.
    random = study.statistics()[0].filter(row="level", control="random", task="ioi")
    assert random["n_seeds"].item() == 2 and random["edges_needed"].item() is None
    nodes = study.statistics()[0].filter(row="level", control="nodes", task="ioi")
    assert nodes["edges_needed"].item() == 0.5
    assert nodes["n_edges_needed"].item() is None


@pytest.mark.parametrize(
    ("comparison", "against", "values"),
    [
        ("random", "random", [0, 0.1, 0.3, 1]),
        ("random-effective", "random-effective", [0, 0.1, 0.3, 1]),
        ("lifted", "nap", [0.1, 0.5, 0.8, 1]),
        ("nodes", "nap", [0.05, 0.5, 0.9, 1]),
        ("ranking", "absolute", [0.1, 0.3, 1.2, 1]),
        ("method", "eap-gim", [0.1, 0.4, 0.95, 1]),
    ],
)
def test_a_difference_is_that_of_the_areas(comparison, against, values):
    widths = np.array([0.09, 0.4, 0.5])
    ours, theirs = np.array([0.2, 0.9, 0.96, 1]), np.array(values)
    gaps = ours - theirs
    expected = widths @ (gaps[1:] + gaps[:-1]) / 2
    row = difference(comparison)
    assert row["against"] == against
    assert row["mean_difference"] == pytest.approx(expected)
    # The same in every resample: the interval is a point, and p the smallest.
    assert row["low"] == pytest.approx(expected)
    assert row["high"] == pytest.approx(expected)
    assert row["p_examples"] == pytest.approx(SMALLEST)
    # Of two tasks.
    assert row["p_examples_holm"] == pytest.approx(2 * SMALLEST)
    assert row["p_tasks"] is None
    mean = difference(comparison, task="mean")
    assert mean["mean_difference"] == pytest.approx(expected, abs=1e-9)
    assert (mean["n_tasks"], mean["n_cells"]) == (2, 2)
    # Both differences are of one sign: two patterns of four are as large.
    assert mean["p_tasks"] == mean["p_tasks_holm"] == 0.5
    assert mean["p_examples"] is None
    cmd = difference(comparison, "cmd")
    far = np.abs(1 - ours) - np.abs(1 - theirs)
    assert cmd["mean_difference"] == pytest.approx(widths @ (far[1:] + far[:-1]) / 2)


def test_sizes_are_compared_as_logarithms():
    # .1 of the edges against .5 of the nodes.
    row = difference("nodes", "edges_needed")
    assert row["mean_difference"] == pytest.approx(np.log10(0.1 / 0.5))
    assert row["p_examples"] == pytest.approx(SMALLEST)
    # Above 1 the absolute ranking suffices at .5, but is close only as a whole.
    assert difference("ranking", "edges_needed")["mean_difference"] == pytest.approx(
        np.log10(0.1 / 0.5)
    )
    close = difference("ranking", "close_needed")
    assert close["mean_difference"] == pytest.approx(np.log10(0.1))
    # The mean curve of random rankings needs another share than they do.
    random = difference("random", "edges_needed")
    assert random["mean_difference"] == pytest.approx(-1) and random["low"] is None


def test_each_pair_of_circuits_is_compared_once():
    frame = study.statistics()[0].filter(row="difference", measure="cpr", task="ioi")
    keys = ["method", "ranking", "comparison", "against"]
    assert not frame.select(keys).is_duplicated().any()
    compared = {tuple(row) for row in frame.select(keys).rows()}
    assert set(frame["control"]) == {"none"}
    assert ("eap", "absolute", "method", "eap-gim") in compared
    # Scores of nodes are ranked in one way, with which both rankings are compared.
    assert {
        ("eap", each, "lifted", "nap") for each in ("signed", "absolute")
    } <= compared
    assert ("eap-gim", "signed", "method", "eap") not in compared
    # Of controls, those of the same method and ranking.
    effective = [row for row in compared if row[2] == "random-effective"]
    assert sorted(effective) == [
        (method, "signed", *2 * ("random-effective",)) for method in ("eap", "eap-gim")
    ]


def test_holm_adjusts_the_tasks_of_all_methods_that_are_compared():
    edges, nodes = study.all_frames()
    nodes += [study.node_frame(task, "exact") for task in study.TASKS]
    every = pl.concat([edge_curves(edges), node_curves(nodes)])
    found = edge_statistics(every, resamples=200)[0]
    rows = found.filter(comparison="nodes", measure="cpr", **EAP)
    of_tasks = rows.filter(pl.col("task") != "mean")
    assert set(of_tasks["against"]) == {"nap", "exact"}
    # Two node methods on two tasks are four tests, and their means are two.
    assert of_tasks["p_examples_holm"].to_list() == pytest.approx(4 * [4 * SMALLEST])
    assert rows.filter(task="mean")["p_tasks_holm"].to_list() == [1.0, 1.0]


def test_the_p_value_of_resamples_counts_the_smaller_side_twice():
    assert bootstrap_p(np.array([1.0, 2, 3, -1])) == pytest.approx(2 * 2 / 5)
    assert bootstrap_p(np.zeros(9)) == 1
    assert bootstrap_p(np.arange(1.0, 200)) == pytest.approx(2 / 200)
    assert np.isnan(bootstrap_p(np.full(5, np.nan)))


def test_one_distinct_pair_gives_no_interval_and_no_test():
    same = pl.lit([0] * study.EXAMPLES, pl.List(pl.Int32))
    found = edge_statistics(
        study.curves().with_columns(prompt_numbers=same), resamples=50
    )[0]
    levels = found.filter(row="level")
    names = ["cpr_low", "cmd_high", "edges_needed_low"]
    assert levels.select(names).null_count().row(0) == (len(levels),) * 3
    rows = found.filter(row="difference")
    assert rows["p_examples"].null_count() == rows["low"].null_count() + len(
        rows.filter(task="mean")
    )
    assert rows.filter(task="ioi")["mean_difference"].null_count() == 0


def test_a_task_without_faithfulness_is_an_empty_cell():
    undefined = pl.when(pl.col("task") != "ioi").then("faithfulness")
    partly = study.curves().with_columns(faithfulness=undefined)
    found, bands = edge_statistics(partly, resamples=50)
    assert set(found["task"]) == set(bands["task"]) == {"addition", "mean"}
    assert [*unmeasured(partly)] == [(study.TARGET, "ioi")]
    areas = edge_areas(partly).filter(task="ioi")
    assert areas["cpr"].null_count() == areas["edges_needed"].null_count() == len(areas)
    nothing, no_bands = edge_statistics(study.curves().clear())
    assert nothing.is_empty() and no_bands.is_empty()
    assert nothing.columns == [*DOCUMENTATION]
    assert edge_areas(edge_curves([])).is_empty()


def test_curves_have_intervals_for_all_circuits():
    bands = study.statistics()[1]
    one = bands.filter(task="ioi", **EAP)
    assert one["faithfulness"].to_list() == pytest.approx([0.2, 0.9, 0.96, 1])
    assert one["low"].to_list() == pytest.approx([0.2, 0.9, 0.96, 1])
    assert one["n_nodes"].to_list() == study.EDGES
    controls = {"none", "random", "random-effective", "lifted", "nodes"}
    assert set(bands["control"]) == controls
    nodes = bands.filter(task="ioi", control="nodes")
    assert nodes["n_nodes"].to_list() == study.KEPT_NODES
