"""What transfers came to, at nodes and edges, against statistics by hand."""

import re

import polars as pl
import pytest
import synthetic_edge_transfers as study
import synthetic_study as nodes

from circuit_transfer.tables.levels import levels_table
from circuit_transfer.tables.outcomes import outcomes, outcomes_text, what_was_shown
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


def test_the_best_control_replaces_the_source_or_needs_none(table):
    row = one(table, map="prior-residual", measure="CPR")
    # Not degree-source, which is higher and keeps what nodes send in all.
    assert row["control"] == "source-free"
    assert row["control_value"] == pytest.approx(study.mean("source-free", "family"))
    assert row["minus_control"] == pytest.approx(0.999 * (0.65 - 0.55))
    assert row["minus_degree_source"] == pytest.approx(0.999 * (0.65 - 0.6))
    assert row["minus_lifted"] == pytest.approx(0.999 * (0.65 - 0.5))
    # All differences are the same, whatever the task and seed.
    assert row["minus_lifted_low"] == pytest.approx(row["minus_lifted_high"])
    # Nine cells and three tasks of one sign; of one lifted map, nothing is adjusted.
    assert row["minus_lifted_p"] == pytest.approx(2 / 2**9)
    assert row["minus_lifted_p_tasks"] == pytest.approx(2 / 2**3)
    of_nodes = one(table, method="nap", measure="CPR")
    assert of_nodes["control"] == "other-family"
    assert of_nodes["minus_degree_source"] is None
    lifted = one(table, map="lifted-free", measure="CPR")
    assert (lifted["control"], lifted["minus_lifted"]) == ("edge-changes", None)


def test_what_was_shown_is_said_by_the_tests(table):
    row = one(table, map="prior-residual", measure="CPR")
    uses, degrees, lifted = re.split("; (?=knows|better)", row["shown"])
    assert uses.startswith("uses its source: shown (p = ")
    assert degrees.startswith("knows more than the importance of nodes: shown (p = ")
    # Two over two to the power of nine cells, and of three tasks.
    tests = "shown (p = 0.004; over tasks alone not shown, p = 0.250)"
    assert lifted == f"better than lifted nodes: {tests}"
    worse = one(table, method="nap", measure="CPR")["shown"]
    assert worse.startswith("uses its source: worse (p = ")
    assert "lifted" not in worse and "importance" not in worse
    assert one(table, map="prior-residual", measure="CMD")["shown"] is None


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
    assert what_was_shown(by_cpr, by_cmd) == expected


def test_studies_of_several_kinships_are_one_table(statistics):
    kinship = {(nodes.SOURCE, nodes.TARGET): "apart"}
    alone = nodes.statistics_of_lone_tasks()[0]
    studies = [(statistics, kinship), (alone, dict.fromkeys(kinship, "pruned"))]
    frame = outcomes(studies, ["prior-residual", "free"])
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
    assert cells[9].startswith("source-free ") and cells[10].startswith("uses its")
    every = outcomes([(statistics, kinship)])
    assert set(every["map"]) == {*study.MAPS, *nodes.MAPS}


def test_the_table_explains_its_names(statistics):
    page = to_html(levels_table(statistics, **PAIR, maps=study.maps()), title="x")
    assert "<dt>degree-source</dt>" in page and "<dt>lifted-free</dt>" in page


def test_without_transfers_there_is_nothing(statistics):
    nothing = statistics.filter(pl.col("source").is_null())
    assert levels_table(nothing, **PAIR, maps=study.maps()).frame.is_empty()
    assert outcomes_text(outcomes([(nothing, {})])).count("\n") == 1
