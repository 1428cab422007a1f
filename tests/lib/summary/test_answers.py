"""Sentences against statistics whose answer is known."""

import polars as pl
import pytest
import synthetic_study as study

from circuit_transfer.summary.circuits import (
    gold_answer,
    gold_by_task,
    transfer_answer,
    transfer_table,
    transfers_by_task,
)
from circuit_transfer.summary.costs import costs_answer, costs_overview, shares
from circuit_transfer.summary.differences import compared, verdict
from circuit_transfer.summary.models import models_answer, right_shares
from circuit_transfer.summary.nodes import TOP_NODES, nodes_answer, nodes_table
from circuit_transfer.summary.omissions import (
    NOTHING,
    left_out,
    omissions_answer,
    rejected_shares,
)
from circuit_transfer.summary.source import (
    floor,
    maps_answer,
    source_answer,
    source_table,
)
from circuit_transfer.tables.costs import BREAK_EVEN_SCHEMA
from circuit_transfer.tables.measures import CMD, CPR
from circuit_transfer.tables.transfers import Pair

PLACE = {"source": study.SOURCE, "target": study.TARGET}
FREE = {"method": "nap", "map_name": "free"}
START = "From small_model to big_model by nap, "


@pytest.fixture(scope="module")
def statistics():
    return study.statistics()[0]


def pair(statistics):
    return Pair(statistics, study.SOURCE, study.TARGET)


def changed(statistics, against, measure="cpr", **values):
    """Statistics in which the differences to a circuit have other values."""
    these = (pl.col("row") == "difference") & (pl.col("against") == against)
    these &= pl.col("measure") == measure
    columns = [
        pl.when(these).then(pl.lit(value)).otherwise(pl.col(name)).alias(name)
        for name, value in values.items()
    ]
    return statistics.with_columns(columns)


SHOWN = {"p_permutation_holm": 0.001, "p_tasks_holm": 0.01}
ONLY_SEEDS = SHOWN | {"p_tasks_holm": 0.3}
NOT_SHOWN = {"p_permutation_holm": 0.2, "p_tasks_holm": 0.6}
HIGHER = {"mean_difference": 0.1, "low": 0.05, "high": 0.15}
LOWER = {"mean_difference": -0.1, "low": -0.15, "high": -0.05}
CELLS = {"n_cells": 9, "n_tasks": 3}


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (
            HIGHER | SHOWN,
            "is higher (0.10 [0.05, 0.15]; p = 0.001 over tasks x seeds, p = 0.010 "
            "over tasks alone)",
        ),
        (
            HIGHER | ONLY_SEEDS,
            "is higher over tasks x seeds (0.10 [0.05, 0.15]; p = 0.001), not shown "
            "over tasks alone (p = 0.300)",
        ),
        (
            LOWER | ONLY_SEEDS,
            "is lower over tasks x seeds (-0.10 [-0.15, -0.05]; p = 0.001), not shown "
            "over tasks alone (p = 0.300)",
        ),
        (
            HIGHER | NOT_SHOWN,
            "was not shown to be higher (0.10 [0.05, 0.15]; p = 0.200 over tasks x "
            "seeds, p = 0.600 over tasks alone)",
        ),
        (
            LOWER | NOT_SHOWN,
            "was not shown to differ (-0.10 [-0.15, -0.05]; p = 0.200 over tasks x "
            "seeds, p = 0.600 over tasks alone)",
        ),
        (
            HIGHER | NOT_SHOWN | {"n_cells": 3},
            "was not shown to be higher (0.10 [0.05, 0.15]; p = 0.600 over tasks)",
        ),
        (
            HIGHER | dict.fromkeys(SHOWN) | {"low": None, "high": None, "n_cells": 3},
            "was not shown to be higher (0.10; not tested over tasks)",
        ),
    ],
)
def test_a_difference_is_stated_only_where_its_test_is_significant(row, expected):
    assert compared(CELLS | row, CPR) == f"CPR {expected}"


def test_of_cmd_the_lower_is_the_better():
    def start(**row):
        return compared(CELLS | row, CMD).partition(" (")[0]

    assert start(**LOWER, **SHOWN) == "CMD is lower"
    assert start(**HIGHER, **SHOWN) == "CMD is higher"
    assert start(**LOWER, **NOT_SHOWN) == "CMD was not shown to be lower"
    assert start(**HIGHER, **NOT_SHOWN) == "CMD was not shown to differ"


@pytest.mark.parametrize(
    ("cpr", "cmd", "expected"),
    [
        (HIGHER | SHOWN, LOWER | SHOWN, "are better than them, also over tasks alone"),
        (LOWER | SHOWN, HIGHER | SHOWN, "are worse than them, also over tasks alone"),
        (
            HIGHER | SHOWN,
            LOWER | ONLY_SEEDS,
            "are better than them over tasks x seeds, not shown over tasks alone",
        ),
        (HIGHER | SHOWN, HIGHER | SHOWN, "were not shown to be better than them"),
        (HIGHER | SHOWN, LOWER | NOT_SHOWN, "were not shown to be better than them"),
    ],
)
def test_circuits_are_better_only_by_all_measures(cpr, cmd, expected):
    assert verdict({CPR: CELLS | cpr, CMD: CELLS | cmd}, "them") == expected
    one_seed = CELLS | {"n_cells": 3}
    text = verdict({CPR: one_seed | cpr, CMD: one_seed | cmd}, "them")
    assert text == expected.partition(" over tasks")[0].partition(",")[0]


def test_a_transfer_says_what_it_reaches_and_what_was_not_shown(statistics):
    lead, text = transfer_answer(pair(statistics), **PLACE, **FREE)
    # The levels of the study, means over its tasks, without their families.
    ours = sum(study.cell("zero-shot-family", task) for task in study.TASKS) / 3
    gold = sum(study.cell("gold", task) for task in study.TASKS) / 3
    assert lead.startswith(f"{START}zero-shot-family circuits reach 71 [")
    assert lead.endswith(
        "; they are better than random circuits over tasks x seeds, not shown over "
        "tasks alone."
    )
    assert f"CPR {ours:.2f} [" in text and f"against {gold:.2f} [" in text
    assert "(means over 3 tasks)" in text
    # All of nine differences are positive, and three tasks are too few.
    start = "Compared with random circuits, CPR is higher over tasks x seeds ("
    assert start in text and " and CMD is lower over tasks x seeds (" in text
    assert ", not shown over tasks alone (p = " in text
    assert "exaggerate" not in lead + text


def test_faithfulness_above_one_is_said_in_words(statistics):
    high = statistics.with_columns(
        max_faithfulness=pl.when(pl.col("max_faithfulness").is_not_null()).then(1.7)
    )
    assert (
        "They exaggerate at sizes where their mean faithfulness exceeds 1 (up to 1.70)"
        in transfer_answer(pair(high), **PLACE, **FREE).lead
    )
    model = Pair(high, None, study.TARGET)
    text, _ = gold_answer(model, target="big", method="nap", tasks=study.TASKS)
    assert (
        "They exaggerate, with faithfulness above 1, on ioi (up to 1.70), addition "
        "(up to 1.70) and subtraction (up to 1.70): there a high CPR does not" in text
    )


def test_an_evaluation_without_a_task_left_out_is_not_called_new(statistics):
    seen = statistics.filter(pl.col("protocol").is_null())
    text, _ = transfer_answer(pair(seen), **PLACE, **FREE)
    assert text.startswith(f"{START}in-distribution circuits ")
    assert text.endswith("No task was left out of training, so none of them is new.")


def test_circuits_without_a_measure_are_not_given_one(statistics):
    nothing = pair(statistics.clear())
    assert transfer_answer(nothing, **PLACE, **FREE).lead == (
        f"{START}no transferred circuit could be measured."
    )
    assert gold_answer(nothing, target="m", method="nap", tasks=["ioi"]).lead == (
        "By nap, the circuits of m could not be measured."
    )
    assert transfer_table(
        nothing, maps=study.by_method(methods=["nap"])
    ).frame.is_empty()
    by_task = transfers_by_task(
        nothing, tasks=["ioi"], maps=study.by_method(methods=["nap"])
    ).frame
    assert by_task["measure"].to_list() == ["CPR", "CMD", "accuracy area"]
    cells = by_task.drop("task", "method", "measure")
    assert cells.null_count().row(0) == (3,) * cells.width


def test_a_transfer_has_all_measures_on_every_task(statistics):
    table = transfers_by_task(
        pair(statistics),
        tasks=study.TASKS,
        maps=study.by_method(methods=["nap"]),
    ).frame
    for measure, value in (("CPR", 1.0), ("CMD", 0.0)):
        rows = table.filter(measure=measure)
        assert rows["task"].to_list() == study.TASKS
        for circuit in ("random-rankings", "zero-shot", "gold"):
            levels = [study.level(circuit, task) for task in study.TASKS]
            # A flat curve below 1: the areas below it, and above it.
            areas = [0.999 * (each if value else 1 - each) for each in levels]
            assert rows[circuit].to_list() == pytest.approx(areas)
    area = table.filter(measure="accuracy area")["gold"]
    assert area.is_between(0, 1).all() and area.null_count() == 0


def test_gold_is_called_better_only_where_all_intervals_lie_apart(statistics):
    model = Pair(statistics, None, study.TARGET)
    arguments = {"target": "m", "method": "nap", "tasks": study.TASKS}
    apart = (
        "better than random ones by all three measures, with intervals that lie apart"
    )
    # The share of examples with the right answer above is that of both.
    text, _ = gold_answer(model, **arguments)
    assert "By nap, the circuits of m have CPR 0.81 [" in text
    area = "right_above_wrong_area"
    rows = {"gold": 0.9, "random-rankings": 0.1}
    level = pl.col("circuit").replace_strict(rows, default=None)
    all_better = statistics.with_columns(
        level.alias(area), level.alias(f"{area}_low"), level.alias(f"{area}_high")
    )
    text, _ = gold_answer(Pair(all_better, None, study.TARGET), **arguments)
    assert f"On all 3 tasks they are {apart}." in text
    one = all_better.filter((pl.col("task") == "ioi") | (pl.col("task") == "mean"))
    one = one.with_columns(n_tasks=pl.lit(1, pl.Int64))
    text, _ = gold_answer(
        Pair(one, None, study.TARGET), **arguments | {"tasks": ["ioi"]}
    )
    assert f"On the one task they are {apart}." in text
    assert "means over" not in text
    overlap = all_better.with_columns(
        cmd_high=pl.when(pl.col("task") == "ioi").then(9.0).otherwise("cmd_high")
    )
    text, _ = gold_answer(Pair(overlap, None, study.TARGET), **arguments)
    assert f"On 2 of 3 tasks they are {apart}; not shown on ioi." in text
    none = all_better.with_columns(cmd_high=pl.lit(9.0))
    text, _ = gold_answer(Pair(none, None, study.TARGET), **arguments)
    assert f"They were not shown on any task to be {apart} (ioi, " in text
    table = gold_by_task(model, tasks=study.TASKS, methods=["nap"])
    assert table.frame["circuit"].to_list() == ["gold, nap", "random-rankings"] * 3
    assert table.frame["CPR"][0] == pytest.approx(study.cell("gold", "ioi"))


def better_by_cmd(statistics):
    """Statistics in which the transferred circuits have a lower CMD than controls."""
    for control in ("source-free", "other-family"):
        statistics = changed(statistics, control, "cmd", **LOWER, **SHOWN)
    return statistics


def test_the_source_matters_only_where_every_control_is_exceeded(statistics):
    def answer(frame=None, **of_control):
        frame = better_by_cmd(statistics) if frame is None else frame
        for name, values in of_control.items():
            frame = changed(frame, name.replace("_", "-"), **values)
        return source_answer(pair(frame), **PLACE, **FREE)

    both = answer(source_free=HIGHER | SHOWN, other_family=HIGHER | SHOWN)
    assert both.lead == f"{START}the source matters, also over tasks alone."
    seeds = answer(source_free=HIGHER | ONLY_SEEDS, other_family=HIGHER | SHOWN)
    assert seeds.lead == (
        f"{START}the source matters over tasks x seeds (not shown over tasks alone)."
    )
    # As if the circuits exaggerated.
    cpr = answer(statistics, source_free=HIGHER | SHOWN, other_family=HIGHER | SHOWN)
    assert cpr.lead == (
        f"{START}the source was not shown to matter; CPR exceeds that of every "
        "control, but CMD was not shown to be lower."
    )
    one = answer(source_free=HIGHER | SHOWN, other_family=HIGHER | NOT_SHOWN)
    assert one.lead == (
        f"{START}the source was not shown to matter; by CPR the circuits exceed only "
        "source-free over tasks x seeds."
    )
    below = answer(source_free=LOWER | SHOWN, other_family=HIGHER | NOT_SHOWN)
    assert below.lead == (
        f"{START}the source was not shown to matter; by CPR the circuits are below "
        "source-free over tasks x seeds."
    )
    assert below.details == (
        "The zero-shot-family circuits minus those of controls: CPR source-free -0.10 "
        "[-0.15, -0.05] (p = 0.001) and other-family 0.10 [0.05, 0.15] (p = 0.200); "
        "CMD source-free -0.10 [-0.15, -0.05] (p = 0.001) and other-family -0.10 "
        "[-0.15, -0.05] (p = 0.001)."
    )


def test_without_controls_nothing_is_said_of_the_source(statistics):
    levels = pair(statistics.filter(row="level"))
    assert source_answer(levels, **PLACE, **FREE).lead == (
        f"{START}no control was run: whether the source matters is not tested."
    )
    assert [*floor(levels)] == []


def test_maps_that_exceed_their_controls_are_named(statistics):
    arguments = {"maps": study.by_method(study.MAPS, ["nap"])}
    shown = changed(better_by_cmd(statistics), "source-free", **HIGHER | ONLY_SEEDS)
    shown = changed(shown, "other-family", **HIGHER | SHOWN)
    assert [*maps_answer(pair(shown), **arguments)] == [
        "Of 2 maps and 1 method, these exceed all of their controls, by CPR and "
        "CMD, over tasks x seeds: free by nap."
    ]
    lower = changed(shown, "other-family", **LOWER | SHOWN)
    assert [*maps_answer(pair(lower), **arguments)] == [
        "Of 2 maps and 1 method, none was shown to exceed all of its controls."
    ]
    assert [*maps_answer(pair(shown), maps=study.by_method(["free"], ["nap"]))] == []


def test_differences_to_controls_are_by_every_measure(statistics):
    frame = changed(statistics, "source-free", "cmd", **LOWER, **SHOWN)
    table = source_table(pair(frame), maps=study.by_method(["free"], ["nap"])).frame
    assert table["control"].to_list() == ["source-free", "other-family"] * 3
    (row,) = table.filter(measure="CMD", control="source-free").to_dicts()
    assert (row["difference"], row["p_tasks"]) == (-0.1, 0.01)
    (row,) = table.filter(measure="CPR", control="source-free").to_dicts()
    assert row["difference"] != -0.1


def test_too_few_tasks_for_the_test_over_tasks_are_said_so(statistics):
    (sentence,) = floor(pair(statistics))
    # With three tasks p is at least 1/4, five controls take it to 1.
    assert sentence.startswith("With 3 tasks and ")
    assert sentence.endswith("over tasks alone: p is at least 1.00.")
    many = statistics.with_columns(least_p_tasks=pl.lit(0.001))
    assert [*floor(pair(many))] == []


MODEL = {
    "model": "m",
    "pairs": 40,
    "right_above_wrong": 0.9,
    "right_above_wrong_low": 0.77,
    "right_above_wrong_high": 0.96,
    "verdict": "yes",
    "objection": None,
    "train": 40,
    "test": 40,
    "distinct_test": 40,
    "rejected": 0,
}


def models(*rows):
    frame = pl.DataFrame([MODEL | row for row in rows], infer_schema_length=None)
    types = {"verdict": pl.String, "objection": pl.String}
    return frame.cast(types | {"right_above_wrong": pl.Float64})


EMPTY = {
    "pairs": 0,
    "right_above_wrong": None,
    "right_above_wrong_low": None,
    "right_above_wrong_high": None,
    "verdict": None,
    "objection": "no pairs",
    "train": 0,
    "test": 0,
    "distinct_test": 0,
    "rejected": 3,
}


def test_a_model_does_its_tasks():
    higher = "the right answer has a higher logit than the wrong one in"
    assert models_answer(models({"task": "ioi"})) == [
        f"m does its task, ioi: {higher} 90 % [77, 96] of the test pairs."
    ]
    two = models({"task": "a", "right_above_wrong": 1.0}, {"task": "b"})
    assert models_answer(two) == [
        f"m does both tasks: {higher} at least 90 % [77, 96] of the test pairs of each."
    ]


def test_what_a_model_does_not_do_is_named_with_the_reason():
    ends = {"right_above_wrong_low": 0.35, "right_above_wrong_high": 0.65}
    chance = {"right_above_wrong": 0.5, "verdict": "no"} | ends
    rows = models(
        {"task": "a"},
        {"task": "b", "verdict": "doubtful", "objection": "right in fewer than 0.75"},
        {"task": "c", "objection": "no better than chance", **chance},
        {"task": "d", **EMPTY},
        {"task": "e", "objection": "no train pairs", "train": 0},
    )
    assert models_answer(rows) == [
        "In m, 1 of 5 tasks is worth studying: a (90 % [77, 96]). Doubtful: b (90 % "
        "[77, 96], right in fewer than 0.75). Not worth studying: c (50 % [35, 65], no "
        "better than chance). d has no pairs. e has no train pairs."
    ]
    assert [*right_shares(rows)] == ["m, a", "m, b", "m, c", "m, e"]
    assert models_answer(models({"task": "d", **EMPTY})) == [
        "In m, no task is worth studying. d has no pairs."
    ]


def top(*rows):
    names = ("task", "method", "rank", "node", "score", "low", "high")
    return pl.DataFrame(
        rows, schema={name: TOP_NODES[name] for name in names}, orient="row"
    )


def test_the_highest_nodes_are_counted_over_tasks():
    rows = top(
        ("a", "nap", 1, "m5", 0.5, 0.4, 0.6),
        ("a", "nap", 2, "a0.h1", 0.2, 0.1, 0.3),
        ("a", "nap", 9, "a0.h2", -0.2, -0.3, -0.1),
        ("b", "nap", 1, "m5", 0.5, -0.1, 0.6),
        ("c", "nap", 1, "a1.h0", 0.5, 0.1, 0.6),
        ("d", "nap", None, None, None, None, None),
    )
    (both,) = nodes_answer(rows.filter(pl.col("task").is_in(["a", "b"])), target="m")
    assert both.startswith("In m by nap, m5 has the highest score on both tasks;")
    assert nodes_answer(rows, target="m") == [
        "In m by nap, m5 has the highest score on 2 of 3 tasks, a1.h0 on 1; not shown "
        "to be above 0 on b."
    ]
    assert nodes_table(rows).frame.rows()[0] == ("a", "nap", "m5 a0.h1", "a0.h2")
    assert nodes_table(rows).frame.rows()[1] == ("b", "nap", "m5?", None)


def test_the_highest_node_of_one_task_has_its_score():
    one = ("a", "nap", 1, "m5", 0.5, 0.4, 0.6)
    assert nodes_answer(top(one), target="m") == [
        "In m by nap, m5 has the highest score on a, 0.50 [0.40, 0.60], with the 95 % "
        "interval above 0."
    ]
    unknown = (*one[:5], None, None)
    assert nodes_answer(top(unknown), target="m") == [
        "In m by nap, m5 has the highest score on a, 0.50, not shown to be above 0."
    ]
    assert nodes_answer(top(), target="m") == [
        "No node of m has a score: no task has usable train pairs."
    ]


COSTS = pl.DataFrame(
    {
        "stage": ["attribute_nodes", "evaluate_gold", "all"],
        "model": ["m", "m", ""],
        "jobs": [1, 2, 3],
        "forwards": [1, 1200, 1201],
        "forward_backwards": [1, 0, 1],
        "gigaFLOP": [30.0, 10.0, 40.0],
        "seconds_computing": [1.0, 599.0, 600.0],
    }
)


def test_costs_are_summed_with_their_units():
    nothing = pl.DataFrame(schema=BREAK_EVEN_SCHEMA)
    assert costs_answer(COSTS, nothing) == [
        "3 jobs ran models: 1,201 forward passes and 1 forward and backward pass, 40 "
        "gigaFLOP, 10 min of computing."
    ]
    assert costs_answer(COSTS.clear(), nothing) == ["No stage ran a model."]
    assert shares(COSTS) == {
        "attribute_nodes, m": (0.75, "75 %"),
        "evaluate_gold, m": (0.25, "25 %"),
    }
    assert costs_overview(COSTS).frame.columns[-2:] == ["gigaFLOP", "seconds_computing"]


REJECTS = pl.DataFrame(
    {
        **{"model": ["m"], "task": ["d"], "reason": ["no '...'"]},
        **{"example": ["no 'with'"], "rows": [3]},
    }
)


def test_nothing_left_out_is_said_so():
    found = left_out(models({"task": "ioi"}), REJECTS.clear(), study.summary()[1])
    assert omissions_answer(found) == [NOTHING]


def test_everything_left_out_is_named_with_its_number():
    areas = study.summary()[1].with_columns(
        cpr=pl.when(pl.col("task") != "ioi").then("cpr"),
        collapsed=(pl.col("training_set") == "only-ioi")
        & (pl.col("control") == "none"),
    )
    rows = models(
        {"task": "a", "distinct_test": 1},
        {"task": "b", "distinct_test": 9},
        {"task": "d", **EMPTY},
    )
    found = left_out(rows, REJECTS, areas)
    assert omissions_answer(found) == [
        "3 rows were rejected (counted in every model), of d (m); most often: no "
        "'with'.",
        "Empty cells: d (m: no train and no test pairs). Without train pairs no "
        "circuit is found, without test pairs none is measured.",
        "Faithfulness is undefined where the corrupted prompts do not change what the "
        "model answers: ioi (big_model).",
        "All test pairs are the same two prompts, so that there is no interval: a (m).",
        "Intervals are rough where distinct test pairs are few: b (m: 9).",
        # A fit of every method and seed, whatever task it was measured on.
        "6 fits collapsed, so that their rankings mean little: small_model → big_model "
        "by exact and small_model → big_model by nap.",
    ]
    assert rejected_shares(rows) == {
        **{f"m, {task}": (1.0, "80 of 80") for task in "ab"},
        "m, d": (0.0, "0 of 3"),
    }
