"""Adjacency maps: the scores of all edges, writers by readers."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from circuit_transfer.artifacts.edge_scores import EdgeScores
from circuit_transfer.figures.nodes import (
    DIVERGING,
    NO_SCORES,
    rooted,
    show_rooted_scale,
)
from circuit_transfer.figures.style import MISSING, message, panels, show_text
from circuit_transfer.models.edges import INPUT, LOGITS

MAPS_IN_A_ROW = 3
# Writers or readers above which a map shows blocks of them.
MOST_CELLS = 256
MOST_TICKS = 12
MOST_LINES = 16
READERS = "reader (by layer: all q, all k, all v, MLP; rightmost: logits)"


def edge_maps(scores: Mapping[str, EdgeScores | None], *, title: str) -> Figure:
    """Draw the edge scores of one model, writers by readers, a panel per task.

    Colours are of the root of the size of a score, see `nodes.gold_node_maps`. Of many
    writers or readers, a cell shows the edge with the highest absolute score between
    the heads of two layers.

    Args:
        scores: by task; None, or all NaN, for an empty panel.
        title: title of the figure.
    """
    if not scores:
        return message(NO_SCORES)
    found = [each for each in scores.values() if each is not None]
    large = any(max(each.scores.shape) > MOST_CELLS for each in found)
    # Wide enough for the title, even with few panels.
    width = max(2.9, 5.2 / len(scores))
    figure, axes = panels(len(scores), columns=MAPS_IN_A_ROW, width=width, height=2.5)
    for panel, (task, each) in zip(axes, scores.items(), strict=True):
        if each is None or np.isnan(each.flat).all():
            show_text(panel, "-")
        else:
            _draw_map(panel, each, large)
        panel.set_title(task)
        if panel.get_subplotspec().is_first_col():
            panel.set_ylabel("writer\n(by layer; lowest: input)")
    blocks = "\ncells: the edge with the highest |score| of a block" if large else ""
    figure.suptitle(f"{title}{blocks}", fontsize=9)
    figure.supxlabel(READERS, fontsize=8)
    show_rooted_scale(figure, axes)
    return figure


def _draw_map(axes: Axes, found: EdgeScores, large: bool) -> None:
    names, values = (found.writers, found.readers), found.scores
    if large:
        starts = [block_starts(each) for each in names]
        values = strongest_of_blocks(values, *starts)
        names = tuple(
            [each[start] for start in own]
            for each, own in zip(names, starts, strict=True)
        )
    colours = rooted(values)
    limit = np.nanmax(np.abs(colours)) or 1.0
    # Where there is no edge, the background is seen.
    axes.set_facecolor(MISSING)
    axes.imshow(
        np.ma.masked_invalid(colours),
        cmap=DIVERGING,
        vmin=-limit,
        vmax=limit,
        origin="lower",
        aspect="auto",
        interpolation="nearest",
    )
    for side, each in zip("yx", names, strict=True):
        _label_layers(axes, side, each)


def _label_layers(axes: Axes, side: str, names: Sequence[str]) -> None:
    """Label the layers, or some of many, and draw lines between few."""
    layers = np.array([layer_of(name) for name in names])
    line = axes.axhline if side == "y" else axes.axvline
    known = [layer for layer in np.unique(layers) if layer >= 0]
    if len(known) <= MOST_LINES:
        for end in np.flatnonzero(np.diff(layers)) + 0.5:
            line(end, color="#999999", linewidth=0.3)
    shown = known[:: 1 + (len(known) - 1) // MOST_TICKS]
    axis = axes.yaxis if side == "y" else axes.xaxis
    middles = [np.flatnonzero(layers == layer).mean() for layer in shown]
    axis.set_ticks(middles, [*map(str, shown)])
    axis.set_tick_params(length=0)


def layer_of(name: str) -> int:
    """Return the layer of a writer or reader; of `input` -1, of `logits` -2."""
    if name in (INPUT, LOGITS):
        return -1 if name == INPUT else -2
    return int(name.partition(".")[0][1:])


def block_starts(names: Sequence[str]) -> np.ndarray:
    """Return where a block of writers or readers starts: heads of a layer, or an MLP.

    Queries, keys and values are separate blocks.
    """
    blocks = np.array([(name.partition(".")[0], name[-2:-1]) for name in names])
    reads = np.char.endswith(np.array(names), ">")
    blocks[~reads, 1] = ""
    changes = (blocks[1:] != blocks[:-1]).any(axis=1)
    return np.concatenate([[0], np.flatnonzero(changes) + 1])


def strongest_of_blocks(
    scores: np.ndarray, writers: np.ndarray, readers: np.ndarray
) -> np.ndarray:
    """Return the score of the highest absolute value in every block.

    Args:
        scores: `(n_writers, n_readers)`, NaN where there is no edge.
        writers: where blocks of writers start, `(w,)`.
        readers: where blocks of readers start, `(r,)`.

    Returns:
        `(w, r)`, NaN where a block has no edge.
    """

    def over_blocks(reduce: np.ufunc) -> np.ndarray:
        return reduce.reduceat(reduce.reduceat(scores, writers, 0), readers, 1)

    high, low = over_blocks(np.fmax), over_blocks(np.fmin)
    return np.where(high >= -low, high, low)
