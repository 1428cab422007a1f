"""What the figures draw, against hand computation, and that nothing is cut off."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import synthetic_study as study
from drawn import cut_off, legend_texts, line_in

from circuit_transfer.artifacts import Alignment
from circuit_transfer.figures import comparisons, curves, nodes, style
from circuit_transfer.tables import summarise

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


def test_curves_by_pair_are_means_over_tasks(summary):
    figure = curves.curves_by_pair(*summary, transfers=[PAIR], methods=study.METHODS)
    assert [axes.get_title() for axes in figure.axes] == [
        "small_model → big_model\nnap",
        "small_model → big_model\nexact",
    ]
    axes = figure.axes[0]
    x, y = line_in(axes, "gold").get_data()
    assert x.tolist() == study.PROPORTIONS and y == pytest.approx([0.81] * 4)
    assert legend_texts(axes) == [
        "random rankings 0.31",
        "gold 0.81",
        "in-distribution 0.71",
        "zero-shot 0.61",
    ]
    assert axes.get_xscale() == "log" and axes.get_ylabel() == "faithfulness"
    assert cut_off(figure) == []


def test_curves_of_methods_are_kept_apart(summary):
    frame, cpr = summary
    raised = pl.when(pl.col("method") == "exact").then(0.1).otherwise(0.0)
    frame = frame.with_columns(pl.col("faithfulness") + raised)
    methods = study.METHODS
    figure = curves.curves_by_pair(frame, cpr, transfers=[PAIR], methods=methods)
    nap, exact = (line_in(axes, "gold").get_ydata() for axes in figure.axes)
    assert nap == pytest.approx([0.81] * 4) and exact == pytest.approx([0.91] * 4)


def test_many_pairs_stand_in_rows(summary):
    pairs = [PAIR | {"source": f"model-{number}"} for number in range(5)]
    figure = curves.curves_by_pair(*summary, transfers=pairs, methods=["nap"])
    rows = [panel.get_subplotspec().rowspan.start for panel in figure.axes]
    assert rows == [0, 0, 0, 0, 1]
    figure = curves.curves_by_pair(*summary, transfers=pairs, methods=study.METHODS)
    titles = [panel.get_title().split("\n") for panel in figure.axes]
    assert [pair.split()[0] for pair, _ in titles[:4]] == ["model-0"] * 2 + [
        "model-1"
    ] * 2
    assert [method for _, method in titles[:2]] == study.METHODS


def test_a_curve_on_fewer_tasks_says_so(summary):
    fewer = [
        frame.filter((pl.col("regime") != "zero-shot") | (pl.col("task") == "ioi"))
        for frame in summary
    ]
    figure = curves.curves_by_pair(*fewer, transfers=[PAIR], methods=["nap"])
    assert legend_texts(figure.axes[0])[-1] == "zero-shot 0.60 (1/3 tasks)"


def test_curves_by_task_have_a_panel_per_task(summary):
    figure = curves.curves_by_task(*summary, **PAIR, method="nap", tasks=study.TASKS)
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == study.TASKS
    for axes, task in zip(figure.axes, study.TASKS, strict=True):
        drawn = line_in(axes, "in-distribution").get_ydata()
        assert drawn == pytest.approx([study.level("in-distribution", task)] * 4)
    assert cut_off(figure) == []


def test_a_task_without_faithfulness_is_an_empty_panel():
    gold = [study.gold_frame(task, "nap") for task in study.TASKS]
    gold[1] = gold[1].with_columns(faithfulness=None)
    nothing = summarise(gold, [], [], siblings=[])
    figure = curves.curves_by_task(*nothing, **PAIR, method="nap", tasks=study.TASKS)
    assert [text.get_text() for text in figure.axes[1].texts] == ["-"]
    figure = curves.curves_by_pair(*nothing, transfers=[PAIR], methods=["nap"])
    # The mean of .80 and .82, and no third task that would count as nothing.
    assert legend_texts(figure.axes[0]) == ["gold 0.81"]


def test_curves_without_a_source_are_gold_and_random(summary):
    figure = curves.curves_by_task(
        *summary, source=None, target=study.TARGET, method="nap", tasks=study.TASKS
    )
    assert [t.split()[0] for t in legend_texts(figure.axes[0])] == ["random", "gold"]


def test_bands_are_the_deviation_over_seeds_of_the_mean_over_tasks(summary):
    frame = summary[0].filter(
        (pl.col("regime") == "zero-shot") & (pl.col("method") == "nap")
    )
    sizes, mean, deviation = curves.mean_curve(frame)
    assert mean == pytest.approx([0.61] * 4)
    # Seeds lie .02 apart, all tasks alike.
    assert deviation == pytest.approx([0.02] * 4)


def test_a_single_seed_has_no_band(summary):
    _, mean, deviation = curves.mean_curve(
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
    figure = curves.losses(fits, title="pair")
    kl, loss = figure.axes
    assert line_in(kl, "all").get_ydata().tolist() == [3.5, 1.5]
    drawn = [line.get_ydata().tolist() for line in loss.lines if len(line.get_ydata())]
    assert drawn == [[4.0, 2.0], [2.0, 1.0]]
    assert legend_texts(loss) == ["all tasks", "one task"]
    assert cut_off(figure) == []


def test_recovery_is_a_share_of_gold_per_task(cpr):
    shares = comparisons.recoveries(
        cpr, study.SOURCE, study.TARGET, methods=["nap"], tasks=study.TASKS
    )
    assert shares["nap", "zero-shot"] == pytest.approx(
        [0.6 / 0.8, 0.61 / 0.81, 31 / 41]
    )
    assert shares["nap", "best"] == shares["nap", "in-distribution"]


def test_recovery_bars_stand_at_the_mean(cpr):
    figure = comparisons.recovery_bars(
        cpr, transfers=[PAIR], methods=["nap", "exact"], tasks=study.TASKS
    )
    heights = [bar.get_height() for bar in figure.axes[0].patches]
    expected = np.mean([0.7 / 0.8, 0.71 / 0.81, 0.72 / 0.82])
    assert heights[:2] == pytest.approx([expected] * 2)
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == [
        "nap",
        "exact",
    ]
    assert cut_off(figure) == []


def test_transfer_matrix_has_training_tasks_as_rows(cpr):
    matrix = comparisons.transfer_matrix(
        cpr, study.SOURCE, study.TARGET, method="nap", tasks=study.TASKS
    )
    expected = [
        ["in-distribution", "transfer", "transfer"],
        ["transfer", "in-distribution", "near-distribution"],
        ["transfer", "near-distribution", "in-distribution"],
    ]
    for row, names in zip(matrix, expected, strict=True):
        cells = [study.cell(*each) for each in zip(names, study.TASKS, strict=True)]
        assert row == pytest.approx(cells)


def test_transfer_matrices_show_numbers_and_empty_cells(cpr):
    tasks = ["ioi", "addition", "never-run-arithmetic-subtraction"]
    figure = comparisons.transfer_matrices(
        cpr, **PAIR, methods=study.METHODS, tasks=tasks
    )
    shown = [text.get_text() for text in figure.axes[0].texts]
    assert shown == ["0.70", "0.41", "-", "0.40", "0.71", "-", "-", "-", "-"]
    assert cut_off(figure) == []


def test_controls_stand_beside_aligned_and_gold(cpr):
    figure = comparisons.controls_figure(
        cpr, **PAIR, methods=["nap"], controls=[*study.CONTROLS, "never-run"]
    )
    axes = figure.axes[0]
    rows = [label.get_text() for label in axes.get_yticklabels()]
    named = ["gold", "in-distribution", "zero-shot", *study.CONTROLS, "random-rankings"]
    assert rows == named
    means = [np.mean([study.cell(row, task) for task in study.TASKS]) for row in named]
    assert [text.get_text() for text in axes.texts] == [f"{m:.2f}" for m in means]
    assert cut_off(figure) == []


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
    nothing = summarise([], [], [], siblings=[])
    lists = {"methods": ["nap"], "tasks": study.TASKS}
    unusable = Alignment({"alignment": np.full((2, 2), np.nan)}, {})
    figures = [
        curves.curves_by_pair(*nothing, transfers=[], methods=["nap"]),
        curves.curves_by_task(*nothing, **PAIR, method="nap", tasks=study.TASKS),
        curves.losses([], title=""),
        comparisons.recovery_bars(nothing[1], transfers=[], **lists),
        comparisons.transfer_matrices(nothing[1], **PAIR, **lists),
        comparisons.controls_figure(nothing[1], **PAIR, methods=["nap"], controls=[]),
        nodes.task_correlations({}, model="m", **lists),
        nodes.node_maps({}, title=""),
        nodes.alignment_matrix(unusable, title=""),
    ]
    for figure in figures:
        (text,) = figure.texts
        assert "nothing" in text.get_text() or "there is no" in text.get_text()


def test_a_figure_is_the_same_file_every_time(tmp_path):
    for name in ("first", "second"):
        figure = curves.losses([_fit("all", [2.0, 1.0])], title="pair")
        style.save(figure, tmp_path / f"{name}.pdf", tmp_path / f"{name}.png")
    for suffix in ("pdf", "png"):
        first, second = (tmp_path / f"{n}.{suffix}" for n in ("first", "second"))
        assert first.read_bytes() == second.read_bytes()


def test_tables_and_figures_start_without_torch():
    library = Path(style.__file__).parents[2]
    code = (
        "import sys\n"
        "import circuit_transfer.tables.layouts\n"
        "from circuit_transfer.figures import comparisons, curves, nodes, style\n"
        "sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code]
    subprocess.run(command, check=True, env={"PYTHONPATH": str(library)})
