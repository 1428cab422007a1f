"""Figures of node scores and alignment matrices, by layer."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from circuit_transfer.artifacts.alignments import Alignment
from circuit_transfer.artifacts.scores import Scores
from circuit_transfer.circuits.similarity import correlations
from circuit_transfer.figures.style import (
    heatmap,
    matrix_panels,
    message,
    panels,
    show_text,
)
from circuit_transfer.models.nodes import is_mlp, node_layers
from circuit_transfer.transfer.maps import transformed

DIVERGING = "RdBu_r"
NO_SCORES = "No scores: there is nothing to draw."
ONE_TASK = "One task: there is no other to compare it with."
MAPS_IN_A_ROW = 4


def task_correlations(
    scores: Mapping[tuple[str, str], np.ndarray],
    *,
    model: str,
    methods: Sequence[str],
    tasks: Sequence[str],
) -> Figure:
    """Draw the correlations of node scores between tasks, a panel per method.

    Args:
        scores: node scores `(n_nodes,)` by method and task.
        model: name of the model, for the title.
        methods: in the order of the panels.
        tasks: in the order of rows and columns.
    """
    if not scores:
        return message(NO_SCORES)
    if len(tasks) < 2:
        return message(ONE_TASK)
    figure, axes = matrix_panels(len(methods), len(tasks))
    for panel, method in zip(axes, methods, strict=True):
        vectors = [scores.get((method, task)) for task in tasks]
        image = heatmap(
            panel,
            correlations(vectors),
            rows=tasks,
            columns=tasks,
            colours=DIVERGING,
            norm=Normalize(-1, 1),
        )
        panel.set_title(method)
    shrink = 0.6 / axes[0].get_gridspec().nrows
    figure.colorbar(image, ax=axes, label="Pearson correlation", shrink=shrink)
    figure.suptitle(model, fontsize=9)
    return figure


def node_grid(nodes: Sequence[str], scores: np.ndarray) -> np.ndarray:
    """Return scores as `(layer, head)`, then an empty column and one of the MLPs.

    Args:
        nodes: node names.
        scores: `(n_nodes,)`.

    Raises:
        ValueError: the number of scores differs from the number of nodes.
    """
    if scores.shape != (len(nodes),):
        raise ValueError(f"scores {scores.shape} do not fit {len(nodes)} node names")
    layers = node_layers(tuple(nodes))
    heads = [None if is_mlp(node) else int(node.split(".h")[1]) for node in nodes]
    n_heads = 1 + max(head for head in heads if head is not None)
    grid = np.full((max(layers) + 1, n_heads + 2), np.nan)
    columns = [n_heads + 1 if head is None else head for head in heads]
    grid[layers, columns] = scores
    return grid


def project(scores: Scores, fit: Alignment) -> Scores:
    """Return the source scores projected to the target's nodes by an alignment.

    Raises:
        ValueError: the alignment was fitted to other source nodes.
    """
    if tuple(fit.metadata["source_nodes"]) != scores.nodes:
        raise ValueError(
            f"scores of {len(scores.nodes)} nodes do not fit the alignment's "
            f"{len(fit.metadata['source_nodes'])} source nodes, or differ in order"
        )
    nodes = tuple(fit.metadata["target_nodes"])
    given = transformed(scores.scores, fit.metadata["transform"])
    return Scores(fit.project(given), nodes, scores.metadata)


def node_maps(maps: Mapping[str, Mapping[str, Scores | None]], *, title: str) -> Figure:
    """Draw scores by layer and head: a row per task, a column per kind of scores.

    Args:
        maps: scores by task and column heading; None for an empty panel.
        title: title of the figure.
    """
    if not maps:
        return message(NO_SCORES)
    headings = list(next(iter(maps.values())))
    figure, axes = panels(
        len(maps) * len(headings), columns=len(headings), width=2.1, height=1.6
    )
    cells = [(task, heading) for task in maps for heading in headings]
    for panel, (task, heading) in zip(axes, cells, strict=True):
        _draw_nodes(panel, maps[task][heading])
        place = panel.get_subplotspec()
        if place.is_first_row():
            panel.set_title(heading)
        if place.is_first_col():
            panel.set_ylabel(f"{task}\nlayer")
    _label_maps(figure, title)
    colours = figure.colorbar(
        _scale(1.0), ax=axes, shrink=0.4, ticks=[-1, 0, 1], aspect=30
    )
    colours.ax.set_yticklabels(["-max", "0", "max"])
    return figure


def gold_node_maps(scores: Mapping[str, Scores | None], *, title: str) -> Figure:
    """Draw scores of one model by layer and head, a panel per task.

    Colours are of the root of the size of a score: the first MLP often has a score
    several times that of any head.

    Args:
        scores: by task; None for an empty panel.
        title: title of the figure.
    """
    # Wide enough for the title, even with few panels.
    width = max(2.1, 4.8 / len(scores))
    figure, axes = panels(len(scores), columns=MAPS_IN_A_ROW, width=width, height=1.8)
    for panel, (task, found) in zip(axes, scores.items(), strict=True):
        _draw_nodes(panel, found and replace(found, scores=rooted(found.scores)))
        panel.set_title(task)
        if panel.get_subplotspec().is_first_col():
            panel.set_ylabel("layer")
    _label_maps(figure, title)
    show_rooted_scale(figure, axes)
    return figure


def show_rooted_scale(figure: Figure, axes: Sequence[Axes]) -> None:
    """Draw the scale of colours of panels with the roots of scores, see `rooted`."""
    # As high in a figure of many rows as in one of a single row.
    rows = axes[0].get_gridspec().nrows
    colours = figure.colorbar(_scale(1.0), ax=axes, shrink=0.7 / rows, aspect=10)
    marks = {-1.0: "-max", -0.5: "-max/4", 0.0: "0", 0.5: "max/4", 1.0: "max"}
    colours.set_ticks([*marks], labels=[*marks.values()])


def rooted(scores: np.ndarray) -> np.ndarray:
    """Return scores of which a quarter is half: their roots, with their signs."""
    return np.sign(scores) * np.sqrt(np.abs(scores))


def _label_maps(figure: Figure, title: str) -> None:
    figure.suptitle(title, fontsize=9)
    figure.supxlabel("head (MLP on the right)", fontsize=8)


def alignment_matrix(fit: Alignment, *, title: str) -> Figure:
    """Draw the alignment matrix as a heatmap, source by target nodes, by layer."""
    matrix = fit.alignment
    if not np.isfinite(matrix).all():
        return message("The alignment has no usable training pairs: nothing to draw.")
    n_source, n_target = matrix.shape
    ratio = np.clip(n_source / n_target, 0.3, 1.5)
    figure, (axes,) = panels(1, columns=1, width=6.5, height=1.2 + 5.2 * ratio)
    limit = np.abs(matrix).max() or 1.0
    image = axes.imshow(
        matrix,
        cmap=DIVERGING,
        norm=Normalize(-limit, limit),
        aspect="auto",
        interpolation="nearest",
    )
    _label_layers(axes, "y", fit.metadata["source_nodes"])
    _label_layers(axes, "x", fit.metadata["target_nodes"])
    axes.set(ylabel="source layer", xlabel="target layer", title=title)
    figure.colorbar(image, ax=axes, label="weight", shrink=0.8)
    return figure


def layer_blocks(nodes: Sequence[str]) -> tuple[list[float], list[float]]:
    """Return the end and the centre of each layer's block of nodes, in cells."""
    layers = np.array(node_layers(tuple(nodes)))
    edges = np.flatnonzero(np.diff(layers)) + 0.5
    bounds = [-0.5, *edges.tolist(), len(nodes) - 0.5]
    middles = [(low + high) / 2 for low, high in zip(bounds, bounds[1:], strict=False)]
    return bounds[1:], middles


def _label_layers(axes: Axes, side: str, nodes: Iterable[str]) -> None:
    ends, middles = layer_blocks(list(nodes))
    line = axes.axhline if side == "y" else axes.axvline
    for end in ends[:-1]:
        line(end, color="#555555", linewidth=0.4)
    # At most 16 labels fit.
    step = 1 + len(middles) // 16
    labels = [str(layer) for layer in range(len(middles))]
    axis = axes.yaxis if side == "y" else axes.xaxis
    axis.set_ticks(middles[::step], labels[::step])
    axis.set_tick_params(length=0)


def _draw_nodes(axes: Axes, scores: Scores | None) -> None:
    if scores is None or not np.isfinite(scores.scores).any():
        show_text(axes, "-")
        return
    grid = node_grid(scores.nodes, scores.scores)
    norm = _scale(np.nanmax(np.abs(grid)) or 1.0).norm
    # Layer 0 is at the bottom.
    axes.imshow(
        grid,
        cmap=DIVERGING,
        norm=norm,
        origin="lower",
        aspect="auto",
        interpolation="nearest",
    )
    n_layers, n_columns = grid.shape
    heads = n_columns - 2
    step = 1 + (heads - 1) // 8
    places = [*range(0, heads, step), n_columns - 1]
    axes.set_xticks(places, [*map(str, places[:-1]), "MLP"])
    axes.set_yticks(range(0, n_layers, 1 + (n_layers - 1) // 8))
    axes.tick_params(length=0)
    # A frame would span the gap between heads and MLPs.
    axes.spines[:].set_visible(False)


def _scale(limit: float) -> ScalarMappable:
    return ScalarMappable(Normalize(-limit, limit), DIVERGING)
