"""Sentences about circuits of edges, against statistics whose answer is known."""

import polars as pl
import pytest
import synthetic_edges as study

from circuit_transfer.summary.edge_circuits import (
    differences_table,
    edges_answer,
    edges_line,
)
from circuit_transfer.summary.names import Names
from circuit_transfer.summary.terminal import results_text
from circuit_transfer.tables.edge_levels import EdgeLevels

NAMES = {"target": "big", "edge_method": "eap", "methods": ["nap"]}


def answer(frame, **names):
    levels = EdgeLevels(frame, study.TARGET)
    return edges_answer(levels, tasks=study.TASKS, **NAMES | names)


def changed(task=None, measure="cmd", against="random", **values):
    """Statistics in which one difference of `eap` has other values."""
    these = (pl.col("row") == "difference") & (pl.col("method") == "eap")
    these &= (pl.col("ranking") == "signed") & (pl.col("against") == against)
    these &= (pl.col("measure") == measure) & (
        pl.col("task") == (task or pl.col("task"))
    )
    columns = [
        pl.when(these).then(pl.lit(value)).otherwise(pl.col(name)).alias(name)
        for name, value in values.items()
    ]
    return study.statistics()[0].with_columns(columns)


OTHERS = (
    "random edges of equal effective size, the scores of nodes by nap lifted to edges, "
    "circuits of nodes by nap at equal shares, the ranking by absolute scores and "
    "circuits of edges by eap-gim"
)


def test_the_answer_says_how_few_edges_suffice():
    lead, details = answer(study.statistics()[0])
    assert lead == (
        "By eap, circuits of edges of big have faithfulness .9 with, of the edges, "
        "10 [10, 10] % on ioi and 50 [50, 50] % on addition; circuits of nodes by nap "
        "need, of the nodes, 50 [50, 50] % on ioi and 100 [100, 100] % on addition. On "
        f"both tasks they are better, by CPR and CMD, than random edges, {OTHERS}."
    )
    assert details.startswith("They have CPR 0.89 [0.89, 0.89], CMD 0.10 [0.10, 0.10]")
    assert "(means over 2 tasks)" in details
    assert "So many suffice: 100 edges on ioi, 80 of them on a path from" in details
    one = answer(study.statistics()[0].filter(~pl.col("task").is_in(["addition"]))).lead
    assert "; circuits of nodes by nap need, of the nodes, 50 [50, 50] % on ioi. They "
    assert "They are better, by CPR and CMD, than random edges, " in one
    alone = answer(
        study.statistics()[0].filter(pl.col("control") != "nodes"), methods=[]
    )
    assert "need, of the nodes" not in alone.lead


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (
            {"task": "ioi", "p_examples_holm": 0.2},
            "On 1 of 2 tasks they are better, by CPR and CMD, than random edges; not "
            "shown on ioi.",
        ),
        # One measure is not enough, neither is one that points the other way.
        (
            {"p_examples_holm": 0.2},
            "They were not shown to be better, by CPR and CMD, than random edges.",
        ),
        (
            {"mean_difference": 0.1},
            "They were not shown to be better, by CPR and CMD, than random edges.",
        ),
        (
            {"measure": "cpr", "mean_difference": -0.1, "p_examples_holm": None},
            "They were not shown to be better, by CPR and CMD, than random edges.",
        ),
    ],
)
def test_better_is_said_only_where_both_measures_are_shown(values, sentence):
    lead = answer(changed(**values)).lead
    assert sentence in lead
    rest = f"On both tasks they are better, by CPR and CMD, than {OTHERS}."
    assert rest in lead


def test_worse_is_said_as_well():
    worse = study.statistics()[0].with_columns(
        mean_difference=pl.when(against="random")
        .then(-pl.col("mean_difference"))
        .otherwise("mean_difference")
    )
    sentence = "On both tasks they are worse, by CPR and CMD, than random edges."
    assert sentence in answer(worse).lead
    partly = worse.with_columns(
        mean_difference=pl.when(task="addition", against="random")
        .then(-pl.col("mean_difference"))
        .otherwise("mean_difference")
    )
    assert (
        "On 1 of 2 tasks they are better, by CPR and CMD, than random edges; worse on "
        "ioi." in answer(partly).lead
    )


def test_what_was_not_measured_has_no_answer():
    nothing = study.statistics()[0].clear()
    expected = "By eap, circuits of edges of big could not be measured."
    assert answer(nothing) == (expected, "")
    names = {"target": study.TARGET, "edge_methods": ["eap"], "tasks": study.TASKS}
    assert edges_line(nothing, **names) == (
        "Circuits of edges of big_model by eap: not measured"
    )
    levels = EdgeLevels(nothing, study.TARGET)
    assert differences_table(levels, edge_methods=["eap"]).frame.is_empty()


def test_no_size_may_suffice_and_a_circuit_may_exaggerate():
    level = pl.when(row="level", method="eap", ranking="signed", control="none")
    none = dict.fromkeys(("edges_needed", "n_edges_needed", "effective_needed"))
    frame = study.statistics()[0].with_columns(
        *(
            level.then(value).otherwise(name).alias(name)
            for name, value in none.items()
        ),
        max_faithfulness=level.then(pl.lit(1.7)).otherwise("max_faithfulness"),
    )
    lead, details = answer(frame)
    assert "no evaluated share on ioi and no evaluated share on addition" in lead
    assert "So many" not in details
    assert "They exaggerate, with faithfulness above 1, on ioi (up to 1.70) and" in lead


def test_differences_are_over_tasks_or_over_the_examples_of_the_one():
    levels = EdgeLevels(study.statistics()[0], study.TARGET)
    frame = differences_table(levels, edge_methods=["eap", "eap-gim"]).frame
    assert frame["method"].to_list() == 6 * ["eap"] + 5 * ["eap-gim"]
    random = frame.row(0, named=True)
    assert random["minus"] == "random edges" and random["p_CPR"] == 0.5
    # .1 of the edges on one task and .5 on the other, where random ones need all.
    assert random["share for .9"] == pytest.approx((0.1 * 0.5) ** 0.5)
    one = EdgeLevels(study.statistics()[0].filter(task="ioi"), study.TARGET)
    of_one = differences_table(one, edge_methods=["eap"]).frame
    assert of_one["p_CPR"][0] == pytest.approx(2 * 2 / 201)
    nodes = of_one.filter(minus="circuits of nodes by nap at equal shares")
    assert nodes["share for .9"].item() == pytest.approx(0.2)
    assert nodes["share for .9_low"].item() == pytest.approx(0.2)


def test_the_terminal_has_one_line():
    names = {"target": study.TARGET, "edge_methods": ["eap"], "tasks": study.TASKS}
    assert edges_line(study.statistics()[0], **names) == (
        "Circuits of edges of big_model by eap: faithfulness .9 with 10 % (ioi) and "
        "50 % (addition) of the edges; CPR 0.89 [0.89, 0.89], CMD 0.10 [0.10, 0.10]"
    )


def test_the_terminal_of_edges_alone_has_the_line_of_every_model():
    names = Names(study.TASKS, [], ["eap"], [study.TARGET], [], [], [0])
    text = results_text(pl.DataFrame(), names, edges=study.statistics()[0])
    assert text.startswith("Circuits of edges of big_model by eap: faithfulness .9")
    assert text.count("Circuits of edges") == 1
    assert max(map(len, text.splitlines())) <= 100
