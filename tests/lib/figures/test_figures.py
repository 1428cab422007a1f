"""What the figures draw, against hand computation, and that nothing is cut off."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import synthetic_study as study
from drawn import cut_off, legend_texts, line_in

from circuit_transfer.artifacts.alignments import Alignment
from circuit_transfer.figures import (
    comparisons,
    curves,
    matrices,
    nodes,
    recovery,
    style,
)
from circuit_transfer.figures.losses import losses
from circuit_transfer.tables import summarise
from circuit_transfer.tables.statistics import study_statistics

MODELS = {"source": study.SOURCE, "target": study.TARGET}
PAIR = MODELS | {"map_name": "free"}


@pytest.fixture(scope="module")
def summary():
    return study.summary()


@pytest.fixture(scope="module")
def cpr(summary):
    return summary[1]


@pytest.fixture(scope="module")
def statistics():
    return study.statistics()[0]


@pytest.fixture(scope="module")
def measured(statistics):
    """Curves with intervals, and the statistics."""
    return study.statistics()[1], statistics


def by_pair(measured, methods, transfers=(MODELS,)):
    return curves.curves_by_pair(
        *measured, transfers=transfers, maps=study.by_method(methods=methods)
    )


def labelled(figure, axis):
    """Whether the ticks of every panel are labelled, on the left or below."""
    side = {"x": "labelbottom", "y": "labelleft"}[axis]
    axes = [getattr(panel, f"{axis}axis") for panel in figure.axes]
    return [each.get_tick_params()[side] for each in axes]


def cpr_values(axes):
    """The first number of every line above a panel, which is the CPR."""
    return [text.split()[0] for text in legend_texts(axes)]


def names_below(figure):
    (legend,) = figure.legends
    return [text.get_text() for text in legend.get_texts()]


def test_curves_by_pair_are_means_over_tasks(measured):
    figure = by_pair(measured, study.METHODS)
    assert [axes.get_title() for axes in figure.axes] == [
        "small_model → big_model\nnap",
        "small_model → big_model\nexact",
    ]
    axes = figure.axes[0]
    x, y = line_in(axes, "gold").get_data()
    assert x.tolist() == study.PROPORTIONS and y == pytest.approx([0.81] * 4)
    # In the order of the names, which stand once below all panels.
    assert cpr_values(axes) == ["0.31", "0.81", "0.71", "0.61", "0.58"]
    # CPR, CMD and accuracy area: every answer of the gold circuit is right.
    assert legend_texts(axes)[1] == "0.81  0.19  1.00"
    assert axes.get_legend().get_title().get_text() == "CPR / CMD / accuracy area"
    # Sizes that round to one circuit have one point: the first two keep no node.
    assert line_in(axes, "gold").get_markevery() == [0, 2, 3]
    assert names_below(figure) == [
        "random-rankings",
        "gold",
        "in-distribution",
        "zero-shot",
        "zero-shot-family",
    ]
    assert axes.get_xscale() == "log" and axes.get_ylabel() == "faithfulness"
    assert cut_off(figure) == []


def test_no_number_of_a_curve_hides_another_text_or_the_curve(measured):
    exaggerated = measured[1].with_columns(max_faithfulness=1.06)
    figure = by_pair((measured[0], exaggerated), study.METHODS)
    figure.draw_without_rendering()
    for axes in figure.axes:
        assert [text.split()[-1] for text in legend_texts(axes)] == ["▲"] * 5
        legend = axes.get_legend().get_window_extent()
        title = axes.title.get_window_extent()
        assert axes.bbox.y1 <= legend.y0 and legend.y1 <= title.y0


def test_bands_are_the_intervals_of_the_statistics(measured):
    axes = by_pair(measured, ["nap"]).axes[0]
    drawn = [band.get_paths()[0].vertices for band in axes.collections]
    assert len(drawn) == 5
    gold = measured[0].filter(method="nap", circuit="gold", task="mean")
    ends = {round(value, 9) for value in drawn[1][:, 1]}
    assert {round(value, 9) for value in [*gold["low"], *gold["high"]]} == ends


def test_curves_of_methods_are_separate(measured):
    frame, statistics = measured
    raised = pl.when(pl.col("method") == "exact").then(0.1).otherwise(0.0)
    frame = frame.with_columns(pl.col("faithfulness") + raised)
    figure = by_pair((frame, statistics), study.METHODS)
    nap, exact = (line_in(axes, "gold").get_ydata() for axes in figure.axes)
    assert nap == pytest.approx([0.81] * 4) and exact == pytest.approx([0.91] * 4)


def test_curves_of_another_map_are_not_drawn(measured):
    figure = curves.curves_by_pair(
        *measured,
        transfers=[MODELS],
        maps=study.by_method(["depth-prior"], ["nap"]),
    )
    assert cpr_values(figure.axes[0]) == ["0.31", "0.81", "0.65", "0.65"]
    assert line_in(figure.axes[0], "zero-shot").get_ydata() == pytest.approx([0.65] * 4)


def test_many_pairs_are_drawn_in_several_rows(measured):
    pairs = [MODELS | {"source": f"model-{number}"} for number in range(5)]
    figure = by_pair(measured, ["nap"], pairs)
    rows = [panel.get_subplotspec().rowspan.start for panel in figure.axes]
    assert rows == [0, 0, 0, 0, 1]
    figure = by_pair(measured, study.METHODS, pairs)
    titles = [panel.get_title().split("\n") for panel in figure.axes]
    assert [pair.split()[0] for pair, _ in titles[:4]] == ["model-0"] * 2 + [
        "model-1"
    ] * 2
    assert [method for _, method in titles[:2]] == study.METHODS


def test_a_curve_on_fewer_tasks_says_so():
    def fewer(frame):
        kept = pl.col("training_set").ne_missing(f"without-{frame['task'][0]}")
        return frame if frame["task"][0] == "ioi" else frame.filter(kept)

    frames = {"gold": study.gold_frames(), "random": study.random_frames()}
    frames["aligned"] = [fewer(frame) for frame in study.aligned_frames()]
    cpr = study.named_cpr(summarise(**frames, **study.NAMES)[1])
    statistics, intervals = study_statistics(
        cpr, study.named_frames(**frames), resamples=9
    )
    figure = by_pair((intervals, statistics), ["nap"])
    assert legend_texts(figure.axes[0])[-2] == "0.60  0.40  1.00 (1/3 tasks)"


def test_curves_by_task_have_a_panel_per_task(measured):
    figure = curves.curves_by_task(*measured, **PAIR, method="nap", tasks=study.TASKS)
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == study.TASKS
    for axes, task in zip(figure.axes, study.TASKS, strict=True):
        drawn = line_in(axes, "in-distribution").get_ydata()
        assert drawn == pytest.approx([study.level("in-distribution", task)] * 4)
    assert cut_off(figure) == []


def test_a_task_without_faithfulness_is_an_empty_panel():
    gold = [study.gold_frame(task, "nap") for task in study.TASKS]
    same = pl.col("empty_logit_diffs").alias("full_logit_diffs")
    unknown = pl.lit(None, dtype=pl.Float64).alias("faithfulness")
    gold[1] = gold[1].with_columns(unknown, same)
    cpr = study.named_cpr(summarise(gold, [], [], **study.NAMES)[1])
    statistics, intervals = study_statistics(
        cpr, study.named_frames(gold=gold), resamples=9
    )
    measured = (intervals, statistics)
    figure = curves.curves_by_task(*measured, **PAIR, method="nap", tasks=study.TASKS)
    assert [text.get_text() for text in figure.axes[1].texts] == ["-"]
    figure = by_pair(measured, ["nap"])
    # The mean of .80 and .82, and no third task that would count as nothing.
    assert cpr_values(figure.axes[0]) == ["0.81"]


def test_curves_without_a_source_are_gold_and_random(measured):
    pair = PAIR | {"source": None}
    figure = curves.curves_by_task(*measured, **pair, method="nap", tasks=study.TASKS)
    assert names_below(figure) == ["random-rankings", "gold"]
    assert len(legend_texts(figure.axes[0])) == 2


def test_completeness_shows_circuit_complement_and_agreement(summary):
    names = {"maps": study.by_method(), "families": study.FAMILIES}
    figure = curves.completeness(summary[0], **MODELS, **names)
    assert len(figure.axes) == 6 and names_below(figure)[0] == "gold"
    first = figure.axes[0]
    black = [line for line in first.lines if line.get_color() == style.COLOURS["gold"]]
    circuit, complement = (line.get_ydata() for line in black)
    assert circuit == pytest.approx([0.81] * 4)
    assert complement == pytest.approx([1.0, 0.9, 0.4, 0.0])
    agreement = line_in(figure.axes[2], "zero-shot").get_ydata()
    assert agreement == pytest.approx([0.0, 0.2, 0.6, 1.0])
    # Of ioi, which is a family by itself, what was trained without the task.
    of_family = [
        line.get_ydata()
        for line in first.lines
        if line.get_color() == style.COLOURS["zero-shot-family"]
    ]
    assert of_family[0] == pytest.approx([(0.6 + 0.56 + 0.57) / 3] * 4)
    # The whole model is never wrong: there is no such agreement.
    assert [text.get_text() for text in figure.axes[4].texts] == ["-"]
    # So the sizes stand below the row above.
    assert labelled(figure, "x") == [False, False, True, True, False, False]
    assert labelled(figure, "y") == [True, False] * 2 + [False, False]
    assert cut_off(figure) == []


def test_names_stand_beside_the_first_panel_that_is_not_empty(statistics):
    methods = ["no-such-method", "nap"]
    maps = study.by_method(methods=methods)
    controls = study.by_method(["source-free"], methods)
    drawn = [
        comparisons.maps_figure(statistics, **MODELS, maps=maps),
        comparisons.controls_figure(statistics, **MODELS, maps=maps, controls=controls),
    ]
    for figure in drawn:
        # The row of the second method begins with the names.
        assert labelled(figure, "y") == [False] * 3 + [True, False, False]
        assert cut_off(figure) == []


def test_bands_over_seeds_are_of_the_mean_over_tasks(summary):
    frame = summary[0].filter(regime="zero-shot", method="nap", map="free")
    sizes, mean, deviation, n_nodes = curves.mean_curve(frame)
    assert n_nodes.tolist() == [0, 0, 2, 20]
    assert mean == pytest.approx([0.61] * 4)
    # Seeds lie .02 apart, all tasks alike.
    assert deviation == pytest.approx([0.02] * 4)


def test_a_single_seed_has_no_band(summary):
    _, mean, deviation, _ = curves.mean_curve(
        summary[0].filter((pl.col("kind") == "gold") & (pl.col("method") == "nap"))
    )
    assert mean == pytest.approx([0.81] * 4) and deviation.tolist() == [0.0] * 4


def _fit(training_set, loss):
    metadata = {"training_set": training_set}
    return Alignment({"loss": np.array(loss), "kl": np.array(loss) - 0.5}, metadata)


def test_losses_are_means_over_seeds():
    fits = [_fit("all", [3.0, 1.0]), _fit("all", [5.0, 3.0]), _fit("only-x", [2.0, 1])]
    # Of a task without usable pairs there is no loss.
    fits.append(
        Alignment({"alignment": np.full((2, 2), np.nan)}, {"training_set": "y"})
    )
    fits.append(_fit("without-x", [1.0, 1.0]))
    fits += [_fit("without-family-x", [0.5, 0.5]), _fit("without-family-z", [0.4, 0.5])]
    figure = losses(fits, title="pair")
    kl, loss = figure.axes
    assert line_in(kl, "all").get_ydata().tolist() == [3.5, 1.5]
    drawn = [line.get_ydata().tolist() for line in loss.lines if len(line.get_ydata())]
    assert drawn == [[4.0, 2.0], [2.0, 1.0], [0.5, 0.5], [0.4, 0.5], [1.0, 1.0]]
    assert names_below(figure) == [
        "all tasks",
        "one task",
        "all tasks but one",
        "all but a family (2 lines)",
    ]
    assert cut_off(figure) == []


def test_recovery_bars_are_at_the_mean(statistics):
    figure = recovery.recovery_bars(
        statistics, transfers=[MODELS], maps=study.by_method(methods=["nap", "exact"])
    )
    shares, cmd, area = figure.axes
    heights = [bar.get_height() for bar in shares.patches]
    expected = np.mean([0.7 / 0.8, 0.71 / 0.81, 0.72 / 0.82])
    family = np.mean([0.6 / 0.8, 0.56 / 0.81, 0.57 / 0.82])
    assert heights[:2] == pytest.approx([expected] * 2)
    assert heights[4:6] == pytest.approx([family] * 2)
    names = ["in-distribution", "zero-shot", "zero-shot-family", "best-by-CPR", "gold"]
    assert names_below(figure) == names
    level = statistics.filter(
        row="level", method="nap", circuit="in-distribution", task="mean"
    )
    ends = level.select("recovery_low", "recovery_high").row(0)
    assert shares.lines[0].get_ydata() == pytest.approx(ends)
    assert [label.get_text() for label in cmd.get_xticklabels()] == ["nap", "exact"]
    # Beside it both other measures, with those of the gold circuit as lines.
    heights = [bar.get_height() for bar in cmd.patches]
    assert heights[:2] == pytest.approx([0.999 * (1 - 0.71)] * 2)
    gold = [line.get_ydata() for line in cmd.lines if line.get_linestyle() == "--"]
    assert np.array(gold) == pytest.approx(np.full((2, 2), 0.999 * (1 - 0.81)))
    heights = [bar.get_height() for bar in area.patches]
    assert heights[0] == level["right_above_wrong_area"].item()
    assert cut_off(figure) == []


def test_transfer_matrix_has_training_tasks_as_rows(cpr):
    frame = cpr.filter(method="nap", map="free", control="none")
    matrix = matrices.transfer_matrix(
        frame, "cpr", tasks=study.TASKS, families=study.FAMILIES
    )
    expected = [
        ["in-distribution", "transfer", "transfer"],
        ["transfer", "in-distribution", "near-distribution"],
        ["transfer", "near-distribution", "in-distribution"],
        ["zero-shot"] * 3,
        ["zero-shot-family"] * 3,
    ]
    for row, names in zip(matrix, expected, strict=True):
        cells = [study.cell(*each) for each in zip(names, study.TASKS, strict=True)]
        assert row == pytest.approx(cells)


def test_transfer_matrices_show_numbers_and_empty_cells(cpr):
    tasks = ["ioi", "addition", "never-run-arithmetic-subtraction"]
    names = {"maps": study.by_method(), "tasks": tasks, "families": study.FAMILIES}
    largest = pl.when(training_set="only-addition", task="ioi").then(1.06)
    marked = cpr.with_columns(max_faithfulness=largest.otherwise("max_faithfulness"))
    figure = matrices.transfer_matrices(marked, **MODELS, **names)
    shown = [[text.get_text() for text in panel.texts] for panel in figure.axes[:6]]
    assert shown[0][:9] == ["0.70", "0.41", "-", "0.40▲", "0.71", "-", "-", "-", "-"]
    assert shown[0][9:] == ["0.60", "0.61", "-", "0.60", "0.56", "-"]
    # Beside it CMD and the share of right answers; a row for every method.
    assert shown[1][:3] == ["0.30", "0.59", "-"] and "▲" not in "".join(shown[1])
    area = cpr.filter(
        method="nap", map="free", training_set="only-ioi", task="addition"
    )
    assert shown[2][1] == f"{area['right_above_wrong_area'].mean():.2f}"
    titles = [panel.get_title() for panel in figure.axes[:6]]
    assert titles[::3] == ["nap\nCPR", "exact\nCPR"] and titles[4] == "exact\nCMD"
    bars = [axes.get_xlabel() for axes in figure.axes[6:]]
    assert bars == [
        "CPR (higher is better)",
        "CMD (lower is better)",
        "accuracy area (higher is better)",
    ]
    assert cut_off(figure) == []


@pytest.mark.parametrize("methods", [["nap"], study.METHODS])
@pytest.mark.parametrize("more", [0, 3, 20])
def test_the_title_of_transfer_matrices_is_above_those_of_the_panels(
    cpr, methods, more
):
    tasks = [*study.TASKS, *(f"{n}-is-a-task-with-a-long-name" for n in range(more))]
    names = {"tasks": tasks, "families": study.FAMILIES}
    figure = matrices.transfer_matrices(
        cpr, **MODELS, maps=study.by_method(methods=methods), **names
    )
    figure.draw_without_rendering()
    (title,) = [text for text in figure.texts if "→" in text.get_text()]
    highest = max(panel.title.get_window_extent().y1 for panel in figure.axes)
    assert title.get_window_extent().y0 >= highest


def test_controls_are_drawn_with_aligned_and_gold(statistics):
    figure = comparisons.controls_figure(
        statistics,
        **MODELS,
        maps=study.by_method(methods=["nap"]),
        controls=study.by_method([*study.CONTROLS, "never-run"]),
    )
    axes, cmd, area = figure.axes
    titles = [panel.get_title() for panel in figure.axes]
    assert titles == ["nap, CPR", "nap, CMD", "nap, accuracy area"]
    rows = [label.get_text() for label in axes.get_yticklabels()]
    named = ["gold", "in-distribution", "zero-shot", *study.CONTROLS, "random-rankings"]
    assert rows == named
    shown = [text.get_text() for text in axes.texts]
    assert shown == [
        *("0.81", "0.71"),
        *("0.61", "0.58"),  # zero-shot, without the task and without its family
        *("0.26", "0.46"),
        *("0.56", "0.53", "0.76", "0.73"),
        *("0.31", "task", "family"),
    ]
    shown = [text.get_text() for text in cmd.texts]
    assert shown[:4] == ["0.19", "0.29", "0.39", "0.42"]
    assert [text.get_text() for text in area.texts][0] == "1.00"
    assert "higher is better" in axes.get_xlabel()
    assert "lower is better" in cmd.get_xlabel()
    assert cut_off(figure) == []


def test_maps_are_drawn_at_their_value_without_the_family(statistics):
    names = ["free", "never-run"]
    figure = comparisons.maps_figure(
        statistics,
        **MODELS,
        maps=study.by_method(names, ["nap", "no-such-method"]),
    )
    axes, cmd, _, *empty = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == names
    assert [[text.get_text() for text in panel.texts] for panel in empty] == [["-"]] * 3
    drawn, of_cmd = (
        {
            line.get_marker(): line.get_xdata()[0]
            for line in panel.lines
            if line.get_marker() not in ("None", "")
        }
        for panel in (axes, cmd)
    )
    levels = statistics.filter(row="level", method="nap", protocol="family", map="free")
    levels = levels.filter(task="mean")
    expected = dict(levels.select("circuit", "cpr").iter_rows())
    expected["real"] = expected.pop("zero-shot-family")
    assert drawn == {
        comparisons.GIVEN[circuit][2]: cpr
        for circuit, cpr in expected.items()
        if circuit in comparisons.GIVEN
    }
    assert len(drawn) >= 2
    # Neither random-source nor node-changes was run.
    named = ["the task's source scores", "a constant", "another family's scores"]
    assert names_below(figure) == [*named, "gold"]
    # These circuits never exceed faithfulness 1, so that both areas add up.
    assert of_cmd == pytest.approx({mark: 0.999 - cpr for mark, cpr in drawn.items()})
    assert cut_off(figure) == []


def exaggerating(statistics, circuit):
    """Statistics in which one circuit, and no other, exaggerates."""
    largest = pl.when(circuit=circuit).then(1.06).otherwise(1.05)
    return statistics.with_columns(max_faithfulness=largest)


def marks(figure):
    """Where every panel has a mark of exaggeration."""
    return [
        [text.xy for text in panel.texts if text.get_text() == "▲"]
        for panel in figure.axes
    ]


def test_the_cpr_of_a_map_is_marked_where_its_circuits_exaggerate(statistics):
    figure = comparisons.maps_figure(
        exaggerating(statistics, "source-free"),
        **MODELS,
        maps=study.by_method(["free"], ["nap"]),
    )
    (((value, _),), cmd, area) = marks(figure)
    level = statistics.filter(circuit="source-free", map="free", protocol="family")
    level = level.filter(row="level", method="nap", task="mean")
    assert value == level["cpr"].item()
    assert cmd == area == []


def test_a_share_of_the_cpr_is_marked_where_its_circuits_exaggerate(statistics):
    figure = recovery.recovery_bars(
        exaggerating(statistics, "zero-shot"),
        transfers=[MODELS],
        maps=study.by_method(methods=["nap", "exact"]),
    )
    shares, cmd, area = marks(figure)
    # Above the ends of the intervals, side by side in the groups of both methods.
    assert [round(place) for place, _ in shares] == [0, 1]
    levels = statistics.filter(row="level", circuit="zero-shot", task="mean")
    ends = dict(levels.select("method", "recovery_high").iter_rows())
    assert [height for _, height in shares] == [ends["nap"], ends["exact"]]
    assert cmd == area == []


def test_protocols_that_are_one_are_drawn_once(cpr):
    alone, intervals = study.statistics_of_lone_tasks()
    one = "zero-shot(-family)"
    figure = by_pair((intervals, alone), ["nap"])
    assert cpr_values(figure.axes[0]) == ["0.31", "0.81", "0.71", "0.61"]
    assert names_below(figure)[-1] == one and cut_off(figure) == []
    figure = recovery.recovery_bars(
        alone, transfers=[MODELS], maps=study.by_method(methods=["nap"])
    )
    assert names_below(figure) == ["in-distribution", one, "best-by-CPR", "gold"]
    bars = figure.axes[0].patches
    middles = [bar.get_x() + bar.get_width() / 2 for bar in bars]
    assert middles == pytest.approx([-0.8 / 3, 0, 0.8 / 3])
    figure = comparisons.controls_figure(
        alone,
        **MODELS,
        maps=study.by_method(methods=["nap"]),
        controls=study.by_method(["source-free"]),
    )
    shown = [text.get_text() for text in figure.axes[0].texts]
    assert shown == ["0.81", "0.71", "0.61", "0.56", "0.31", "task (its family)"]
    rows = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert rows[2] == one and cut_off(figure) == []
    figure = comparisons.maps_figure(
        alone, **MODELS, maps=study.by_method(["free"], ["nap"])
    )
    points = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert points[0].get_xdata()[0] == pytest.approx(0.999 * 0.61)
    lists = {
        "maps": study.by_method(methods=["nap"]),
        "tasks": study.TASKS,
        "families": {},
    }
    figure = matrices.transfer_matrices(cpr, **MODELS, **lists)
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == [*study.TASKS, "all but the task (its family)"]


def test_controls_show_both_kinds_of_spread(statistics):
    figure = comparisons.controls_figure(
        statistics,
        **MODELS,
        maps=study.by_method(methods=["nap"]),
        controls=study.by_method(["source-free"]),
    )
    level = statistics.filter(
        row="level", method="nap", circuit="source-free", protocol="family", task="mean"
    )
    cpr, low, high, spread = level.select(
        "cpr", "cpr_low", "cpr_high", "seed_deviation"
    ).row(0)
    spans = {
        line.get_linewidth(): tuple(line.get_xdata())
        for line in figure.axes[0].lines
        if line.get_color() == style.COLOURS["zero-shot-family"]
        and round(float(line.get_ydata()[0])) == 3
    }
    assert spans[5] == pytest.approx((cpr - spread, cpr + spread))
    assert spans[1] == pytest.approx((low, high))


@pytest.mark.parametrize("value", [0.0, 0.25, 0.5, 0.75, 1.0])
@pytest.mark.parametrize("name", ["viridis", "RdBu_r"])
def test_numbers_can_be_read_on_every_colour(name, value):
    background = style.matplotlib.colormaps[name](value)[:3]
    text = {"black": 0.0, "white": 1.0}[style.readable_on(background)]

    def luminance(rgb):
        rgb = np.array(rgb)
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        return linear @ (0.2126, 0.7152, 0.0722)

    low, high = sorted([luminance(background), luminance([text] * 3)])
    # Web guidelines ask for 3 with large text; the palette's middles allow little more.
    assert (high + 0.05) / (low + 0.05) > 3


def test_an_empty_study_says_that_there_is_nothing_to_draw():
    areas, frame = summarise([], [], [], **study.NAMES)[1::-1]
    nothing = study_statistics(study.named_cpr(areas), [])[::-1]
    lists = {"maps": study.by_method(methods=["nap"]), "tasks": study.TASKS}
    unusable = Alignment({"alignment": np.full((2, 2), np.nan)}, {})
    figures = [
        by_pair(nothing, ["nap"], []),
        curves.curves_by_task(*nothing, **PAIR, method="nap", tasks=study.TASKS),
        curves.completeness(
            frame, **MODELS, maps=study.by_method(methods=["nap"]), families={}
        ),
        losses([], title=""),
        recovery.recovery_bars(
            nothing[1], transfers=[], maps=study.by_method(methods=["nap"])
        ),
        matrices.transfer_matrices(areas, **MODELS, **lists, families={}),
        comparisons.controls_figure(
            nothing[1],
            **MODELS,
            maps=study.by_method(methods=["nap"]),
            controls=study.by_method([]),
        ),
        comparisons.maps_figure(
            nothing[1], **MODELS, maps=study.by_method(["free"], ["nap"])
        ),
        nodes.task_correlations({}, model="m", methods=["nap"], tasks=study.TASKS),
        nodes.node_maps({}, title=""),
        nodes.alignment_matrix(unusable, title=""),
    ]
    for figure in figures:
        (text,) = figure.texts
        assert "nothing" in text.get_text() or "there is no" in text.get_text()


def test_a_figure_is_the_same_file_every_time(tmp_path):
    for name in ("first", "second"):
        figure = losses([_fit("all", [2.0, 1.0])], title="pair")
        style.save(figure, tmp_path / f"{name}.pdf", tmp_path / f"{name}.png")
    for suffix in ("pdf", "png"):
        first, second = (tmp_path / f"{n}.{suffix}" for n in ("first", "second"))
        assert first.read_bytes() == second.read_bytes()


def test_tables_and_figures_start_without_torch():
    library = Path(style.__file__).parents[2]
    code = (
        "import sys\n"
        "import circuit_transfer.tables.layouts, circuit_transfer.tables.comparisons\n"
        "from circuit_transfer.figures import comparisons, curves, nodes, style\n"
        "sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code]
    subprocess.run(command, check=True, env={"PYTHONPATH": str(library)})
