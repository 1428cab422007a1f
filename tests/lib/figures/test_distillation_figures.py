"""Figures of distilled students: what is drawn where, and that nothing is cut off."""

import polars as pl
import pytest
import synthetic_students as study
from drawn import cut_off
from matplotlib.text import Text

from circuit_transfer.distillation.frames import MATCHED_COLUMNS
from circuit_transfer.distillation.variants import VARIANTS
from circuit_transfer.figures.distillation import LOOKS, distillation_figure
from circuit_transfer.figures.matched_heads import (
    OTHER,
    SAME,
    height,
    matched_heads_figure,
)
from circuit_transfer.tables.distillation_statistics import distillation_statistics

NAMES = {"teacher": "a-long-name-of-a-teacher_v2", "student": "a-student$x"}


def curves(tasks=study.TASKS, variants=VARIANTS):
    """From .5 to .8 in ten steps, .01 more for each seed, .02 for each variant."""
    rows = [
        (task, variant, seed, step, 0.5 + 0.03 * step + 0.01 * seed + 0.02 * place, 0.1)
        for task in tasks
        for place, variant in enumerate(variants)
        for seed in (0, 1, 2)
        for step in range(0, 11, 2)
    ]
    names = ("task", "variant", "seed", "step", "accuracy", "cka")
    return pl.DataFrame(rows, schema=names, orient="row")


@pytest.fixture(scope="module")
def statistics():
    return distillation_statistics(study.measures(), steps=study.STEPS)


def draw(statistics, found, variants=tuple(VARIANTS)):
    names = {"tasks": study.TASKS, "variants": variants, "accuracy": study.ACCURACY}
    return distillation_figure(statistics, found, **names, **NAMES)


def of_variant(panel, variant):
    (line,) = [each for each in panel.lines if each.get_color() == LOOKS[variant][0]]
    return line


def test_accuracy_and_cka_stand_beside_each_other_for_every_task(statistics):
    figure = draw(statistics, curves())
    titles = [panel.get_title() for panel in figure.axes]
    assert titles == ["boxes", "boxes", "beliefs", "beliefs"]
    labels = [panel.get_ylabel() for panel in figure.axes]
    assert labels == ["accuracy", "CKA of matched heads"] * 2
    line = of_variant(figure.axes[0], "ce-heads")
    assert line.get_xdata().tolist() == [0, 2, 4, 6, 8, 10]
    # The mean over seeds; bands reach the lowest and highest.
    assert line.get_ydata()[[0, -1]].tolist() == pytest.approx([0.51, 0.81])
    band = figure.axes[0].collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == pytest.approx((0.5, 0.82))
    # The teacher of the synthetic study, and the accuracy that steps are counted to.
    flat = [each.get_ydata()[0] for each in figure.axes[0].lines[-2:]]
    assert flat == pytest.approx([0.9, 0.95])
    assert len(figure.axes[1].lines) == len(VARIANTS)
    assert not cut_off(figure)


def test_every_variant_has_its_own_look():
    assert LOOKS.keys() == VARIANTS.keys()
    colours, lines, markers = zip(*LOOKS.values(), strict=True)
    assert len({*colours}) == len({*markers}) == len(VARIANTS)
    # Also without colours.
    assert len({*zip(lines, markers, strict=True)}) == len(VARIANTS)


def test_markers_of_equal_curves_do_not_hide_each_other(statistics):
    same = curves().with_columns(accuracy=pl.lit(1.0))
    lines = draw(statistics, same).axes[0].lines[: len(VARIANTS)]
    first = [line.get_markevery()[0] for line in lines]
    # Six probes: two markers must be shared by two variants each.
    assert sorted({*first}) == [0, 1, 2, 3, 4, 5]
    assert {line.get_markevery()[1] for line in lines} == {len(VARIANTS)}


def test_the_legend_names_the_variants_of_the_study_alone(statistics):
    variants = ["ce-heads", "matched-cka"]
    figure = draw(statistics, curves(variants=variants), variants)
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == [*variants, "teacher", "accuracy to reach"]


def test_a_task_without_training_says_so(statistics):
    figure = draw(statistics, curves(study.TASKS[:1]))
    above, below = figure.axes[0], figure.axes[2]
    assert [text.get_text() for text in below.texts] == ["not trained"]
    assert above.get_xlabel() == "step" and not below.get_xlabel()
    assert not draw(statistics, curves().clear()).axes


def matched(heads):
    rows = [
        ("t", "s", task, student, teacher, 0.1, method, 1, None)
        for (task, method), pairs in heads.items()
        for student, teacher in pairs.items()
    ]
    return pl.DataFrame(rows, MATCHED_COLUMNS, orient="row")


HEADS = {
    ("boxes", "impact"): {"a0.h0": "a0.h3", "a1.h1": "a3.h0"},
    ("boxes", "cka"): {"a0.h0": "a0.h3", "a1.h1": "a2.h0"},
}
SHAPES = {NAMES["teacher"]: (4, 4), NAMES["student"]: (2, 2)}


def draw_heads(frame, tasks=("boxes",), methods=("impact", "cka")):
    return matched_heads_figure(frame, SHAPES, tasks=tasks, methods=methods, **NAMES)


def test_lines_go_from_the_students_heads_to_the_teachers():
    figure = draw_heads(matched(HEADS))
    used, other = figure.axes
    assert [panel.get_title() for panel in figure.axes] == ["impact (used)", "cka"]
    ends = [line.get_ydata().tolist() for line in used.lines]
    assert ends == [
        [pytest.approx(1 / 6), pytest.approx(0.2)],
        [pytest.approx((1 + 2 / 3) / 2), pytest.approx(3.2 / 4)],
    ]
    # Only the second head is matched to another one.
    assert [line.get_linestyle() for line in used.lines] == ["-", "-"]
    colours = [line.get_color() for line in other.lines]
    assert colours == [SAME["color"], OTHER["color"]]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "as by impact",
        "another head of the teacher",
    ]
    assert not cut_off(figure)


def test_both_models_have_the_same_height():
    assert 0 < height("a0.h0", (2, 2)) < 0.5 < height("a1.h0", (2, 2))
    assert 0.99 < height("a31.h31", (32, 32)) < 1


def test_one_method_and_long_names_fit():
    alone = matched({("boxes", "impact"): HEADS["boxes", "impact"]})
    figure = draw_heads(alone, methods=["impact"])
    assert not figure.legends
    figure.draw_without_rendering()
    title = figure.get_suptitle()
    (shown,) = [each for each in figure.findobj(Text) if each.get_text() == title]
    box = shown.get_window_extent()
    assert NAMES["teacher"] in title
    assert box.x0 >= 0 and box.x1 <= figure.bbox.width


def test_without_matched_heads_there_is_a_message():
    assert not draw_heads(matched({})).axes
    figure = draw_heads(matched(HEADS), tasks=["boxes", "beliefs"])
    assert [text.get_text() for text in figure.axes[2].texts] == ["-"]
