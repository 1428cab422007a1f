"""The tables against hand computation on a study with known answers."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import synthetic_study as study
from polars.testing import assert_frame_equal

from circuit_transfer.tables import curve_areas, regime, summarise
from circuit_transfer.tables.comparisons import comparisons_table, maps_table
from circuit_transfer.tables.curves import (
    imported_rankings,
    log_size_area,
    named_rows,
)
from circuit_transfer.tables.explanations import (
    CONTROL_EXPLANATIONS,
    MAP_EXPLANATIONS,
    explain,
)
from circuit_transfer.tables.imported import imported_table
from circuit_transfer.tables.layouts import (
    rejects_summary_table,
    rejects_table,
    statistics_columns,
)
from circuit_transfer.tables.measures import agreed_best
from circuit_transfer.tables.scaling import scaling
from circuit_transfer.tables.statistics import study_statistics
from circuit_transfer.tables.transfers import controls_table, leaderboard
from circuit_transfer.tables.typesetting import (
    QUALIFIERS,
    Table,
    shown_lines,
    to_csv,
    to_html,
    to_tex,
    write_table,
)

ROOT = Path(__file__).parents[3]
MIB_PROPORTIONS = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0]
MODELS = {"source": study.SOURCE, "target": study.TARGET}


@pytest.fixture(scope="module")
def summary():
    return study.summary()


@pytest.fixture(scope="module")
def statistics():
    return study.statistics()[0]


def test_areas_have_their_closed_forms():
    size = len(MIB_PROPORTIONS)
    assert curve_areas(MIB_PROPORTIONS, [1.0] * size) == pytest.approx((0.999, 0.0))
    # Worthless until the last size: a triangle of base .5 and height 1.
    worthless = [0.0] * (size - 1) + [1.0]
    assert curve_areas(MIB_PROPORTIONS, worthless) == pytest.approx((0.25, 0.749))
    # Above 1 CPR keeps growing, and CMD counts it as far from the model as below.
    assert curve_areas(MIB_PROPORTIONS, [1.5] * size) == pytest.approx((1.4985, 0.4995))


def test_areas_over_log_size_have_their_closed_forms():
    sizes = [0.001, 0.01, 0.1, 0.5, 1.0]
    constant = np.full(5, 0.7)
    assert log_size_area(constant, sizes) == pytest.approx(0.7)
    # A straight line over the logarithm, from 0 to 1: a triangle, of half the area.
    rising = np.log(np.array(sizes) / sizes[0]) / np.log(sizes[-1] / sizes[0])
    assert log_size_area(rising, sizes) == pytest.approx(0.5)
    # Right from a hundredth of the nodes on: 2.5 of the 3 decades.
    step = np.array([False, True, True, True, True])
    assert log_size_area(step, sizes) == pytest.approx(2.5 / 3)
    columns = np.stack([constant, rising, step], axis=1)
    areas = log_size_area(columns, sizes, axis=0)
    assert areas == pytest.approx([0.7, 0.5, 2.5 / 3])


def test_every_circuit_has_its_accuracy_areas_and_its_largest_faithfulness():
    peak = study.gold_frame("ioi", "nap").with_columns(
        faithfulness=pl.Series([0.0, 1.3, 0.9, 1.0]),
        # Right on none, a quarter, half and all of the examples; 0 is not above.
        logit_diffs=pl.Series([[-1.0, 0.0, -1.0, 0.0], [1.0, 0.0, -1.0, 0.0]])
        .append(pl.Series([[1.0, 2.0, -1.0, 0.0], [1.0] * 4]))
        .cast(pl.List(pl.Float32)),
    )
    curves, cpr = summarise([peak], [], [], **study.NAMES)
    assert curves["right_above_wrong"].to_list() == [0.0, 0.25, 0.5, 1.0]
    (row,) = cpr.to_dicts()
    assert row["max_faithfulness"] == 1.3
    # Three decades of equal weight, each with the mean of its ends.
    assert row["right_above_wrong_area"] == pytest.approx((0.125 + 0.375 + 0.75) / 3)
    assert row["accuracy_area"] == pytest.approx((0.05 + 0.3 + 0.74) / 3)


def test_areas_need_a_curve():
    with pytest.raises(ValueError, match="must increase"):
        curve_areas([0.1, 0.1, 1.0], [0, 0, 1])
    with pytest.raises(ValueError, match="one faithfulness per proportion"):
        curve_areas([0.1, 1.0], [1.0])
    with pytest.raises(ValueError, match="at least two"):
        curve_areas([1.0], [1.0])


@pytest.mark.parametrize(
    ("training_set", "expected"),
    [
        ("all", "all"),
        ("only-addition", "in-distribution"),
        ("only-subtraction", "near-distribution"),
        ("only-ioi", "transfer"),
        ("without-addition", "zero-shot"),
        ("without-family-arithmetic", "zero-shot-family"),
    ],
)
def test_regimes_of_training_sets(training_set, expected):
    assert regime(training_set, "addition", **study.NAMES) == expected


@pytest.mark.parametrize(
    "training_set",
    ["without-ioi", "without-family-ioi", "without-family-addition", "everything"],
)
def test_a_training_set_without_meaning_is_refused(training_set):
    with pytest.raises(ValueError, match="without-addition"):
        regime(training_set, "addition", **study.NAMES)


def test_a_circuit_is_listed_under_every_protocol_that_it_serves():
    rows = [
        ("aligned", "ioi", "without-ioi", "none", "zero-shot"),
        ("aligned", "ioi", "without-ioi", "source-free", "control"),
        ("aligned", "addition", "without-addition", "none", "zero-shot"),
        ("aligned", "addition", "without-family-arithmetic", "none", "?"),
        ("aligned", "mine", "without-mine", "none", "zero-shot"),
        ("aligned", "mine", "only-mine", "none", "in-distribution"),
        ("aligned", "ioi", None, "random-alignment", "control"),
        ("gold", "ioi", None, None, "gold"),
        ("random", "ioi", None, None, "random"),
    ]
    columns = ("kind", "task", "training_set", "control", "regime")
    frame = pl.DataFrame(rows, schema=columns, orient="row")
    found = named_rows(frame, study.FAMILIES)
    assert found.select("task", "training_set", "circuit", "protocol").rows() == [
        ("ioi", "without-ioi", "zero-shot", "task"),
        ("ioi", "without-ioi", "zero-shot-family", "family"),
        ("ioi", "without-ioi", "source-free", "task"),
        ("ioi", "without-ioi", "source-free", "family"),
        ("addition", "without-addition", "zero-shot", "task"),
        ("addition", "without-family-arithmetic", "zero-shot-family", "family"),
        ("mine", "without-mine", "zero-shot", "task"),
        ("mine", "without-mine", "zero-shot-family", "family"),
        ("mine", "only-mine", "in-distribution", None),
        ("ioi", None, "random-alignment", None),
        ("ioi", None, "gold", None),
        ("ioi", None, "random-rankings", None),
    ]
    # Where no task has another of its family, the two protocols are one.
    found = named_rows(frame.filter(pl.col("task") != "addition"), {})
    assert found["circuit"].to_list() == [
        *("zero-shot(-family)", "source-free", "zero-shot(-family)"),
        *("in-distribution", "random-alignment", "gold", "random-rankings"),
    ]
    expected = ["task (its family)"] * 3 + [None] * 4
    assert found["protocol"].to_list() == expected


def test_summary_has_one_row_per_circuit(summary):
    curves, cpr = summary
    assert curves.height == cpr.height * len(study.PROPORTIONS)
    kinds = dict(cpr["kind"].value_counts().iter_rows())
    # Per task and method 3 seeds x (6 training sets, 2 controls under each protocol
    # and 1 under none), and without a seed 2 of the other map and 1 control; of ioi,
    # whose protocols share a training set, that set and its controls once.
    aligned = 6 * (3 * (6 + 2 * 2 + 1) + 3) - 2 * (3 * (1 + 2) + 1)
    assert kinds == {"gold": 6, "random": 9, "aligned": aligned}
    one = cpr.filter(
        (pl.col("regime") == "zero-shot") & (pl.col("seed") == 2),
        pl.col("task") == "addition",
        pl.col("method") == "nap",
        pl.col("map") == "free",
    )
    assert one["cpr"].to_list() == pytest.approx([0.999 * 0.63])
    assert one["cmd"].to_list() == pytest.approx([0.999 * 0.37])


def test_summary_does_not_depend_on_the_order_of_files(summary):
    again = summarise(
        study.gold_frames()[::-1],
        study.random_frames()[::-1],
        study.aligned_frames()[::-1],
        **study.NAMES,
    )
    assert again[0].equals(summary[0]) and again[1].equals(summary[1])


def test_summary_of_no_transfer_and_of_nothing():
    curves, cpr = summarise(study.gold_frames(), [], [], siblings=[], families={})
    assert set(cpr["kind"]) == {"gold"} and curves["source"].is_null().all()
    assert [
        frame.height for frame in summarise([], [], [], siblings=[], families={})
    ] == [0, 0]


def test_a_curve_without_faithfulness_has_no_area():
    frame = study.gold_frame("ioi", "nap").with_columns(faithfulness=None)
    _, cpr = summarise([frame], [], [], siblings=[], families={})
    assert cpr["cpr"].to_list() == [None] and cpr["cmd"].to_list() == [None]


def test_a_curve_that_was_given_twice_is_named():
    frame = study.gold_frame("ioi", "nap")
    with pytest.raises(ValueError, match="'target': 'big_model', 'task': 'ioi'"):
        summarise([frame, frame], [], [], siblings=[], families={})


def _flat(name, task, faithfulness):
    return study.curve(faithfulness, target=study.TARGET, task=task, method=name)


def test_imported_circuits_have_a_kind_of_their_own(summary):
    both = summarise(
        study.gold_frames(),
        study.random_frames(),
        study.aligned_frames(),
        **study.NAMES,
        # The name of a method is no reason to take it for a gold circuit.
        imported=[_flat("nap", "ioi", 0.9), _flat("mine", "ioi", 1.2)],
    )
    for with_them, without in zip(both, summary, strict=True):
        theirs = with_them.filter(pl.col("kind") == "imported")
        assert with_them.filter(pl.col("kind") != "imported").equals(without)
        assert set(theirs["regime"]) == {"imported"}
    areas = both[1].filter(pl.col("kind") == "imported")
    areas = areas.select("method", "cpr", "cmd").sort("method").rows()
    assert areas[0] == ("mine", pytest.approx(0.999 * 1.2), pytest.approx(0.999 * 0.2))
    assert areas[1] == ("nap", pytest.approx(0.999 * 0.9), pytest.approx(0.999 * 0.1))


def _of_edges(frame, *rankings):
    """Frames of rankings of edges as `evaluate_imported` writes them."""
    return pl.concat(
        frame.with_columns(
            pl.lit(ranking).alias("ranking"),
            own_size=ranking is None,
            n_edges=pl.lit(7),
            faithfulness=pl.col("faithfulness") - place / 10,
            seed=pl.lit(None, pl.Int64),
        )
        for place, ranking in enumerate(rankings)
    )


def _imported_table(imported, circuits):
    frames = {
        "gold": [frame for frame in study.gold_frames() if frame["method"][0] == "nap"],
        "random": study.random_frames(),
    }
    frames["gold"] += [_flat("exact", task, 0.5) for task in study.TASKS]
    curves, cpr = summarise(**frames, imported=imported, aligned=[], **study.NAMES)
    frames["imported"] = [imported_rankings(frame) for frame in imported]
    named = study.named_frames(**frames)
    statistics, _ = study_statistics(study.named_cpr(cpr), named, resamples=50)
    return imported_table(statistics, curves, circuits=circuits, methods=study.METHODS)


def test_imported_table_compares_on_the_same_target_and_task():
    circuits = {
        "mine": {"target": study.TARGET, "task": "addition"},
        "no-pairs": {"target": study.TARGET, "task": "ioi"},
        "elsewhere": {"target": "other", "task": "ioi"},
    }
    imported = [_flat("mine", "addition", 1.2), _flat("nap", "ioi", 0.9)]
    table = _imported_table(imported, circuits)
    rows = table.frame.rows()
    assert len(rows) == 3 * (1 + 2 + 1)
    assert [row[:5] for row in rows[:5]] == [
        ("mine", "big_model", "addition", "imported", "nodes"),
        ("mine", "big_model", "addition", "gold, nap", "nodes"),
        ("mine", "big_model", "addition", "gold, exact", "nodes"),
        ("mine", "big_model", "addition", "random-rankings", "nodes"),
        # Nothing measured.
        ("no-pairs", "big_model", "ioi", "imported", None),
    ]
    levels = [1.2, study.level("gold", "addition"), 0.5]
    levels.append(study.level("random-rankings", "addition"))
    assert [row[5] for row in rows[:4]] == pytest.approx([0.999 * v for v in levels])
    distances = [0.999 * abs(1 - v) for v in levels]
    assert table.frame["cmd"][:4].to_list() == pytest.approx(distances)
    assert table.frame["cpr_exaggerates"][:4].to_list() == [True, False, False, False]
    assert (table.frame["cpr_half_width"][:4] > 0).all()
    assert (table.frame["cmd_half_width"][:4] > 0).all()
    assert (table.frame["right_above_wrong_area"][:2] == 1).all()
    # Nothing measured for the second; the third's target has no gold circuits either.
    # An imported circuit with the name of a method is no gold one.
    assert set(rows[4][5:]) == {None}
    assert rows[5][5] == pytest.approx(study.cell("gold", "ioi"))
    assert {value for row in rows[8:] for value in row[5:]} == {None}
    blocks = [line.opens_block for line in shown_lines(table)]
    assert blocks == [True, False, False, False] * 3


def test_imported_table_of_edges():
    place = {"target": study.TARGET, "task": "ioi"}
    circuits = dict.fromkeys(("theirs", "one", "theirs2"), place)
    one = _of_edges(_flat("one", "ioi", 0.8).tail(1), None)
    imported = [
        _of_edges(_flat("theirs", "ioi", 1.0), "signed", "absolute"),
        one.with_columns(proportion=0.25),
        _of_edges(_flat("theirs2", "ioi", 0.4), "signed"),
    ]
    frame = _imported_table(imported, circuits).frame
    shown = frame.filter(of="edges").select(
        "name", "circuit", "cpr", "share", "faithfulness"
    )
    assert shown.rows() == [
        ("theirs", "imported, signed", pytest.approx(0.999), None, None),
        ("theirs", "imported, absolute", pytest.approx(0.999 * 0.9), None, None),
        ("one", "imported", None, 0.25, pytest.approx(0.8)),
        ("theirs2", "imported, signed", pytest.approx(0.999 * 0.4), None, None),
    ]
    assert len(frame) == 4 + 3 * 3


def _row(table, **labels):
    """The row with some labels; of the CPR where the table has all measures."""
    if "measure" in table.frame.columns:
        labels = {"measure": "CPR"} | labels
    return table.frame.row(
        by_predicate=pl.all_horizontal(
            pl.col(name) == label for name, label in labels.items()
        ),
        named=True,
    )


REGIMES = ["gold", "in-distribution", "zero-shot", "zero-shot-family"]


@pytest.mark.parametrize("method", study.METHODS)
@pytest.mark.parametrize("row", REGIMES)
def test_leaderboard_cells(statistics, method, row):
    table = leaderboard(statistics, **MODELS, tasks=study.TASKS, maps=study.by_method())
    shown = _row(table, method=method, circuit=row)
    expected = [study.cell(row, task) for task in study.TASKS]
    assert [shown[task] for task in study.TASKS] == pytest.approx(expected)
    assert shown["mean"] == pytest.approx(sum(expected) / 3)
    assert shown["n_tasks"] == 3
    spread = None if row == "gold" else pytest.approx(0.999 * 0.02)
    assert shown["seed_deviation"] == spread


def test_intervals_are_those_of_the_statistics(statistics):
    table = leaderboard(
        statistics, **MODELS, tasks=study.TASKS, maps=study.by_method(methods=["nap"])
    )
    level = statistics.filter(
        row="level", method="nap", circuit="zero-shot", map="free", task="mean"
    )
    low, high = level.select("cpr_low", "cpr_high").row(0)
    shown = _row(table, circuit="zero-shot")
    assert shown["mean_half_width"] == pytest.approx((high - low) / 2)
    assert low < shown["mean"] < high
    line, *_ = [line for line in shown_lines(table) if line.texts[2] == "zero-shot"]
    assert line.texts[-2:] == [f"0.61 ± {(high - low) / 2:.2f}", "0.020"]
    assert rf"0.61 $\pm$ {(high - low) / 2:.2f}" in to_tex(table)


def test_leaderboard_leaves_cells_empty(statistics):
    methods = [*study.METHODS, "x"]
    table = leaderboard(
        statistics, **MODELS, tasks=study.TASKS, maps=study.by_method(methods=methods)
    )
    near = _row(table, method="nap", circuit="near-distribution")
    assert near["ioi"] is None and near["n_tasks"] == 2
    assert near["mean"] == pytest.approx(0.999 * (0.51 + 0.52) / 2)
    gold = _row(table, method="x", circuit="gold")
    assert set(gold.values()) == {"x", "CPR", "gold", None, 0}
    texts = [line.texts for line in shown_lines(table)]
    assert texts[3][2:4] == ["near-distribution", "-"]
    assert texts[3][-2].startswith("0.51 ± ") and texts[3][-2].endswith(" (2/3)")
    assert texts[-1][3:] == ["-"] * 5


def test_collapsed_fits_are_counted_and_warned_of(statistics):
    is_collapsed = (
        pl.col("training_set").eq_missing("only-addition")
        & pl.col("seed").is_in([0, 2])
        & pl.col("control").eq_missing("none")
        & (pl.col("task") == "addition")
    )
    frames = [
        frame.with_columns(collapsed=is_collapsed) for frame in study.aligned_frames()
    ]
    cpr = summarise(study.gold_frames(), [], frames, **study.NAMES)[1]
    assert cpr["collapsed"].sum() == 2 * len(study.METHODS)
    found = study_statistics(study.named_cpr(cpr), [], resamples=10)[0]
    table = leaderboard(
        found, **MODELS, tasks=study.TASKS, maps=study.by_method(methods=["nap"])
    )
    assert "WARNING, collapsed fits: training ended with a mask that is closed, or" in (
        table.note
    )
    assert "in-distribution by nap on addition: 2." in table.note
    assert "collapsed fits" in to_html(table, title="t").lower()
    counts = dict(table.frame.select("circuit", "collapsed_fits").iter_rows())
    assert counts["in-distribution"] == 2
    assert counts["gold"] is None
    # Where nothing collapsed, nothing is said.
    table = leaderboard(
        statistics, **MODELS, tasks=study.TASKS, maps=study.by_method(methods=["nap"])
    )
    assert "ollapsed" not in table.note
    assert "collapsed_fits" not in table.frame.columns


def test_random_circuits_are_named_by_what_they_are(statistics):
    names = {"tasks": study.TASKS, "maps": study.by_method(methods=["nap"])}
    without = statistics.filter(pl.col("circuit") != "random-alignment")
    for frame, name in ((statistics, "random-alignment"), (without, "random-rankings")):
        table = leaderboard(frame, **MODELS, **names)
        assert table.frame["circuit"][0] == name and name in table.explanations
        shown = _row(table, circuit=name)["ioi"]
        assert shown == pytest.approx(study.cell(name, "ioi"))
        pairs = {"transfers": [MODELS], "maps": study.by_method(methods=["nap"])}
        table = scaling(frame, task="ioi", **pairs)
        assert table.frame[name][0] == pytest.approx(study.cell(name, "ioi"))
        assert name in table.explanations


def test_all_measures_stand_in_a_block_each(statistics):
    table = leaderboard(statistics, **MODELS, tasks=study.TASKS, maps=study.by_method())
    opening = [line.texts[:2] for line in shown_lines(table) if line.opens_block]
    assert opening[:4] == [
        *(["nap", "CPR"], ["", "CMD"], ["", "accuracy area"]),
        ["exact", "CPR"],
    ]
    cmd = _row(table, method="nap", circuit="zero-shot", measure="CMD")
    expected = [0.999 - study.cell("zero-shot", task) for task in study.TASKS]
    assert [cmd[task] for task in study.TASKS] == pytest.approx(expected)
    assert cmd["seed_deviation"] == pytest.approx(0.999 * 0.02)
    level = statistics.filter(
        row="level", method="nap", circuit="zero-shot", map="free", task="ioi"
    )
    area = _row(table, method="nap", circuit="zero-shot", measure="accuracy area")
    assert area["ioi"] == level["right_above_wrong_area"].item()
    assert {"CPR", "CMD", "accuracy area"} <= table.explanations.keys()


def test_a_circuit_that_exaggerates_is_marked_beside_its_cpr(statistics):
    is_gold = (pl.col("circuit") == "gold") & (pl.col("task") == "ioi")
    frame = statistics.with_columns(
        max_faithfulness=pl.when(is_gold).then(1.06).otherwise(1.05)
    )
    names = {"tasks": study.TASKS, "maps": study.by_method(methods=["nap"])}
    table = leaderboard(frame, **MODELS, **names)
    column = table.frame.filter(circuit="gold")["ioi_exaggerates"]
    assert column.to_list() == [True, None, None]
    assert table.frame.filter(circuit="zero-shot")["ioi_exaggerates"][0] is False
    lines = [line.texts for line in shown_lines(table) if line.texts[2] == "gold"]
    assert [text.endswith("▲") for text in lines[0]].count(True) == 1
    assert lines[0][3].endswith("▲") and "▲" not in "".join(lines[1] + lines[2])
    assert r"$^\triangle$" in to_tex(table) and "▲ the circuit exagg" in table.note
    csv = pl.read_csv(to_csv(table).encode())
    assert csv["ioi_exaggerates"].to_list() == table.frame["ioi_exaggerates"].to_list()
    pairs = {"transfers": [MODELS], "maps": study.by_method(methods=["nap"])}
    shown = scaling(frame, task="ioi", **pairs).frame
    assert shown["gold_exaggerates"].to_list() == [True, None, None]
    controls = controls_table(
        frame, **MODELS, **names, controls=study.by_method(study.CONTROLS)
    )
    assert _row(controls, circuit="gold", left_out="task")["ioi_exaggerates"]
    names = {
        "maps": study.by_method(["free"], ["nap"]),
        "controls": study.by_method([]),
    }
    maps = maps_table(frame, **MODELS, **names)
    assert _row(maps, map="gold", left_out="task")["reference_exaggerates"] is False


def test_controls_stand_under_both_protocols(statistics):
    table = controls_table(
        statistics,
        **MODELS,
        tasks=study.TASKS,
        maps=study.by_method(methods=["nap"]),
        controls=study.by_method(study.CONTROLS),
    )
    own = [*study.CONTROLS, "random-rankings"]
    rows = [("task", row) for row in [*own, "zero-shot", "best-by-CPR", "gold"]]
    rows += [("family", row) for row in [*own, "zero-shot-family", "gold"]]
    of_cpr = table.frame.filter(measure="CPR")
    assert of_cpr.select("left_out", "circuit").rows() == rows
    for left_out, row in rows:
        if row != "best-by-CPR":
            shown = _row(table, left_out=left_out, circuit=row)["subtraction"]
            expected = study.cell(row, "subtraction", left_out)
            assert shown == pytest.approx(expected)
    best = _row(table, circuit="best-by-CPR")["addition"]
    assert best == pytest.approx(study.cell("in-distribution", "addition"))
    lines = list(shown_lines(table))
    assert [line.texts[:3] for line in lines if line.opens_block][:4] == [
        ["nap", "task", "CPR"],
        ["", "", "CMD"],
        ["", "", "accuracy area"],
        ["", "family", "CPR"],
    ]
    assert table.explanations["source-free"] == CONTROL_EXPLANATIONS["source-free"]


def test_a_dagger_marks_what_was_shown_to_be_lower(statistics):
    table = controls_table(
        statistics,
        **MODELS,
        tasks=study.TASKS,
        maps=study.by_method(methods=["nap"]),
        controls=study.by_method(study.CONTROLS),
    )
    of_task = table.frame.filter(left_out="task")
    of_cpr, of_cmd, of_area = (
        dict(of_task.filter(measure=name).select("circuit", "mean_mark").iter_rows())
        for name in ("CPR", "CMD", "accuracy area")
    )
    # Of CMD, where lower is better, the same; all answers are right, but for random.
    assert of_cmd == of_cpr and set(of_area.values()) <= {"", "†"}
    assert of_area["source-free"] == ""
    marks = of_cpr
    # .05 above the first in all nine cells, .15 below the second; three tasks are too
    # few for the test over tasks alone, so there is no double dagger.
    assert marks["source-free"] == "†" and marks["other-family"] == ""
    assert marks["zero-shot"] == marks["gold"] == ""
    assert r"0.56 $\pm$" in to_tex(table) and r"$^\dagger$" in to_tex(table)
    text = next(t for t in shown_lines(table) if t.texts[3] == "source-free").texts[-2]
    assert text.startswith("0.56 ± ") and text.endswith("†")


def test_twice_shown_is_marked_twice(statistics):
    shown = statistics.with_columns(
        p_tasks_holm=pl.when(pl.col("against") == "source-free").then(0.01)
    )
    table = controls_table(
        shown.with_columns(pl.col("p_tasks_holm").fill_null(1.0)),
        **MODELS,
        tasks=study.TASKS,
        maps=study.by_method(methods=["nap"]),
        controls=study.by_method(["source-free", "depth-heuristic"]),
    )
    marks = table.frame.filter(left_out="family")["mean_mark"].to_list()
    assert marks[:2] == ["‡", "†"]


def test_maps_stand_above_what_needs_none(statistics):
    controls = [*study.CONTROLS, "random-source", "ridge"]
    table = maps_table(
        statistics,
        **MODELS,
        maps=study.by_method(study.MAPS, ["nap"]),
        controls=study.by_method(controls),
    )
    free = _row(table, left_out="family", map="free")
    means = {
        column: sum(study.cell(row, task, "family") for task in study.TASKS) / 3
        for column, row in (
            ("real", "zero-shot-family"),
            ("source-free", "source-free"),
            ("other-family", "other-family"),
        )
    }
    assert {column: free[column] for column in means} == pytest.approx(means)
    assert free["random-source"] is None and free["reference"] is None
    assert free["source-free_mark"] == "†" and free["real_mark"] == ""
    prior = _row(table, left_out="task", map="depth-prior")
    assert prior["real"] == pytest.approx(0.999 * 0.65)
    gold = _row(table, left_out="task", map="gold")
    assert gold["real"] is None
    assert gold["reference"] == pytest.approx(0.999 * study.level("gold", "addition"))


def test_maps_stand_beside_the_controls_of_the_study_alone(statistics):
    lists = {"maps": study.by_method(["free"], ["nap"])}
    table = maps_table(
        statistics, **MODELS, **lists, controls=study.by_method(["mean-gold"])
    )
    rows = ["free", "gold", "random-rankings", "mean-gold"]
    # For both protocols, by every measure.
    assert table.frame["map"].to_list() == rows * 2 * 3
    shown = ["method", "left_out", "measure", "map", "real", "reference"]
    columns = [each for each in table.frame.columns if not each.endswith(QUALIFIERS)]
    assert columns == shown
    assert {*table.explanations} == {*rows, "CPR", "CMD", "accuracy area"}
    one = maps_table(
        statistics, **MODELS, **lists, controls=study.by_method(["other-family"])
    )
    assert "other-family" in one.frame.columns and "random-source" not in one.frame


def test_tests_say_yes_no_or_worse(statistics):
    table = comparisons_table(
        statistics, **MODELS, maps=study.by_method(study.MAPS, ["nap"])
    )
    row = _row(table, left_out="task", map="free", against="source-free")
    assert row["mean_difference"] == pytest.approx(0.999 * 0.05)
    assert (row["n_cells"], row["n_tasks"], row["better"]) == (9, 3, "yes")
    # Three tasks allow 2 of 8 patterns of signs, five controls raise that to 1.
    assert row["p_tasks"] == 0.25 and row["p_tasks_holm"] == 1.0
    assert row["better_over_tasks"] == "no"
    assert "below 0.250" in table.note and "5 controls not below 1.000" in table.note
    lower = _row(table, left_out="task", map="free", against="other-family")
    assert lower["better"] == "worse"
    labels = {"left_out": "task", "map": "free", "measure": "CMD"}
    cmd = _row(table, **labels, against="source-free")
    assert cmd["mean_difference"] == pytest.approx(-0.999 * 0.05)
    assert cmd["better"] == "yes"
    assert _row(table, **labels, against="other-family")["better"] == "worse"
    maps = _row(table, left_out="family", map="depth-prior", against="map free")
    assert maps["mean_difference"] == pytest.approx(
        0.999 * (0.05 + 0.09 + 0.09 - 0.01) / 3
    )
    few = _row(table, left_out="family", map="depth-prior", against="depth-heuristic")
    assert (few["n_cells"], few["better"]) == (3, "no")
    assert r"$<$" not in to_tex(table)


def test_protocols_that_are_one_are_shown_once(statistics):
    alone = study.statistics_of_lone_tasks()[0]
    lists = {"tasks": study.TASKS, "maps": study.by_method(methods=["nap"])}
    one, both = "zero-shot(-family)", "task (its family)"
    table, known = (
        leaderboard(each, **MODELS, **lists) for each in (alone, statistics)
    )
    rows = ["random-alignment", "gold", "in-distribution", "near-distribution", one]
    assert table.frame["circuit"].to_list() == rows * 3
    mine, theirs = _row(table, circuit=one), _row(known, circuit="zero-shot")
    assert mine == theirs | {"circuit": one}
    assert "a family by itself" in table.explanations[one]
    assert r"zero-shot(-family)" in to_tex(table)
    # All other numbers and tests are those of leaving out the task.
    named = {"controls": study.by_method(study.CONTROLS)}
    tables = [
        [make(each, **place) for each in (alone, statistics)]
        for make, place in (
            (controls_table, MODELS | lists | named),
            (
                maps_table,
                MODELS | {"maps": study.by_method(study.MAPS, ["nap"])} | named,
            ),
            (
                comparisons_table,
                MODELS | {"maps": study.by_method(study.MAPS, ["nap"])},
            ),
        )
    ]
    for table, known in tables:
        assert table.frame["left_out"].unique().to_list() == [both]
        of_task = known.frame.filter(left_out="task").drop("left_out")
        texts = pl.selectors.string()
        renamed = of_task.with_columns(texts.replace("zero-shot", one))
        assert_frame_equal(table.frame.drop("left_out"), renamed)
    assert "of in-distribution, near-distribution, zero-shot(-family) with the" in (
        tables[0][0].note
    )


def test_small_p_values_are_not_shown_as_none():
    frame = pl.DataFrame({"against": ["a", "b"], "p_tasks": [0.0004, 0.0313]})
    texts = [line.texts for line in shown_lines(Table(frame, labels=1))]
    assert texts == [["a", "<0.001"], ["b", "0.031"]]
    assert r"a & $<$0.001 \\" in to_tex(Table(frame, labels=1))


def test_scaling_cells(statistics):
    other = {"source": "other", "target": study.TARGET}
    table = scaling(
        statistics,
        task="ioi",
        transfers=[MODELS, other],
        maps=study.by_method(methods=["nap"]),
    )
    first, second, cmd, *_ = table.frame.iter_rows(named=True)
    assert first["pair"] == "small_model → big_model"
    assert first["best-by-CPR"] == pytest.approx(study.cell("in-distribution", "ioi"))
    assert first["recovery_percent"] == pytest.approx(100 * 0.7 / 0.8)
    assert 0 < first["recovery_percent_half_width"] < 50
    # The other pair has the target's gold, and nothing aligned to compare with it.
    assert second["gold"] == first["gold"] and second["recovery_percent"] is None
    assert (cmd["measure"], cmd["recovery_percent"]) == ("CMD", None)
    assert cmd["gold"] == pytest.approx(0.999 - first["gold"])
    # One pair has alignments before training, the other has not: rankings of both.
    assert first["random-rankings"] == second["random-rankings"] is not None


def test_every_control_and_map_is_explained():
    from circuit_transfer.transfer.controls import CONTROLS
    from circuit_transfer.transfer.maps import MAPS

    assert set(CONTROLS) <= set(CONTROL_EXPLANATIONS)
    assert set(MAPS) <= set(MAP_EXPLANATIONS)
    assert list(explain(["free", "no-such", "gold", "free"])) == ["free", "gold"]
    for page in ("controls", "workflow"):
        text = (ROOT / f"workflow/report/{page}.rst").read_text()
        assert [name for name in CONTROL_EXPLANATIONS if name not in text] == []


def test_explanations_stand_below_a_page():
    table = Table(_bold_table().frame, labels=2, explanations={"w": "a < b"})
    assert "<dt>w</dt><dd>a &lt; b</dd>" in to_html(table, "t")
    assert "<dl>" not in to_html(_bold_table(), "t")


def test_the_columns_of_the_statistics_are_documented(statistics):
    documented = statistics_columns().frame["column"].to_list()
    assert documented == statistics.columns


REJECTS = pl.DataFrame(
    {
        "file": ["own.csv", "own.csv", "own.csv", None],
        "row": [4, 7, 9, 2],
        "reason": ["12 tokens, 11 fit", "answer is empty", "9 tokens, 8 fit", "odd"],
        "clean": ["a<b", "c", "d", "e"],
    }
)


def test_rejects_table_lists_rows_and_reasons():
    table = rejects_table({("m", "ioi"): REJECTS, ("m", "add"): REJECTS.clear()})
    first = ("m", "ioi", "own.csv", 4, "12 tokens, 11 fit", "a<b")
    assert table.frame.rows()[0] == first
    assert len(table.frame) == 4
    assert "a&lt;b" in to_html(table, "Rejects")
    assert "no rows" in to_html(rejects_table({}), "Rejects")


def test_rejects_are_counted_by_kind_of_reason():
    lost = "answer: {!r} is not in the model's vocabulary"
    words = pl.DataFrame({"row": [10, 11, 12]}).with_columns(
        file=pl.lit("own.csv"),
        reason=pl.Series([lost.format(word) for word in ("hello", "don't", "so")]),
    )
    rejects = pl.concat([REJECTS.drop("clean"), words.select("file", "row", "reason")])
    table = rejects_summary_table({("m", "ioi"): rejects, ("n", "ioi"): rejects[:1]})
    lengths = ("N tokens, N fit", "12 tokens, 11 fit", "own.csv, row 4")
    assert table.frame.rows() == [
        (
            *("m", "ioi", "answer: '...' is not in the model's vocabulary"),
            *(lost.format("hello"), "own.csv, row 10", 3),
        ),
        ("m", "ioi", *lengths, 2),
        ("m", "ioi", "answer is empty", None, "own.csv, row 7", 1),
        ("m", "ioi", "odd", None, "row 2", 1),
        ("n", "ioi", *lengths, 1),
    ]
    assert rejects_summary_table({}).frame.is_empty()


def _bold_table():
    frame = pl.DataFrame(
        {
            "method": ["a_1"] * 4 + ["b"],
            "row": ["w", "x", "y", "z", "w"],
            "ioi": [0.501, 0.499, 0.3, -0.1234567, 0.9],
            "add": [None, 0.2, None, None, None],
            "mean": [0.501, 0.35, 0.3, 0.9, 0.9],
            "n_tasks": [1, 2, 2, 1, 1],
        }
    )
    best = {
        "ioi": [True, True, False, False, False],
        "mean": [False, True, *[False] * 3],
    }
    return Table(frame, labels=2, best=best, covered=("n_tasks", 2))


# CPR, CMD and accuracy area of circuits, one column each.
MEASURED = {
    # The best by all three.
    "agreed": {"a": (0.9, 0.1, 0.8), "b": (0.7, 0.3, 0.6), "c": (0.2, 0.8, 0.3)},
    # The highest CPR, but by exaggeration.
    "exaggerated": {"a": (1.7, 0.75, 0.9), "b": (0.9, 0.1, 0.9), "c": (0, 1, 0.1)},
    # Right answers, but no faithfulness.
    "right": {"a": (0.9, 0.1, 0.5), "b": (0.7, 0.3, 0.9), "c": (0.1, 0.9, 0)},
    # Shown alike, by one measure or by all.
    "tied": {"a": (0.902, 0.1, 0.8), "b": (0.898, 0.3, 0.8), "c": (0.1, 0.9, 0)},
    "twice": {"a": (0.9, 0.1, 0.8), "b": (0.9, 0.1, 0.8), "c": (0.1, 0.9, 0)},
    "equal": {"a": (0.9, 0.1, 0.8), "b": (0.9, 0.1, 0.8), "c": (0.9, 0.1, 0.8)},
    "lone": {"a": (0.9, 0.1, 0.8), "b": (None,) * 3, "c": (None,) * 3},
    "pair": {"a": (0.8, 0.2, 0.8), "b": (0.9, 0.1, 0.9), "c": (None,) * 3},
}


def test_only_the_best_by_all_measures_is_bold():
    names = ("CPR", "CMD", "accuracy area")
    rows = [
        {"method": method, "measure": name, "circuit": circuit}
        | {column: cells[circuit][place] for column, cells in MEASURED.items()}
        for method in ("nap", "other")
        for place, name in enumerate(names)
        for circuit in "abc"
    ]
    frame = pl.DataFrame(rows, infer_schema_length=None)
    found = agreed_best(frame, [*MEASURED], blocks=["method"])
    bold = {
        column: set(frame.filter(best)["circuit"]) for column, best in found.items()
    }
    assert bold == {
        "agreed": {"a"},
        "exaggerated": set(),
        "right": set(),
        "tied": {"a"},
        "twice": {"a", "b"},
        "equal": set(),
        "lone": set(),
        "pair": {"b"},
    }
    assert found["agreed"] == [True, False, False] * 6


def test_the_leaderboard_has_bold_circuits_only_where_all_measures_agree(statistics):
    names = {"tasks": study.TASKS, "maps": study.by_method(methods=["nap"])}
    table = leaderboard(statistics, **MODELS, **names)
    is_gold = (table.frame["circuit"] == "gold").to_list()
    # All aligned circuits are always right, so CPR and CMD decide.
    assert [table.best[task] for task in [*study.TASKS, "mean"]] == [is_gold] * 4
    worse = statistics.with_columns(
        cmd=pl.when(circuit="gold", task="ioi").then(0.75).otherwise("cmd")
    )
    table = leaderboard(worse, **MODELS, **names)
    assert not any(table.best["ioi"]) and table.best["addition"] == is_gold
    assert "none where they disagree" in table.note
    # A mean over fewer tasks is never bold, however high.
    high = pl.when(circuit="near-distribution", task="mean").then(2.0).otherwise("cpr")
    table = leaderboard(statistics.with_columns(cpr=high), **MODELS, **names)
    assert table.best["mean"] == is_gold


def test_tex_is_booktabs_with_marks_and_escapes():
    lines = to_tex(_bold_table()).splitlines()
    assert lines[:2] == [r"\begin{tabular}{llrrr}", r"\toprule"]
    assert lines[4] == r"a\_1 & w & \textbf{0.50} & - & 0.50 (1/2) \\"
    assert lines[5] == r" & x & \textbf{0.50} & 0.20 & \textbf{0.35} \\"
    assert lines[7] == r" & z & $-$0.12 & - & 0.90 (1/2) \\"
    assert lines.count(r"\midrule") == 2


def test_csv_keeps_full_precision_and_empty_cells():
    frame = pl.read_csv(to_csv(_bold_table()).encode())
    assert frame.equals(_bold_table().frame)


def test_html_is_one_file_without_anything_to_load():
    page = to_html(_bold_table(), "CPR of <a> & b")
    assert "<title>CPR of &lt;a&gt; &amp; b</title>" in page
    assert "<b>0.50</b>" in page and "<td>0.30</td>" in page
    assert "src=" not in page and "href" not in page and "http" not in page


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="no pdflatex here")
def test_tex_compiles(tmp_path, statistics):
    board = leaderboard(statistics, **MODELS, tasks=study.TASKS, maps=study.by_method())
    pairs = scaling(
        statistics,
        task="ioi",
        transfers=[MODELS],
        maps=study.by_method(methods=["a&b%#$~^{}\\<†"]),
    )
    write_table(board, tmp_path / "board.tex", title="")
    write_table(pairs, tmp_path / "pairs.tex", title="")
    (tmp_path / "page.tex").write_text(
        r"\documentclass{article}\usepackage{booktabs}\begin{document}"
        r"\input{board} \input{pairs}\end{document}"
    )
    command = ["pdflatex", "-halt-on-error", "page.tex"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)


def test_a_page_of_very_many_rejects_shows_the_first():
    rows = 2500
    rejects = pl.DataFrame(
        {"file": "own.csv", "row": range(rows), "reason": "too long", "clean": "a"}
    )
    table = rejects_table({("small", "own"): rejects})
    assert to_csv(table).count("\n") == rows + 1
    assert to_tex(table).count("too long") == 1000
    page = to_html(table, "Rejected rows")
    assert page.count("too long") == 1000
    assert "1,000 of 2,500 rows are shown; the CSV file has all." in page
    few = rejects_table({("small", "own"): rejects.head(1000)})
    assert "rows are shown" not in to_html(few, "Rejected rows")
