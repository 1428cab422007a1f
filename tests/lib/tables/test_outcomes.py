"""What transfers came to, at nodes and edges, against statistics by hand."""

import re

import polars as pl
import pytest
import synthetic_edge_transfers as study
import synthetic_study as nodes

from circuit_transfer.tables.differences import differences
from circuit_transfer.tables.levels import levels_table
from circuit_transfer.tables.measures import CMD, CPR, SHOWN
from circuit_transfer.tables.outcomes import (
    outcomes,
    outcomes_text,
    short_answer,
    what_was_shown,
)
from circuit_transfer.tables.transfers import Pair
from circuit_transfer.tables.typesetting import to_html

PAIR = {"source": nodes.SOURCE, "target": nodes.TARGET}


@pytest.fixture(scope="module")
def statistics():
    return study.statistics()[0]


@pytest.fixture(scope="module")
def table(statistics):
    return levels_table(statistics, **PAIR, maps=study.maps()).frame


def one(table, **labels):
    (row,) = table.filter(**labels).to_dicts()
    return row


def test_a_row_for_every_level_and_map(table):
    rows = table.filter(measure="CPR").select("level", "method", "map").rows()
    assert rows == [
        ("nodes", "nap", "free"),
        ("nodes", "exact", "free"),
        ("edges", "eap", "prior-residual"),
        ("nodes lifted to edges", "eap", "lifted-free"),
    ]


def test_levels_are_those_of_the_circuits(table):
    row = one(table, map="prior-residual", measure="CPR")
    expected = {
        "gold": study.mean("gold"),
        "in_distribution": study.mean("in-distribution"),
        "zero_shot": study.mean("zero-shot", "task"),
        "zero_shot_family": study.mean("zero-shot", "family"),
    }
    assert {name: row[name] for name in expected} == pytest.approx(expected)
    cmd = one(table, map="prior-residual", measure="CMD")
    # Every circuit is flat, below 1.
    assert cmd["gold"] == pytest.approx(0.999 - study.mean("gold"))


def test_the_best_controls_lack_the_source_or_need_only_the_target(table):
    row = one(table, map="prior-residual", measure="CPR")
    # Not degree-source, which is higher and keeps what nodes send in all.
    assert row["without_source"] == "source-free"
    of_family = study.mean("source-free", "family")
    assert row["without_source_value"] == pytest.approx(of_family)
    assert row["minus_without_source"] == pytest.approx(0.999 * (0.65 - 0.55))
    assert row["target_only"] == "edge-changes"
    assert row["target_only_value"] == pytest.approx(study.mean("edge-changes"))
    # Of two of the three tasks, circuits without the family are lower by .05.
    assert row["minus_target_only"] == pytest.approx(0.999 * (0.65 - 0.3 - 0.1 / 3))
    assert row["minus_degree_source"] == pytest.approx(0.999 * (0.65 - 0.6))
    assert row["minus_lifted"] == pytest.approx(0.999 * (0.65 - 0.5))
    # All differences are the same, whatever the task and seed.
    assert row["minus_lifted_low"] == pytest.approx(row["minus_lifted_high"])
    # Nine cells and three tasks of one sign; of one lifted map, nothing is adjusted.
    assert row["minus_lifted_p"] == pytest.approx(2 / 2**9)
    assert row["minus_lifted_p_tasks"] == pytest.approx(2 / 2**3)
    of_nodes = one(table, method="nap", measure="CPR")
    assert (of_nodes["without_source"], of_nodes["target_only"]) == (
        "other-family",
        None,
    )
    assert of_nodes["minus_degree_source"] is of_nodes["target_only_value"] is None
    lifted = one(table, map="lifted-free", measure="CPR")
    assert (lifted["target_only"], lifted["minus_lifted"]) == ("edge-changes", None)
    assert lifted["without_source"] is None


def test_what_was_shown_is_said_by_the_tests(table):
    row = one(table, map="prior-residual", measure="CPR")
    uses, beyond, degrees, lifted = re.split("; (?=knows|better)", row["shown"])
    assert uses.startswith("uses its source: shown (p = ")
    assert beyond.startswith("better than the target's own forward passes: shown (p = ")
    assert degrees.startswith("knows more than the importance of nodes: shown (p = ")
    # Two over two to the power of nine cells, and of three tasks.
    tests = "shown (p = 0.004; over tasks alone not shown, p = 0.250)"
    assert lifted == f"better than lifted nodes: {tests}"
    of_lifted = one(table, map="lifted-free", measure="CPR")["shown"]
    assert of_lifted.startswith("better than the target's own forward passes: shown")
    assert "uses its source" not in of_lifted
    assert one(table, map="prior-residual", measure="CMD")["shown"] is None


def test_the_source_is_used_where_all_controls_without_it_are_exceeded(table):
    # Better than source-free, worse than another family's scores.
    row = one(table, method="nap", measure="CPR")
    uses = row["shown"]
    assert uses.startswith("uses its source: not shown (p = ")
    assert "; better" not in uses and "; knows" not in uses


def test_target_only_scores_do_not_decide_whether_the_source_is_used(statistics):
    # Scores of the target alone are now the better ones, over tasks and seeds alike.
    swapped = pl.col("against") == "edge-changes"
    turned = statistics.with_columns(
        pl.when(swapped).then(-pl.col(name)).otherwise(name).alias(name)
        for name in ("mean_difference", "low", "high")
    )
    table = levels_table(turned, **PAIR, maps=study.maps()).frame
    uses, beyond, *_ = one(table, map="prior-residual", measure="CPR")["shown"].split(
        "; better"
    )
    assert uses.startswith("uses its source: shown (p = ")
    assert beyond.startswith(" than the target's own forward passes: worse (p = ")


BETTER = {"measure": "cpr", "mean_difference": 0.1, "n_cells": 9, "n_tasks": 3}
LOWER = BETTER | {"measure": "cmd", "mean_difference": -0.1}


def p(seeds, tasks):
    return {"p_permutation_holm": seeds, "p_tasks_holm": tasks}


@pytest.mark.parametrize(
    ("by_cpr", "by_cmd", "expected"),
    [
        (
            BETTER | p(0.001, 0.02),
            LOWER | p(0.01, 0.03),
            "shown (p = 0.010; over tasks alone p = 0.030)",
        ),
        (
            BETTER | p(0.001, 0.02),
            LOWER | p(0.2, 0.3),
            "not shown (p = 0.200; over tasks alone p = 0.300)",
        ),
        # CPR is higher because the circuits exaggerate.
        (
            BETTER | p(0.001, 0.02),
            LOWER | {"mean_difference": 0.1} | p(0.001, 0.02),
            "not shown (p = 0.001; over tasks alone p = 0.020)",
        ),
        (
            BETTER | {"mean_difference": -0.1} | p(0.0001, 0.25),
            LOWER | {"mean_difference": 0.1} | p(0.0002, 0.25),
            "worse (p < 0.001; over tasks alone not shown, p = 0.250)",
        ),
        # With one seed both tests are the same.
        (
            BETTER | p(0.01, 0.01) | {"n_cells": 3},
            LOWER | p(0.02, 0.02) | {"n_cells": 3},
            "shown (p = 0.020)",
        ),
    ],
)
def test_cpr_and_cmd_must_agree(by_cpr, by_cmd, expected):
    assert what_was_shown([by_cpr, by_cmd]) == expected


def test_of_several_controls_the_largest_p_counts():
    exceeded = [BETTER | p(0.001, 0.02), LOWER | p(0.002, 0.03)]
    also = [BETTER | p(0.03, 0.2), LOWER | p(0.01, 0.04)]
    assert what_was_shown([*exceeded, *also]) == (
        "shown (p = 0.030; over tasks alone not shown, p = 0.200)"
    )
    unsure = [BETTER | p(0.3, 0.5), also[1]]
    assert what_was_shown([*exceeded, *unsure, *also]) == (
        "not shown (p = 0.300; over tasks alone p = 0.500)"
    )
    worse = [each | {"mean_difference": -each["mean_difference"]} for each in exceeded]
    assert what_was_shown(worse).startswith("worse (p = 0.002; ")
    assert what_was_shown([*exceeded, *worse]).startswith("not shown (p = 0.002; ")


@pytest.mark.parametrize(
    ("seeds", "tasks", "expected"),
    [
        (0.2, 0.3, "no .300"),
        (0.0002, 0.0004, "yes < .001"),
        (1.0, 1.0, "no 1.000"),
        (0.001, 0.25, "no .250; tasks x seeds: yes .001"),
    ],
)
def test_short_answers_are_those_over_tasks_alone(seeds, tasks, expected):
    assert short_answer([BETTER | p(seeds, tasks)]) == expected


def test_studies_of_several_kinships_are_one_table(statistics):
    kinship = {(nodes.SOURCE, nodes.TARGET): "apart"}
    alone = nodes.statistics_of_lone_tasks()[0]
    studies = [(statistics, kinship), (alone, dict.fromkeys(kinship, "pruned"))]
    maps = {"edges": ["stitched", "prior-residual"], "nodes": ["free"]}
    frame = outcomes(studies, maps)
    rows = frame.filter(measure="CPR").select("kinship", "method", "map").rows()
    expected = [("apart", "eap", "prior-residual"), ("apart", "exact", "free")]
    expected += [("apart", "nap", "free")]
    expected += [("pruned", "exact", "free"), ("pruned", "nap", "free")]
    assert rows == expected
    # Where every task is a family by itself, both protocols are one.
    lone = frame.filter(kinship="pruned", method="nap", measure="CPR")
    assert lone["zero_shot"].to_list() == lone["zero_shot_family"].to_list() != [None]
    head, rule, first, *rest = outcomes_text(frame).splitlines()
    assert len(rest) == 4 and rule.count("---") == head.count("|") - 1
    cells = [each.strip() for each in first.strip("|").split("|")]
    assert cells[:5] == [
        "small_model → big_model",
        "apart",
        "edges",
        "eap",
        "prior-residual",
    ]
    gold = study.mean("gold")
    assert cells[5] == f"{gold:.2f} ({0.999 - gold:.2f})"
    kinds = ["best control (without source)", "best target-only"]
    assert [each.strip() for each in head.strip("|").split("|")][9:11] == kinds
    expected = [study.mean("source-free", "family"), study.mean("edge-changes")]
    assert cells[9:11] == [
        f"{name} {value:.2f} ({0.999 - value:.2f})"
        for name, value in zip(("source-free", "edge-changes"), expected, strict=True)
    ]
    # As above; the other three are adjusted, each for ten controls on two protocols.
    assert cells[11:14] == ["no 1.000; tasks x seeds: yes .020"] * 3
    assert cells[14] == "no .250; tasks x seeds: yes .004"
    # No control of nodes is from the target's own passes, and no test but of sources.
    of_nodes = [each.strip() for each in rest[-1].strip("|").split("|")]
    assert of_nodes[10] == "-" and of_nodes[12:] == ["-", "-", "-"]
    every = outcomes([(statistics, kinship)])
    assert set(every["map"]) == {*study.MAPS, *nodes.MAPS}


def test_the_table_explains_its_names(statistics):
    page = to_html(levels_table(statistics, **PAIR, maps=study.maps()), title="x")
    assert "<dt>degree-source</dt>" in page and "<dt>lifted-free</dt>" in page


def test_without_transfers_there_is_nothing(statistics):
    nothing = statistics.filter(pl.col("source").is_null())
    assert levels_table(nothing, **PAIR, maps=study.maps()).frame.is_empty()
    assert outcomes_text(outcomes([(nothing, {})])).count("\n") == 1


def test_random_circuits_are_compared_as_a_mean_over_their_seeds():
    """Their seeds are of random orders, and there may be fewer than of fits."""
    labels = dict.fromkeys(("source", "target", "method", "ablation"), "x")
    rows = [("zero-shot", seed, value) for seed, value in enumerate((1, 2, 3, 10, 20))]
    rows += [("random-effective", seed, value) for seed, value in enumerate((0, 5, -5))]
    cells = [
        labels
        | {"map": "free", "circuit": circuit, "protocol": "task", "seed": seed}
        | {"task": task, **dict.fromkeys((each.column for each in SHOWN), float(value))}
        for circuit, seed, value in rows
        for task in ("a", "b")
    ]
    found = [row for row in differences(pl.DataFrame(cells)) if row["measure"] == "cpr"]
    (row,) = found
    assert row["against"] == "random-effective" and row["n_cells"] == 10
    assert row["mean_difference"] == pytest.approx(7.2)


def test_of_several_lifted_maps_the_one_with_the_highest_cpr_counts(statistics):
    """Where none is of the same map of nodes; what lifts has no such comparison."""
    lifted = statistics.filter(comparison="lifted", map="prior-residual")
    higher = lifted.with_columns(
        pl.lit("lifted-a-prior").alias("against"),
        # Its CPR is higher, so that less is gained over it.
        pl.col("mean_difference") / 2,
    )
    both = Pair(pl.concat([higher, statistics, higher]), *PAIR.values())
    protocol = lifted["protocol"][-1]
    for measure in (CPR, CMD):
        test = both.lifted_test("eap", "prior-residual", protocol, measure)
        assert test["against"] == "lifted-a-prior"
    same = lifted.with_columns(pl.lit("lifted-prior-residual").alias("against"))
    both = Pair(pl.concat([higher, statistics, same]), *PAIR.values())
    test = both.lifted_test("eap", "prior-residual", protocol, CMD)
    assert test["against"] == "lifted-prior-residual"
    assert statistics.filter(comparison="lifted")["map"].unique().to_list() == [
        "prior-residual"
    ]


def test_the_baseline_of_a_method_is_its_own(statistics):
    untrained = (pl.col("circuit") == "random-alignment") & (pl.col("method") == "eap")
    pair = Pair(statistics.filter(~untrained.fill_null(False)), *PAIR.values())
    assert pair.random("eap") == "random-rankings"
    assert pair.random("nap") == "random-alignment"
