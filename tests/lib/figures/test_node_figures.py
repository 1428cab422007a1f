"""Pictures of nodes and alignments, against hand computation."""

import numpy as np
import pytest
from drawn import cut_off

from circuit_transfer.artifacts.alignments import Alignment
from circuit_transfer.artifacts.scores import Scores
from circuit_transfer.figures import nodes
from circuit_transfer.models.nodes import node_names

LONG_NAMES = ["ioi", "arithmetic-subtraction", "a-task-with-a-very-long-name"]


def test_task_correlations_keep_the_order_of_tasks():
    vectors = np.random.default_rng(0).normal(size=(3, 8))
    scores = {("nap", task): v for task, v in zip(LONG_NAMES, vectors, strict=True)}
    figure = nodes.task_correlations(
        scores, model="m", methods=["nap", "exact"], tasks=LONG_NAMES
    )
    drawn = figure.axes[0].images[0].get_array()
    assert np.array(drawn) == pytest.approx(np.corrcoef(vectors))
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == LONG_NAMES
    assert cut_off(figure) == []


def test_one_task_is_not_compared_with_itself():
    scores = {("nap", "ioi"): np.arange(3.0)}
    figure = nodes.task_correlations(scores, model="m", methods=["nap"], tasks=["ioi"])
    (text,) = figure.texts
    assert "no other" in text.get_text() and figure.axes == []


def test_correlations_of_forty_tasks_fit_on_a_page():
    tasks = [f"a-task-with-a-long-name-{number}" for number in range(40)]
    vectors = np.random.default_rng(0).normal(size=(40, 8))
    methods = ["nap", "exact"]
    keys = [(method, task) for method in methods for task in tasks]
    scores = dict(zip(keys, [*vectors, *vectors], strict=True))
    figure = nodes.task_correlations(scores, model="m", methods=methods, tasks=tasks)
    # One matrix below the other, with smaller cells than those of few tasks.
    first, second, _ = figure.axes
    assert figure.get_figwidth() < 13 and figure.get_figheight() < 26
    figure.draw_without_rendering()
    assert first.get_position().y0 > second.get_position().y1
    cell = first.get_window_extent().width / 40
    numbers = [text.get_window_extent().width for text in first.texts]
    assert len(numbers) == 1600 and max(numbers) < cell
    assert cut_off(figure) == []


def test_node_grid_puts_layers_in_rows_and_mlps_apart():
    names = node_names(2, 3)
    grid = nodes.node_grid(names, np.arange(8.0))
    assert grid[:, :3].tolist() == [[0, 1, 2], [4, 5, 6]]
    assert np.isnan(grid[:, 3]).all()
    assert grid[:, 4].tolist() == [3, 7]
    with pytest.raises(ValueError, match=r"\(7,\) do not fit 8"):
        nodes.node_grid(names, np.arange(7.0))


def _alignment(matrix, source, target):
    metadata = {"source_nodes": list(source), "target_nodes": list(target)}
    metadata |= {"maps": ["free"], "transform": "max"}
    return Alignment({"alignment": np.array(matrix)}, metadata)


def test_project_is_the_scaled_scores_times_the_alignment():
    source, target = node_names(1, 1), node_names(1, 2)
    fit = _alignment([[1.0, 0, 2], [0, 1, 1]], source, target)
    projected = nodes.project(Scores(np.array([4.0, -2.0]), source, {}), fit)
    assert projected.scores.tolist() == [1.0, -0.5, 1.5]
    assert projected.nodes == target
    with pytest.raises(ValueError, match="3 nodes do not fit the alignment's 2"):
        nodes.project(Scores(np.ones(3), target, {}), fit)


def test_node_maps_scale_each_panel_to_its_own_largest_score():
    names = node_names(2, 3)
    scores = Scores(np.array([0, 0, 0, -4.0, 0, 0, 1, 0]), names, {})
    maps = {task: {"source": scores, "aligned": None} for task in LONG_NAMES}
    figure = nodes.node_maps(maps, title="pair")
    image = figure.axes[0].images[0]
    assert (image.norm.vmin, image.norm.vmax) == (-4.0, 4.0)
    # Layer 0 is at the bottom.
    assert image.origin == "lower" and image.get_array()[0, 4] == -4.0
    assert [text.get_text() for text in figure.axes[1].texts] == ["-"]


def test_gold_node_maps_have_a_panel_per_task():
    names = node_names(30, 9)
    scores = np.zeros(300)
    scores[[0, 9, 299]] = 1, -4, 0.25
    found = Scores(scores, names, {})
    maps = {f"{LONG_NAMES[-1]}-{number}": found for number in range(39)}
    figure = nodes.gold_node_maps(maps | {"empty": None}, title="a model, nap")
    assert len(figure.axes) == 41  # and the colours
    image = figure.axes[0].images[0]
    # Colours are of the root: of a quarter of the largest score half as strong.
    assert (image.norm.vmin, image.norm.vmax) == (-2.0, 2.0)
    grid = image.get_array()
    assert (grid[0, 0], grid[0, 10], grid[29, 10]) == (1.0, -2.0, 0.5)
    assert found.scores[9] == -4
    assert [axes.get_title() for axes in figure.axes[:40]] == [*maps, "empty"]
    assert [text.get_text() for text in figure.axes[39].texts] == ["-"]
    assert figure.get_figwidth() < 10 and cut_off(figure) == []
    assert cut_off(figure) == []


def test_a_task_without_scores_keeps_its_name():
    figure = nodes.node_maps({"ioi": {"source": None, "aligned": None}}, title="pair")
    empty = figure.axes[0]
    assert empty.axison and empty.get_ylabel() == "ioi\nlayer"
    assert not any(tick.label1.get_visible() for tick in empty.yaxis.get_major_ticks())


def test_alignment_matrix_is_blocked_by_layer():
    source, target = node_names(2, 1), node_names(3, 2)
    fit = _alignment(np.arange(36.0).reshape(4, 9), source, target)
    figure = nodes.alignment_matrix(fit, title="pair")
    axes = figure.axes[0]
    assert axes.images[0].get_array().shape == (4, 9)
    assert axes.images[0].norm.vmin == -axes.images[0].norm.vmax == -35
    assert axes.get_yticks().tolist() == [0.5, 2.5]
    assert axes.get_xticks().tolist() == [1.0, 4.0, 7.0]
    assert nodes.layer_blocks(target) == ([2.5, 5.5, 8.5], [1.0, 4.0, 7.0])
    assert cut_off(figure) == []


def test_many_layers_have_fewer_labels_than_layers():
    names = node_names(40, 1)
    figure = nodes.alignment_matrix(_alignment(np.eye(80), names, names), title="")
    assert len(figure.axes[0].get_xticks()) <= 20
