"""The tables against hand computation on a study with known answers."""

import shutil
import subprocess

import polars as pl
import pytest
import synthetic_study as study

from circuit_transfer.tables import curve_areas, regime, summarise
from circuit_transfer.tables.curves import pair_means
from circuit_transfer.tables.layouts import (
    controls_table,
    imported_table,
    leaderboard,
    models_table,
    recovery,
    rejects_summary_table,
    rejects_table,
    scaling,
)
from circuit_transfer.tables.typesetting import (
    Table,
    shown_lines,
    to_csv,
    to_html,
    to_tex,
    write_table,
)

MIB_PROPORTIONS = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0]
PAIR = {"source": study.SOURCE, "target": study.TARGET}


@pytest.fixture(scope="module")
def summary():
    return summarise(
        study.gold_frames(),
        study.random_frames(),
        study.aligned_frames(),
        siblings=study.SIBLINGS,
    )


@pytest.fixture(scope="module")
def cpr(summary):
    return summary[1]


def test_areas_have_their_closed_forms():
    size = len(MIB_PROPORTIONS)
    assert curve_areas(MIB_PROPORTIONS, [1.0] * size) == pytest.approx((0.999, 0.0))
    # Worthless until the last size: a triangle of base .5 and height 1.
    worthless = [0.0] * (size - 1) + [1.0]
    assert curve_areas(MIB_PROPORTIONS, worthless) == pytest.approx((0.25, 0.749))
    # Above 1 CPR keeps growing, and CMD counts it as far from the model as below.
    assert curve_areas(MIB_PROPORTIONS, [1.5] * size) == pytest.approx((1.4985, 0.4995))


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
    ],
)
def test_regimes_of_training_sets(training_set, expected):
    assert regime(training_set, "addition", study.SIBLINGS) == expected


@pytest.mark.parametrize("training_set", ["without-ioi", "everything"])
def test_a_training_set_without_meaning_is_refused(training_set):
    with pytest.raises(ValueError, match="without-addition"):
        regime(training_set, "addition", study.SIBLINGS)


def test_summary_has_one_row_per_circuit(summary):
    curves, cpr = summary
    assert curves.height == cpr.height * len(study.PROPORTIONS)
    kinds = dict(cpr["kind"].value_counts().iter_rows())
    # Per task and method 3 seeds x (5 training sets + 2 controls) + 1 control.
    assert kinds == {"gold": 6, "random": 9, "aligned": 6 * (3 * 7 + 1)}
    one = cpr.filter(
        (pl.col("regime") == "zero-shot") & (pl.col("seed") == 2),
        pl.col("task") == "addition",
        pl.col("method") == "nap",
    )
    assert one["cpr"].to_list() == pytest.approx([0.999 * 0.63])
    assert one["cmd"].to_list() == pytest.approx([0.999 * 0.37])


def test_summary_does_not_depend_on_the_order_of_files(summary):
    again = summarise(
        study.gold_frames()[::-1],
        study.random_frames()[::-1],
        study.aligned_frames()[::-1],
        siblings=study.SIBLINGS,
    )
    assert again[0].equals(summary[0]) and again[1].equals(summary[1])


def test_summary_of_no_transfer_and_of_nothing():
    curves, cpr = summarise(study.gold_frames(), [], [], siblings=[])
    assert set(cpr["kind"]) == {"gold"} and curves["source"].is_null().all()
    assert [frame.height for frame in summarise([], [], [], siblings=[])] == [0, 0]


def test_a_curve_without_faithfulness_has_no_area():
    frame = study.gold_frame("ioi", "nap").with_columns(faithfulness=None)
    _, cpr = summarise([frame], [], [], siblings=[])
    assert cpr["cpr"].to_list() == [None] and cpr["cmd"].to_list() == [None]


def test_a_curve_that_was_given_twice_is_named():
    frame = study.gold_frame("ioi", "nap")
    with pytest.raises(ValueError, match="'target': 'big_model', 'task': 'ioi'"):
        summarise([frame, frame], [], [], siblings=[])


def _flat(name, task, faithfulness):
    return study.curve(faithfulness, target=study.TARGET, task=task, method=name)


def test_imported_circuits_have_a_kind_of_their_own(summary):
    both = summarise(
        study.gold_frames(),
        study.random_frames(),
        study.aligned_frames(),
        siblings=study.SIBLINGS,
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
    # Nor do they change what a pair's tables show.
    tables = [
        leaderboard(cpr, **PAIR, tasks=study.TASKS, methods=study.METHODS)
        for cpr in (both[1], summary[1])
    ]
    assert tables[0].frame.equals(tables[1].frame)


def test_imported_table_compares_on_the_same_target_and_task():
    nap = [frame for frame in study.gold_frames() if frame["method"][0] == "nap"]
    exact = [_flat("exact", task, 0.5) for task in study.TASKS]
    _, cpr = summarise(
        nap + exact,
        study.random_frames(),
        study.aligned_frames(),
        siblings=study.SIBLINGS,
        imported=[_flat("mine", "addition", 1.2)],
    )
    circuits = {
        "mine": {"target": study.TARGET, "task": "addition"},
        "no-pairs": {"target": study.TARGET, "task": "ioi"},
        "elsewhere": {"target": "other", "task": "ioi"},
    }
    table = imported_table(cpr, circuits=circuits, methods=study.METHODS)
    rows = table.frame.rows()
    assert len(rows) == 3 * (1 + 2 + 1)
    assert [row[:4] for row in rows[:4]] == [
        ("mine", "big_model", "addition", "imported"),
        ("mine", "big_model", "addition", "gold, nap"),
        ("mine", "big_model", "addition", "gold, exact"),
        ("mine", "big_model", "addition", "random-rankings"),
    ]
    levels = [1.2, study.level("gold", "addition"), 0.5]
    levels.append(study.level("random-rankings", "addition"))
    assert [row[4] for row in rows[:4]] == pytest.approx([0.999 * v for v in levels])
    distances = [0.999 * abs(1 - v) for v in levels]
    assert [row[5] for row in rows[:4]] == pytest.approx(distances)
    # Nothing measured for the second; the third's target has no gold circuits either.
    assert rows[4][4:] == (None, None) and rows[5][4] is not None
    assert {row[4:] for row in rows[8:]} == {(None, None)}
    blocks = [line.opens_block for line in shown_lines(table)]
    assert blocks == [True, False, False, False] * 3


def _row(table, method, row):
    return table.frame.row(
        by_predicate=(pl.col("method") == method) & (pl.col("circuit") == row),
        named=True,
    )


@pytest.mark.parametrize("method", study.METHODS)
@pytest.mark.parametrize("row", ["gold", "in-distribution", "zero-shot"])
def test_leaderboard_cells(cpr, method, row):
    table = leaderboard(cpr, **PAIR, tasks=study.TASKS, methods=study.METHODS)
    shown = _row(table, method, row)
    expected = [study.cell(row, task) for task in study.TASKS]
    assert [shown[task] for task in study.TASKS] == pytest.approx(expected)
    assert shown["mean"] == pytest.approx(sum(expected) / 3)
    assert shown["n_tasks"] == 3


def test_leaderboard_leaves_cells_empty(cpr):
    table = leaderboard(cpr, **PAIR, tasks=study.TASKS, methods=[*study.METHODS, "x"])
    near = _row(table, "nap", "near-distribution")
    assert near["ioi"] is None and near["n_tasks"] == 2
    assert near["mean"] == pytest.approx(0.999 * (0.51 + 0.52) / 2)
    assert set(_row(table, "x", "gold").values()) == {"x", "gold", None, 0}
    texts = [line.texts for line in shown_lines(table)]
    assert texts[3][1:3] == ["near-distribution", "-"] and texts[3][-1] == "0.51 (2/3)"
    assert texts[-1][2:] == ["-"] * 4


def test_random_is_the_untrained_alignment_or_else_rankings(cpr):
    table = leaderboard(cpr, **PAIR, tasks=study.TASKS, methods=["nap"])
    shown = _row(table, "nap", "random")["ioi"]
    assert shown == pytest.approx(study.cell("random-alignment", "ioi"))
    assert "untrained alignments." in table.note
    without = cpr.filter(pl.col("control").ne_missing("random-alignment"))
    table = leaderboard(without, **PAIR, tasks=study.TASKS, methods=["nap"])
    shown = _row(table, "nap", "random")["ioi"]
    assert shown == pytest.approx(study.cell("random-rankings", "ioi"))
    assert "random rankings" in table.note


def test_controls_cells(cpr):
    table = controls_table(
        cpr, **PAIR, tasks=study.TASKS, methods=["nap"], controls=study.CONTROLS
    )
    assert table.frame["circuit"].to_list() == [*study.CONTROLS, "zero-shot", "best"]
    for row in study.CONTROLS:
        shown = _row(table, "nap", row)["subtraction"]
        assert shown == pytest.approx(study.cell(row, "subtraction"))
    best = _row(table, "nap", "best")["addition"]
    assert best == pytest.approx(study.cell("in-distribution", "addition"))


def test_best_is_the_best_of_the_three_regimes(cpr):
    # `all` saw the evaluated task beside others: it is none of the three.
    without = cpr.filter(pl.col("regime") != "in-distribution")
    means = pair_means(without, study.SOURCE, study.TARGET)
    assert means["nap", "best", "ioi"] == pytest.approx(study.cell("zero-shot", "ioi"))


def test_scaling_cells(cpr):
    other = {"source": "other", "target": study.TARGET}
    table = scaling(cpr, task="ioi", transfers=[PAIR, other], methods=["nap"])
    first, second = table.frame.iter_rows(named=True)
    assert first["pair"] == "small_model → big_model"
    assert first["best"] == pytest.approx(study.cell("in-distribution", "ioi"))
    assert first["recovery_percent"] == pytest.approx(100 * 0.7 / 0.8)
    # The other pair has the target's gold, and nothing aligned to compare with it.
    assert second["gold"] == first["gold"] and second["recovery_percent"] is None


def test_recovery_needs_a_gold_circuit_that_works():
    assert recovery(0.3, 0.6) == pytest.approx(0.5)
    assert recovery(0.3, 0.0) is recovery(0.3, None) is recovery(None, 1.0) is None


def test_models_table(summary):
    shape = {"architecture": "llama", "layers": 1, "heads": 2, "nodes": ["a", "b", "c"]}
    models = {
        "big_model": {**shape, "accuracy": {"ioi": 0.5}},
        "small_model": {**shape, "accuracy": {"ioi": 0.5}},
        "unknown": shape,
    }
    count = {"train": 7, "test": 3, "rejected": 2}
    counts = {(name, "ioi"): count for name in models}
    table = models_table(models, summary[0], counts)
    # Measured by the evaluation; stated by the description; neither.
    assert table.frame["accuracy"].to_list() == [0.98, 0.5, None]
    assert table.frame.row(0)[:6] == ("big_model", "llama", 1, 2, 3, "ioi")
    assert table.frame.row(0)[-3:] == (7, 3, 2)


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
    assert "nothing to show" in to_html(rejects_table({}), "Rejects")


def test_rejects_are_counted_by_reason_whatever_its_numbers():
    table = rejects_summary_table({("m", "ioi"): REJECTS, ("n", "ioi"): REJECTS[:1]})
    assert table.frame.rows() == [
        ("m", "ioi", "N tokens, N fit", "own.csv, row 4", 2),
        ("m", "ioi", "answer is empty", "own.csv, row 7", 1),
        ("m", "ioi", "odd", "row 2", 1),
        ("n", "ioi", "N tokens, N fit", "own.csv, row 4", 1),
    ]
    assert rejects_summary_table({}).frame.is_empty()


def _ranked_table():
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
    return Table(frame, labels=2, ranked=True, covered=("n_tasks", 2))


def test_marks_follow_the_numbers_that_are_shown():
    lines = list(shown_lines(_ranked_table()))
    # .501 and .499 both show as .50: both are best, and .30 is second.
    assert [line.ranks[2] for line in lines[:4]] == [1, 1, 2, 0]
    # A single value beats nobody, and means over fewer tasks do not compete.
    assert [line.ranks[3] for line in lines[:4]] == [0, 0, 0, 0]
    assert [line.ranks[4] for line in lines[:4]] == [0, 1, 2, 0]
    assert [line.opens_block for line in lines] == [True, False, False, False, True]
    assert lines[4].ranks == [0] * 5


def test_tex_is_booktabs_with_marks_and_escapes():
    lines = to_tex(_ranked_table()).splitlines()
    assert lines[:2] == [r"\begin{tabular}{llrrr}", r"\toprule"]
    assert lines[4] == r"a\_1 & w & \textbf{0.50} & - & 0.50 (1/2) \\"
    assert lines[5] == r" & x & \textbf{0.50} & 0.20 & \textbf{0.35} \\"
    assert lines[7] == r" & z & $-$0.12 & - & 0.90 (1/2) \\"
    assert lines.count(r"\midrule") == 2


def test_csv_keeps_full_precision_and_empty_cells():
    frame = pl.read_csv(to_csv(_ranked_table()).encode())
    assert frame.equals(_ranked_table().frame)


def test_html_is_one_file_without_anything_to_load():
    page = to_html(_ranked_table(), "CPR of <a> & b")
    assert "<title>CPR of &lt;a&gt; &amp; b</title>" in page
    assert "<b>0.50</b>" in page and "<u>0.30</u>" in page
    assert "src=" not in page and "href" not in page and "http" not in page


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="no pdflatex here")
def test_tex_compiles(tmp_path, cpr):
    board = leaderboard(cpr, **PAIR, tasks=study.TASKS, methods=study.METHODS)
    pairs = scaling(cpr, task="ioi", transfers=[PAIR], methods=["a&b%#$~^{}\\"])
    write_table(board, tmp_path / "board.tex", title="")
    write_table(pairs, tmp_path / "pairs.tex", title="")
    (tmp_path / "page.tex").write_text(
        r"\documentclass{article}\usepackage{booktabs}\begin{document}"
        r"\input{board} \input{pairs}\end{document}"
    )
    command = ["pdflatex", "-halt-on-error", "page.tex"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
