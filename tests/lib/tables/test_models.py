"""What models can do: verdicts, their table, and the text of a preflight."""

import polars as pl
import pytest

from circuit_transfer.circuits.baseline import baseline_measures
from circuit_transfer.tables.layouts import rejects_summary_table
from circuit_transfer.tables.models import FEW_PAIRS, models_table, objection, verdict
from circuit_transfer.tables.preflight import preflight_text

SHAPE = {"architecture": "llama", "layers": 1, "heads": 2, "nodes": ["a", "b", "c"]}
COUNTS = {"train": 7, "test": 30, "rejected": 2}
COUNTS |= {"distinct_train": 5, "distinct_test": 30}
NOTHING = baseline_measures([], [], [], [])


def baseline(right=30, of=30, clean=2.0, corrupted=-2.0, spread=0.0, said=False):
    """Return the measures of pairs of which some are right, with a mean effect.

    With a spread, corruption raises the difference of every other pair by as much. The
    right answer is the most likely token of all pairs, `said`, or of none.
    """
    # The mean of the differences is that of `clean` where all are right.
    diffs = [clean] * right + [-0.001] * (of - right)
    others = [corrupted + spread * (-1) ** number for number in range(of)]
    return baseline_measures([said] * of, diffs, others, range(of))


@pytest.mark.parametrize(
    ("measured", "expected", "against"),
    [
        (baseline(), "yes", None),
        # Accuracy over the vocabulary is 0 in all of these.
        (baseline(right=23), "yes", None),
        (baseline(right=22), "doubtful", "better than chance, below 0.75"),
        (baseline(right=21), "doubtful", "better than chance, below 0.75"),
        # The interval of 20 of 30 begins below one half.
        (baseline(right=20), "no", "no better than chance"),
        (baseline(right=3), "no", "no better than chance"),
        (baseline(corrupted=2.0), "no", "no effect of corruption"),
        (baseline(corrupted=3.0), "no", "no effect of corruption"),
        # The mean effect is .1, of a standard error of about 1.
        (
            baseline(corrupted=1.9, spread=5.0),
            "doubtful",
            "unclear effect of corruption",
        ),
        # Of a single pair no interval is known, and one of one may be chance.
        (baseline(right=0, of=1), "no", "no better than chance"),
        *((baseline(right=n, of=n), "doubtful", FEW_PAIRS) for n in (1, 3)),
        (baseline(right=3, of=3, corrupted=2.0), "no", "no effect of corruption"),
        (baseline(right=4, of=4), "yes", None),
        (NOTHING, None, "no test pairs"),
    ],
)
def test_a_verdict_follows_from_shares_and_intervals(measured, expected, against):
    assert verdict(measured) == expected
    test = COUNTS | {"test": measured["pairs"]}
    assert objection(measured, test) == against


def test_without_pairs_of_a_split_that_is_what_speaks_against_a_task():
    assert objection(baseline(), COUNTS | {"train": 0}) == "no train pairs"
    assert objection(NOTHING, COUNTS | {"train": 0, "test": 0}) == "no pairs"


def test_every_model_has_a_row_for_every_task_in_order():
    models = {"big": SHAPE, "small": SHAPE}
    cells = [("big", "ioi"), ("big", "add"), ("small", "ioi"), ("small", "add")]
    baselines = dict.fromkeys(cells, baseline(right=24)) | {("small", "add"): NOTHING}
    counts = dict.fromkeys(cells, COUNTS) | {("small", "add"): COUNTS | {"test": 0}}
    table = models_table(models, baselines, counts)
    rows = table.frame.to_dicts()
    assert [(row["model"], row["task"]) for row in rows] == cells
    assert (rows[0]["layers"], rows[0]["heads"], rows[0]["nodes"]) == (1, 2, 3)
    assert rows[0].items() >= COUNTS.items()
    assert (rows[0]["pairs"], rows[0]["distinct"]) == (30, 30)
    assert rows[0]["right_above_wrong"] == 0.8
    assert (rows[0]["accuracy"], rows[0]["corrupted_logit_diff"]) == (0.0, -2.0)
    assert rows[0]["logit_diff"] == pytest.approx((24 * 2 - 6 * 0.001) / 30)
    assert 0 < rows[0]["logit_diff_half_width"] < 1
    assert (rows[0]["verdict"], rows[3]["verdict"]) == ("yes", None)
    assert (rows[3]["pairs"], rows[3]["accuracy"]) == (0, None)
    assert "add (small) has no test pairs. Where a file has no column" in table.note
    del baselines["small", "add"], counts["small", "add"]
    assert "Without train pairs" not in models_table(models, baselines, counts).note


def test_a_study_of_empty_cells_alone_has_the_same_columns():
    cell = ("big", "ioi")
    full = models_table({"big": SHAPE}, {cell: baseline()}, {cell: COUNTS})
    none = models_table({"big": SHAPE}, {cell: NOTHING}, {cell: COUNTS | {"test": 0}})
    assert none.frame.schema == full.frame.schema


def preflight(baselines, counts, rejects):
    cells = {("big", task): each for task, each in counts.items()}
    found = {("big", task): each for task, each in baselines.items()}
    table = models_table({"big": SHAPE}, found, cells)
    reasons = rejects_summary_table({("big", t): each for t, each in rejects.items()})
    # As they are read again.
    frames = (pl.read_csv(each.frame.write_csv().encode()) for each in (table, reasons))
    return preflight_text(*frames)


def test_a_preflight_says_which_tasks_are_worth_studying_and_why_others_are_not():
    tasks = {
        "ioi": baseline(said=True),
        "own": baseline(right=24),
        "mcqa": baseline(right=22, said=True),
        "guess": baseline(right=15, said=True),
        "same": baseline(corrupted=2.0, said=True),
        "lost": NOTHING,
        "untrained": baseline(said=True),
    }
    counts = dict.fromkeys(tasks, COUNTS | {"rejected": 0})
    counts["own"] = COUNTS | {"rejected": 3}
    counts["lost"] = COUNTS | {"train": 0, "test": 0, "rejected": 60}
    counts["untrained"] = COUNTS | {"train": 0, "rejected": 0}
    lost = ["answer: 'a' is lost", "answer: 'b' is lost", "answer is empty"]
    frame = pl.DataFrame({"file": "x.csv", "row": [1, 2, 3], "reason": lost})
    text = preflight(tasks, counts, {"own": frame, "lost": frame[2:]})
    head, *rows, empty = text.splitlines()[:9]
    assert head.split() == [
        *("model", "task", "pairs", "accuracy", "right", ">", "wrong"),
        *("logit", "diff", "corrupted", "verdict", "rejected"),
    ]
    assert [row.split()[1] for row in rows] == [*tasks]
    own = ["big", "own", "30", "0.00", "0.80", "1.60", "-2.00", "yes", "3"]
    assert rows[1].split() == own
    assert rows[5].split() == ["big", "lost", "0", *"-----", "60"]
    assert empty == ""
    assert text.splitlines()[9:] == [
        "Worth studying in big: ioi, own.",
        "  own: another token is the most likely one (accuracy 0.00): check that the "
        "answers begin as the model writes them, with their space; 3 of 40 rows "
        "rejected, most like this one: answer: 'a' is lost",
        "Doubtful in big: mcqa.",
        "  mcqa: better than chance, below 0.75"
        " (right above wrong in 0.73 of 30 pairs)",
        "Not worth studying in big: guess, same, lost, untrained.",
        "  guess: no better than chance (right above wrong in 0.50 of 30 pairs)",
        "  same: no effect of corruption (logit difference 2.00, then 2.00)",
        "  lost: no pairs; 60 of 60 rows rejected, most like this one: answer is empty",
        "  untrained: no train pairs",
    ]


def test_a_preflight_of_empty_cells_alone_can_be_printed():
    counts = {"lost": COUNTS | {"train": 0, "test": 0, "rejected": 0}}
    text = preflight({"lost": NOTHING}, counts, {})
    assert text.endswith("Not worth studying in big: lost.\n  lost: no pairs")


def test_models_that_were_made_from_others_have_their_origin():
    cells = [("big", "ioi"), ("slim", "ioi")]
    lineage = {"relation": "pruned", "parent": "big", "teacher": "big"}
    models = {"big": SHAPE, "slim": SHAPE | {"lineage": lineage}}
    found = dict.fromkeys(cells, baseline())
    table = models_table(models, found, dict.fromkeys(cells, COUNTS))
    assert table.frame["origin"].to_list() == [
        None,
        "pruned from big, distilled from big",
    ]
    assert table.labels == 7 and "origin: " in table.note
    plain = models_table({"big": SHAPE}, {cells[0]: baseline()}, {cells[0]: COUNTS})
    assert "origin" not in plain.frame.columns and plain.labels == 6
