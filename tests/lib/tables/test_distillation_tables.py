"""Tables of distilled students, against numbers that are known."""

import polars as pl
import pytest
import synthetic_students as study

from circuit_transfer.distillation.frames import AFTER, MATCHED_COLUMNS
from circuit_transfer.distillation.variants import VARIANTS
from circuit_transfer.tables.distillation import (
    DistillationLevels,
    distillation_table,
    distillation_tests,
)
from circuit_transfer.tables.distillation_statistics import (
    AGAINST,
    METHOD,
    METHOD_AGAINST,
    SCHEMA,
    STUDENT,
    TEACHER,
    distillation_statistics,
)
from circuit_transfer.tables.matched_heads import agreement_table, matched_heads_table
from circuit_transfer.tables.typesetting import shown_lines

TASKS = study.TASKS
NAMES = {"tasks": TASKS, "variants": [*VARIANTS]}
# The t quantile of five values, and the standard error of the seeds of one task.
T_5, ERROR = 2.7764, 0.0070711


@pytest.fixture(scope="module")
def statistics():
    return distillation_statistics(study.measures(), steps=study.STEPS)


@pytest.fixture(scope="module")
def levels(statistics):
    return DistillationLevels(statistics)


def test_levels_are_means_over_seeds_with_students_interval(levels):
    row = levels.level("ce-heads", "accuracy", "boxes")
    assert row["value"] == pytest.approx(0.8)
    assert row["high"] - row["value"] == pytest.approx(T_5 * ERROR, abs=1e-5)
    assert (row["n_seeds"], row["n_tasks"]) == (5, 1)
    # The second task is .1 lower.
    over = levels.level("ce-heads", "accuracy")
    assert over["task"] == "mean" and over["value"] == pytest.approx(0.75)
    assert over["low"] < 0.72 and over["high"] > 0.78


def test_models_as_given_stand_beside_the_variants_once(levels, statistics):
    assert levels.level(TEACHER, "accuracy")["value"] == pytest.approx(0.95)
    before = levels.level(STUDENT, "circuit_accuracy", "beliefs")
    assert (before["value"], before["n_seeds"], before["low"]) == (0.4, 1, None)
    # All files have them, and a training alone has steps and seconds.
    assert statistics.filter(row="seed", variant=STUDENT).is_empty()
    assert not levels.level(STUDENT, "seconds") and not levels.level(STUDENT, "reached")


def test_other_tasks_count_by_themselves(levels):
    assert levels.level(STUDENT, "other_accuracy")["value"] == pytest.approx(0.6)
    assert levels.level("fine-tune", "other_accuracy")["value"] == pytest.approx(0.4)
    assert levels.level("logits", "other_accuracy")["value"] == pytest.approx(0.55)
    # Their loss of 9 is not in that of the task, 1 - accuracy.
    assert levels.level("fine-tune", "task_loss")["value"] == pytest.approx(
        1 - levels.level("fine-tune", "accuracy")["value"]
    )
    assert levels.level(TEACHER, "task_loss")["value"] == pytest.approx(0.05)
    one = study.measures(tasks=TASKS[:1]).filter(evaluated_task=TASKS[0])
    alone = DistillationLevels(distillation_statistics(one, steps=study.STEPS))
    assert not alone.level("logits", "other_accuracy")
    assert alone.level("logits", "accuracy")["task"] == TASKS[0]


def test_students_that_never_reach_the_accuracy_count_with_all_steps(levels):
    never = levels.level("ce-heads", "steps_to_accuracy")
    assert (never["value"], never["n_censored"]) == (study.STEPS, 10)
    assert levels.level("ce-heads", "reached")["value"] == 0
    best = levels.level("matched-cka", "steps_to_accuracy", "boxes")
    assert (best["value"], best["n_censored"]) == (80, 0)
    difference = levels.difference("matched-cka", "ce-heads", "steps_to_accuracy")
    assert (difference["value"], difference["n_censored"]) == (-120, 10)
    # Of two variants, a cell is counted once.
    both = levels.difference("cka-only", "ce-heads", "steps_to_accuracy")
    assert (both["value"], both["n_censored"]) == (0, 10)
    assert both["p_permutation"] == 1


def test_of_two_variants_every_censored_cell_counts_once_and_by_task():
    variant, seed = pl.col("variant"), pl.col("seed")
    never = (variant == "matched-cka") & (seed == 0)
    reached = (variant == "ce-heads") & (seed < 4) & (pl.col("state") == AFTER)
    steps = pl.when(never).then(None).when(reached).then(50)
    frame = study.measures().with_columns(
        steps_to_accuracy=steps.otherwise("steps_to_accuracy")
    )
    found = DistillationLevels(distillation_statistics(frame, steps=study.STEPS))
    level = found.level("ce-heads", "steps_to_accuracy", "boxes")
    assert (level["value"], level["n_censored"]) == ((4 * 50 + 200) / 5, 1)
    assert found.level("ce-heads", "reached")["value"] == pytest.approx(0.8)
    names = ("matched-cka", "ce-heads", "steps_to_accuracy")
    # Seeds 0 and 4, on each task.
    assert found.difference(*names, "boxes")["n_censored"] == 2
    assert found.difference(*names)["n_censored"] == 4
    # 200 - 50, 70 - 50, 80 - 50, 90 - 50, 100 - 200
    assert found.difference(*names, "boxes")["value"] == pytest.approx(140 / 5)


def test_a_student_that_was_not_trained_has_no_steps():
    is_one = (pl.col("variant") == "logits") & (pl.col("state") == AFTER)
    nothing = pl.when(~is_one).then("seconds").alias("seconds")
    frame = study.measures().with_columns(nothing)
    found = DistillationLevels(distillation_statistics(frame, steps=study.STEPS))
    assert not found.level("logits", "steps_to_accuracy")
    assert not found.level("logits", "reached")
    assert found.level("fine-tune", "reached")["value"] == 1


def test_differences_are_paired_by_task_and_seed(levels):
    row = levels.difference("matched-cka", "ce-heads", "accuracy")
    # Tasks and seeds differ by far more than the pairs.
    assert row["value"] == pytest.approx(0.1)
    assert row["low"] == pytest.approx(0.1) and row["high"] == pytest.approx(0.1)
    # Two of the 2^10 sign patterns, times seven variants.
    assert row["p_permutation"] == pytest.approx(2 / 2**10)
    assert row["p_permutation_holm"] == pytest.approx(7 * 2 / 2**10)
    assert row["least_p"] == pytest.approx(7 * 2 / 2**10)
    assert row["p_tasks"] == pytest.approx(0.5)
    against_random = levels.difference("matched-cka", "random-cka", "accuracy")
    assert against_random["value"] == pytest.approx(0.15)


def test_the_method_is_tested_against_its_controls_and_fine_tuning(levels):
    expected = {"shuffled-cka": 0.1, "random-heads": 0.2, "fine-tune": -0.02}
    for against, value in expected.items():
        row = levels.difference("matched-cka", against, "accuracy")
        assert row["value"] == pytest.approx(value)
        # All ten cells are alike, and three comparisons are adjusted together.
        assert row["p_permutation"] == pytest.approx(2 / 2**10)
        assert row["p_permutation_holm"] == pytest.approx(3 * 2 / 2**10)
        assert row["least_p"] == pytest.approx(3 * 2 / 2**10)
        assert (row["p_tasks"], row["p_tasks_holm"]) == (0.5, 1)
    # Fine-tuning takes 40 steps more with every seed, random heads never reach .9.
    faster, never = (
        levels.difference("matched-cka", against, "steps_to_accuracy")
        for against in ("fine-tune", "random-heads")
    )
    assert (faster["value"], faster["n_censored"]) == (-40, 0)
    assert (never["value"], never["n_censored"]) == (-120, 10)
    one = levels.difference("matched-cka", "shuffled-cka", "accuracy", "boxes")
    assert one["p_permutation_holm"] == pytest.approx(3 * 2 / 2**5)


def test_controls_alone_are_adjusted_for_without_those_that_are_not_there():
    names = ("matched-cka", "shuffled-cka", "cka-only")
    found = distillation_statistics(study.measures(names), steps=study.STEPS)
    accuracies = found.filter(row="difference", measure="accuracy")
    pairs = {*accuracies.select("variant", "against").iter_rows()}
    assert pairs == {("matched-cka", "shuffled-cka")}
    row = DistillationLevels(found).difference(*names[:2], "accuracy")
    assert row["p_permutation_holm"] == pytest.approx(2 / 2**10)


def test_what_has_moved_is_tested_against_the_student_before(levels, statistics):
    nearer = levels.difference("cka-only", STUDENT, "cka")
    assert nearer["value"] == pytest.approx(0.7)
    assert nearer["p_permutation_holm"] == pytest.approx(8 * 2 / 2**10)
    forgotten = levels.difference("fine-tune", STUDENT, "other_accuracy")
    assert forgotten["value"] == pytest.approx(-0.2)
    assert forgotten["p_permutation_holm"] == pytest.approx(8 * 2 / 2**10)
    table = distillation_tests(statistics, **NAMES, measures=["accuracy", "cka"])
    rows = table.frame.filter(against=STUDENT, task="mean")
    assert {*rows["measure"]} == {"cka"} and rows["variant"].to_list() == [*VARIANTS]


def test_five_seeds_of_one_task_show_nothing_and_say_so(levels):
    row = levels.difference("matched-cka", "ce-heads", "accuracy", "boxes")
    assert row["p_permutation"] == pytest.approx(2 / 2**5)
    assert row["least_p"] == pytest.approx(7 * 2 / 2**5)
    assert row["p_tasks"] is None


def test_equal_variants_have_no_difference(levels):
    row = levels.difference("shuffled-cka", "ce-heads", "accuracy")
    assert row["value"] == pytest.approx(0)
    assert row["p_permutation"] == row["p_permutation_holm"] == 1


def test_every_variant_is_compared_with_both_and_never_with_itself(statistics):
    tested = statistics.filter(row="difference", measure="accuracy", task="mean")
    found = [*tested.select("variant", "against").iter_rows()]
    every = {(variant, against) for variant in VARIANTS for against in AGAINST}
    direct = {(METHOD, against) for against in METHOD_AGAINST}
    assert {*found} == {pair for pair in every if pair[0] != pair[1]} | direct
    # No comparison is adjusted twice.
    assert len(found) == len({*found})
    assert not statistics.filter(row="difference", measure="seconds").height


def test_a_study_without_a_baseline_has_the_other_comparison(statistics):
    names = [name for name in VARIANTS if name != "random-cka"]
    found = distillation_statistics(study.measures(names), steps=study.STEPS)
    against = {*found["against"].drop_nulls()}
    assert against == {"ce-heads", *METHOD_AGAINST, STUDENT}
    # Fewer variants are adjusted for.
    row = DistillationLevels(found).difference("logits", "ce-heads", "accuracy")
    assert row["least_p"] == pytest.approx(6 * 2 / 2**10)


def test_nothing_measured_gives_empty_tables(statistics):
    found = distillation_statistics(study.measures().clear(), steps=study.STEPS)
    assert found.is_empty() and found.schema == pl.Schema(SCHEMA)
    table = distillation_table(found, **NAMES, accuracy=0.9, steps=study.STEPS)
    assert set(table.frame["accuracy"]) == {None}
    assert distillation_tests(found, **NAMES).frame.is_empty()


def test_the_table_has_both_models_and_every_variant(statistics):
    table = distillation_table(statistics, **NAMES, accuracy=0.9, steps=study.STEPS)
    first = table.frame.filter(task="mean")
    assert first["variant"].to_list() == [TEACHER, STUDENT, *VARIANTS]
    assert table.frame["task"].unique(maintain_order=True).to_list() == ["mean", *TASKS]
    row = first.row(by_predicate=pl.col("variant") == "matched-cka", named=True)
    assert row["reached_percent"] == 100 and row["passes"] == 1000
    shown = next(each for each in shown_lines(table) if "matched-cka" in each.texts)
    assert "80 ± 8" in shown.texts
    assert "until 0.9 of the test pairs" in table.note and "all 200 steps" in table.note
    assert table.explanations["ce-heads"] == VARIANTS["ce-heads"].description
    one = statistics.filter(task="boxes")
    own = distillation_table(
        one, tasks=["boxes"], variants=["logits"], accuracy=0.9, steps=200
    )
    assert own.frame["variant"].to_list() == [TEACHER, STUDENT, "logits"]
    assert set(own.explanations) == {TEACHER, STUDENT, "logits"}


def test_the_tests_are_in_order_with_what_so_many_seeds_can_show(statistics):
    table = distillation_tests(statistics, **NAMES, measures=["accuracy"])
    first = table.frame.row(0, named=True)
    assert [first[key] for key in ("measure", "against", "variant", "task")] == [
        *("accuracy", "ce-heads", "matched-cka", "mean")
    ]
    assert first["p_tasks_x_seeds"] == first["p_least"] == pytest.approx(14 / 1024)
    against = table.frame["against"].unique(maintain_order=True).to_list()
    assert against == [each for each in VARIANTS if each in AGAINST + METHOD_AGAINST]
    # 7 variants against each of 2, and one against 3, on the mean and two tasks.
    assert table.frame.height == (7 * 2 + 3) * 3


HEADS = {
    # By task and method, the heads that three heads of the student are matched to.
    ("boxes", "impact"): ["a0.h1", "a2.h0", "a3.h3"],
    ("boxes", "cka"): ["a0.h1", "a2.h0", "a1.h0"],
    ("boxes", "random"): ["a3.h3", "a2.h0", "a0.h1"],
    ("beliefs", "impact"): ["a0.h1", "a2.h0", "a3.h3"],
    ("beliefs", "cka"): ["a2.h0", "a3.h3", "a0.h1"],
    ("beliefs", "random"): ["a3.h3", "a0.h1", "a2.h0"],
}
METHODS = ["impact", "cka", "random"]


def matched():
    rows = []
    for (task, method), heads in HEADS.items():
        for place, head in enumerate(heads):
            labels = {"teacher": "t", "student": "s", "task": task, "method": method}
            own = {"student_head": f"a{place}.h0", "teacher_head": head}
            rows.append(labels | own | {"distance": place / 10, "rank": 1 + place})
    return pl.DataFrame(rows, MATCHED_COLUMNS)


def test_every_head_has_what_each_method_matches_it_to():
    frame = matched_heads_table(matched(), tasks=TASKS, methods=METHODS).frame
    assert frame.columns == [
        *("task", "student_head", *METHODS, "distance", "rank", "same")
    ]
    assert frame.rows()[1] == ("boxes", "a1.h0", *["a2.h0"] * 3, 0.1, 2, 2)
    assert frame.rows()[2] == ("boxes", "a2.h0", "a3.h3", "a1.h0", "a0.h1", 0.2, 3, 0)
    assert frame["task"].to_list() == ["boxes"] * 3 + ["beliefs"] * 3
    alone = matched().filter(method="impact")
    table = matched_heads_table(alone, tasks=TASKS, methods=["impact"])
    assert table.frame["same"].to_list() == [0] * 6


def test_agreement_is_the_share_of_heads_with_the_same_match():
    frame = agreement_table(matched(), tasks=TASKS, methods=METHODS).frame
    rows = {row[:2]: row[2:] for row in frame.rows()}
    third = pytest.approx(1 / 3)
    assert rows["boxes", "impact"] == (1, pytest.approx(2 / 3), third)
    assert rows["beliefs", "impact"] == (1, 0, 0)
    assert rows["mean", "cka"] == (third, 1, pytest.approx(1 / 6))
    assert [*rows][0] == ("mean", "impact")
    one = agreement_table(
        matched().filter(task="boxes"), tasks=["boxes"], methods=METHODS
    )
    assert set(one.frame["task"]) == {"boxes"}


def test_the_recorded_ancestors_stand_beside_the_methods():
    known = {"a0.h0": "a0.h1", "a1.h0": "a2.h0", "a2.h0": None}
    heads = pl.col("student_head").replace_strict(known)
    frame = matched().with_columns(ancestor=heads)
    table = matched_heads_table(frame, tasks=TASKS, methods=METHODS)
    assert table.frame["ancestor"].to_list() == [*known.values()] * 2
    assert "the student's was made from" in table.note
    table = agreement_table(frame, tasks=TASKS, methods=METHODS)
    found = {row[:2]: row[-1] for row in table.frame.rows()}
    # Of the two heads whose ancestor is known.
    assert found["boxes", "impact"] == 1 and found["beliefs", "cka"] == 0
    assert found["mean", "random"] == 0.25
    assert "made from" in table.note
    table = agreement_table(matched(), tasks=TASKS, methods=METHODS)
    assert "ancestor" not in table.frame.columns


def test_without_matched_heads_the_tables_are_empty():
    empty = matched().clear()
    assert matched_heads_table(empty, tasks=TASKS, methods=METHODS).frame.is_empty()
    assert agreement_table(empty, tasks=TASKS, methods=METHODS).frame.is_empty()
