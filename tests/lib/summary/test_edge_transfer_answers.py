"""Sentences on transferred edges, against statistics whose answer is known."""

import polars as pl
import pytest
import synthetic_edge_transfers as study
import synthetic_study as nodes

from circuit_transfer.summary.circuits import transfer_answer
from circuit_transfer.summary.edge_transfers import circuits_caption, edges_answer
from circuit_transfer.summary.source import source_answer
from circuit_transfer.tables.measures import CMD, CPR
from circuit_transfer.tables.outcomes import hardest
from circuit_transfer.tables.transferred_edges import BOTH, GOLD, SOURCE, TRANSFERRED
from circuit_transfer.tables.transfers import Pair

PAIR = {"source": nodes.SOURCE, "target": nodes.TARGET}
MAP = {"method": "eap", "map_name": "prior-residual"}
START = "From small_model to big_model by eap, "


@pytest.fixture(scope="module")
def pair():
    return Pair(study.statistics()[0], *PAIR.values())


def test_edges_are_said_to_exceed_what_the_tests_show(pair):
    (answer,) = edges_answer(pair, **PAIR, **MAP)
    shown = "over tasks x seeds, not shown over tasks alone"
    assert answer.lead == (
        f"{START}zero-shot-family circuits of edges are better than those of "
        f"source-free, the hardest control without the source to exceed {shown}; they "
        "are better than those of edge-changes, the hardest of those from the target's "
        f"own forward passes {shown}; they are better than "
        f"those of degree-source, the importance of nodes alone {shown}; they are "
        f"better than those of lifted-free, scores of nodes {shown}."
    )
    # .999 x the difference of the levels, and p of nine cells of one sign.
    lifted = answer.details.partition("lifted-free")[2]
    assert "CPR is higher over tasks x seeds (0.15 [0.15, 0.15]; p = 0.004)" in lifted
    assert "not shown over tasks alone (p = 0.250)" in lifted


def test_what_was_not_shown_is_not_said_to_be_better():
    unsure = pl.lit(0.2).alias("p_permutation_holm")
    other = Pair(study.statistics()[0].with_columns(unsure), *PAIR.values())
    (answer,) = edges_answer(other, **PAIR, **MAP)
    assert answer.lead.count("were not shown to be better than") == 4
    assert "CPR was not shown to be higher (0.15 [0.15, 0.15]" in answer.details


def test_edges_have_the_sentences_of_nodes_as_well(pair):
    reach = transfer_answer(pair, **PAIR, **MAP)
    share = study.mean("zero-shot", "family") / study.mean("gold")
    # The mean over tasks of shares, not the share of means.
    assert reach.lead.startswith(
        f"{START}zero-shot-family circuits reach {100 * share:.0f}"
    )
    matters = source_answer(pair, **PAIR, **MAP)
    assert "source-free 0.10 [0.10, 0.10]" in matters.details
    assert "other-family" not in matters.details


def test_nodes_have_no_sentence_on_edges(pair):
    answers = edges_answer(pair, **PAIR, method="nap", map_name="depth-prior")
    assert all("lifted" not in each.lead for each in answers)


def test_captions_count_the_edges_that_both_circuits_have():
    rows = [(SOURCE, SOURCE)] * 3 + [(GOLD, BOTH), (GOLD, GOLD), (TRANSFERRED, BOTH)]
    rows += [(TRANSFERRED, TRANSFERRED)] * 2
    frame = pl.DataFrame(rows, schema=["circuit", "circuits"], orient="row")
    assert circuits_caption(frame) == (
        "Of the 3 edges with the highest transferred scores, 1 is among the 2 highest "
        "of the gold circuit (blue)."
    )
    assert circuits_caption(frame.clear()).startswith("No edge has a score")
    alone = frame.filter(pl.col("circuit") != TRANSFERRED)
    assert circuits_caption(alone).startswith(
        "No edge has a transferred score: the map"
    )


def test_of_several_controls_the_hardest_to_exceed_is_named():
    """Better by CPR, not by CMD: a control with a lower CPR may be the harder one."""
    same = {"n_cells": 9, "n_tasks": 3, "p_tasks_holm": 0.25}
    rows = [
        {"against": against, "measure": measure, "mean_difference": gain} | same
        for against in ("ridge", "other", "worst")
        for measure, gain in (("cpr", 0.1), ("cmd", -0.1))
    ]
    for row, p in zip(rows, (0.01, 0.02, 0.001, 0.3, 0.001, 0.001), strict=True):
        row["p_permutation_holm"] = p
    assert hardest(rows)[CMD] == rows[3]
    assert hardest(rows[:2] + rows[4:])[CPR] == rows[0]
    # With p values that are the same, the one that is exceeded by the least.
    rows[2] |= {"mean_difference": 0.05, "p_permutation_holm": 0.02}
    rows[3]["p_permutation_holm"] = 0.02
    assert hardest(rows)[CPR] == rows[2]
    for row in rows[4:]:
        row["mean_difference"] *= -1
    assert hardest(rows)[CPR] == rows[4]
