"""Sentences about distilled students, against numbers that are known."""

import polars as pl
import synthetic_students as study

from circuit_transfer.distillation.frames import AFTER
from circuit_transfer.distillation.variants import VARIANTS
from circuit_transfer.summary.distillation import distillation_answer
from circuit_transfer.summary.names import Names
from circuit_transfer.summary.terminal import results_text
from circuit_transfer.tables.distillation import DistillationLevels
from circuit_transfer.tables.distillation_statistics import distillation_statistics

START = "From big to small, "
NOT_SHOWN = (
    f"{START}matched-cka was not shown to be better than both ce-heads and random-cka, "
    "by 0.03 or more in accuracy or in fewer steps to accuracy 0.9"
)
METHOD = (pl.col("variant") == "matched-cka") & (pl.col("state") == AFTER)


def answers(frame=None):
    frame = study.measures() if frame is None else frame
    return distillation_answer(
        DistillationLevels(distillation_statistics(frame, steps=study.STEPS)),
        teacher="big",
        student="small",
        variants=[*VARIANTS],
        accuracy=study.ACCURACY,
    )


def changed(*, accuracy=0.0, steps=None, frame=None):
    """The accuracy of the method higher by a number, the steps of all replaced."""
    frame = study.measures() if frame is None else frame
    higher = pl.when(METHOD).then(pl.col("accuracy") + accuracy).otherwise("accuracy")
    return frame.with_columns(higher, steps_to_accuracy=pl.lit(steps, pl.Int64))


def test_the_method_helps_where_it_exceeds_both_baselines():
    verdict = answers()[0]
    assert verdict.lead == (
        f"{START}matching heads helps: matched-cka is better than ce-heads and "
        "random-cka by 0.03 or more in accuracy and in fewer steps to accuracy 0.9."
    )
    assert verdict.details.startswith(
        "Accuracy of matched-cka minus that of ce-heads 0.10 [0.10, 0.10] (p = 0.014) "
        "and random-cka 0.15"
    )
    assert "its steps minus those of ce-heads -120 [-128, -112]" in verdict.details
    assert "of which up to 10 are with a student that never" in verdict.details
    assert answers(changed(steps=50))[0].lead == (
        f"{START}matching heads helps: matched-cka is better than ce-heads and "
        "random-cka by 0.03 or more in accuracy."
    )


def test_a_faster_but_worse_student_is_said_to_be_worse():
    frame = study.measures()
    lower = pl.when(METHOD).then(pl.col("accuracy") - 0.3).otherwise("accuracy")
    lead = answers(frame.with_columns(lower))[0].lead
    assert lead == (
        f"{START}matching heads helps: matched-cka is better than ce-heads and "
        "random-cka in fewer steps to accuracy 0.9; its accuracy is lower than that of "
        "ce-heads and random-cka."
    )


def test_a_clean_negative_says_what_its_intervals_leave_out():
    equal = answers(changed(accuracy=-0.1))[0].lead
    assert equal == (
        f"{NOT_SHOWN}; it is better than random-cka alone by 0.03 or more in accuracy; "
        "an advantage of 0.03 over ce-heads is outside the 95 % interval."
    )
    # Significant, but less than .03: as good as nothing.
    small = answers(changed(accuracy=-0.08))[0].lead
    assert small.startswith(NOT_SHOWN) and "over ce-heads is outside" in small


def test_three_hundredths_are_enough_and_less_is_not():
    assert "matching heads helps" in answers(changed(accuracy=-0.07))[0].lead
    assert "matching heads helps" not in answers(changed(accuracy=-0.071))[0].lead


def test_where_nothing_can_be_shown_the_answer_says_so():
    one = study.measures(tasks=study.TASKS[:1]).filter(evaluated_task=study.TASKS[0])
    found = answers(one)
    assert found[0].lead == (
        f"{NOT_SHOWN}; with so few seeds and tasks nothing can be shown (p = 0.438 at "
        "best)."
    )
    # There is no other task.
    assert not any("other task" in each.lead for each in found)


def test_a_baseline_at_the_ceiling_is_named():
    one = pl.when(pl.col("state") == AFTER).then(pl.lit(1.0)).otherwise("accuracy")
    verdict, _, accuracies, *_ = answers(
        changed(frame=study.measures().with_columns(accuracy=one))
    )
    assert verdict.lead == (
        f"{NOT_SHOWN}; ce-heads has accuracy 1.00, so that a gain of 0.03 is "
        "impossible."
    )
    assert accuracies.lead == (
        "By all variants, students answer equally well (1.00); the teacher 0.95 and "
        "small before 0.50."
    )


def test_the_controls_stand_beside_the_verdict():
    controls = answers()[1]
    assert controls.lead == (
        "The accuracy of matched-cka is higher than that of shuffled-cka and "
        "random-heads; lower than that of fine-tune."
    )
    assert controls.details.startswith(
        "Accuracy of matched-cka minus that of shuffled-cka 0.10 [0.10, 0.10] "
        "(p = 0.006), random-heads 0.20"
    )
    assert "its steps minus those of shuffled-cka -120 [" in controls.details
    assert answers(changed(accuracy=-0.1))[1].lead == (
        "The accuracy of matched-cka is higher than that of random-heads; lower than "
        "that of fine-tune; not shown to differ from that of shuffled-cka."
    )


def test_without_a_baseline_nothing_is_tested():
    found = answers(study.measures(["matched-cka", "ce-heads"]))
    assert found[0].lead == (
        f"{START}whether matching heads helps is not tested: this takes the variants "
        "matched-cka, ce-heads and random-cka."
    )
    assert found[1].lead.startswith("Trained by matched-cka")


def test_students_circuits_and_other_tasks_are_described():
    _, _, accuracies, circuit, others = answers()
    assert accuracies.lead == (
        "Trained by fine-tune, students answer best (0.87); the teacher 0.95 and small "
        "before 0.50."
    )
    assert circuit.lead == (
        "Accuracy of the critical heads alone: student before 0.40, matched-cka 0.70, "
        "ce-heads 0.55 and random-cka 0.45."
    )
    assert circuit.details.startswith(
        "CKA of the matched heads: student before 0.10, matched-cka 0.70"
    )
    # Of the others, nothing is known before.
    assert circuit.details.endswith(
        "Trained by matched-cka minus before: CKA of the matched heads 0.60 [0.60, "
        "0.60] (p = 0.016)."
    )
    assert others.lead == (
        "On the other tasks the student has accuracy 0.60 before, and after training "
        "from 0.40 (fine-tune) to 0.55 (ce-heads)."
    )


def test_the_terminal_has_a_table_of_students_with_the_verdict():
    names = Names(
        tasks=study.TASKS,
        methods=(),
        edge_methods=(),
        targets=(),
        pairs=(),
        maps=(),
        seeds=(),
        distilled=[("big", "small")],
        variants=[*VARIANTS],
        accuracy=study.ACCURACY,
        steps=study.STEPS,
    )
    statistics = distillation_statistics(study.measures(), steps=study.STEPS)
    students = {("big", "small"): statistics}
    text = results_text(pl.DataFrame(), names, students=students)
    title, heading, *rows = text.split("\n")
    assert title == "Students, big distilled into small, means over tasks and seeds:"
    assert "circuit accuracy  steps to accuracy  other accuracy" in heading
    shown = [row.split("  ")[0] for row in rows[:10]]
    assert shown == ["teacher", "student before", *VARIANTS]
    method = next(row for row in rows if "matched-cka" in row)
    # Accuracy, that of the heads alone, steps, other tasks, CKA.
    assert method.split()[-15::3] == ["0.85", "0.70", "80", "0.55", "0.70"]
    assert " ".join(map(str.strip, rows[10:])) == answers()[0].lead
    assert max(map(len, text.split("\n"))) <= 100
    # Without students nothing is said of them.
    assert results_text(pl.DataFrame(), names) == ""


def test_without_any_student_the_answer_says_so():
    (only,) = answers(study.measures().clear())
    assert only.lead == f"{START}no student was trained: there are no usable pairs."
