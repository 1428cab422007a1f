"""Whether transfers use their source: differences to controls, over families."""

from collections.abc import Iterator, Sequence
from itertools import cycle

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from circuit_transfer.figures.style import (
    COLOURS,
    NO_TRANSFER,
    label_outermost,
    message,
    panels,
    show_text,
)
from circuit_transfer.tables.equivalence import LEVEL
from circuit_transfer.tables.measures import CPR
from circuit_transfer.tables.source_use import (
    ALL_GIVEN,
    BEST_TARGET_ONLY,
    TEST,
    strictest,
)
from circuit_transfer.transfer.controls import WITHOUT_SOURCE
from circuit_transfer.transfer.edge_controls import DEGREE_SOURCE

NO_SIMILARITY = (
    "There is no pair of which the similarity of tasks is known: nothing to draw. It "
    "needs three tasks of different families with scores in both models."
)
# By what takes the place of the source's scores: colour and marker.
LOOKS = {
    "a constant": ("#009E73", "s"),
    "shuffled scores": ("#777777", "v"),
    "another family's scores": ("#D55E00", "D"),
    "mean gold scores": ("#E69F00", "^"),
    BEST_TARGET_ONLY: ("#0072B2", "o"),
    "totals of writers and readers": ("#CC79A7", "P"),
}
# By control what it is of `LOOKS`.
STANDS_FOR = {name: what for what, names in WITHOUT_SOURCE.items() for name in names}
STANDS_FOR |= {BEST_TARGET_ONLY: BEST_TARGET_ONLY}
STANDS_FOR |= {DEGREE_SOURCE: "totals of writers and readers"}
COLUMNS, MAP_COLUMNS = 5, 4
WIDTH = 6.0  # inches at least, for the legends
ASIDE = 0.01  # of the marks of a direction, in units of the similarity
STEP = 0.15  # between the controls of a map, of the distance of two maps
PAIR_COLOURS = [COLOURS[name] for name in COLOURS if name not in ("gold", "random")]
PAIR_COLOURS = list(dict.fromkeys([*PAIR_COLOURS, "#000000"]))
PAIR_MARKERS = "osD^v<>P"
ZERO = {"color": "#000000", "linewidth": 0.7, "zorder": 0}

Pair = tuple[str, str]


def source_use(frame: pl.DataFrame, *, method: str, maps: Sequence[str]) -> Figure:
    """CPR by real source scores minus that by controls: a panel per source and target.

    Two models are a column, both directions below each other, the closest relation
    first. A row per map. Bars are the 95 % interval over families; a mark is filled
    where the difference is significant over families (of those that replace the
    source's scores: adjusted by Holm).

    Args:
        frame: see `tables.source_use`.
        method: the attribution method.
        maps: in the order of the rows.
    """
    rows = _drawn(frame, method, [*STANDS_FOR])
    if rows.is_empty():
        return message(NO_TRANSFER)
    names = [name for name in maps if name in rows["map"]]
    columns = _both_ways(rows)
    directions = max(map(len, columns))
    bands = [columns[at : at + COLUMNS] for at in range(0, len(columns), COLUMNS)]
    across = min(len(columns), COLUMNS)
    size = {"width": max(2.0, WIDTH / across), "height": 1.1 + 0.36 * len(names)}
    count = len(bands) * directions * across
    figure, axes = panels(count, columns=across, **size, sharex=True, sharey=True)
    for band, of_band in enumerate(bands):
        for place in range(directions * across):
            direction, column = divmod(place, across)
            panel = axes[band * directions * across + place]
            pairs = of_band[column] if column < len(of_band) else []
            pair = pairs[direction] if direction < len(pairs) else None
            _draw_pair(panel, rows, pair, names)
    axes[0].set_yticks(range(len(names)), names)
    axes[0].set_ylim(len(names) - 0.4, -0.6)
    label_outermost(axes)
    _control_legend(figure, rows["control"])
    _label_lowest(axes, "CPR, real minus control")
    figure.suptitle(f"Do transfers use their source? {method}", fontsize=9)
    return figure


def source_use_by_similarity(
    frame: pl.DataFrame, *, method: str, maps: Sequence[str]
) -> Figure:
    """CPR by real scores minus the mean of controls, over how similar the models are.

    A panel per map. Of two models the marks of both directions are side by side, the
    second open. Bars are the 95 % interval over families.

    Args:
        frame: see `tables.source_use`.
        method: the attribution method.
        maps: in the order of the panels.
    """
    rows = _drawn(frame, method, [ALL_GIVEN]).drop_nulls("task_similarity")
    if rows.is_empty():
        return message(NO_SIMILARITY)
    names = [name for name in maps if name in rows["map"]]
    looks = dict(zip(_both_ways(rows), _pair_looks(), strict=False))
    width = max(2.2, WIDTH / min(len(names), MAP_COLUMNS))
    size = {"columns": MAP_COLUMNS, "width": width, "height": 2.4}
    figure, axes = panels(len(names), **size, sharex=True, sharey=True)
    for panel, name in zip(axes, names, strict=True):
        panel.axhline(0, **ZERO)
        panel.set_title(name)
        for pairs, (colour, marker) in looks.items():
            for number, (source, target) in enumerate(pairs):
                of_pair = rows.filter(map=name, source=source, target=target)
                for row in of_pair.iter_rows(named=True):
                    face = "white" if number else colour
                    aside = ASIDE * (2 * number - 1) if pairs[1:] else 0.0
                    _draw_similar(panel, row, aside, colour, marker, face)
    label_outermost(axes)
    _label_lowest(axes, "similarity of the models")
    figure.supylabel("CPR, real minus mean of controls", fontsize=8)
    handles = [
        Line2D([], [], linestyle="", marker=marker, color=colour, label=label)
        for (colour, marker), label in zip(
            looks.values(), _pair_labels(rows, [*looks]), strict=True
        )
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    figure.suptitle(f"Source use by similarity of the models, {method}", fontsize=9)
    return figure


def _drawn(frame: pl.DataFrame, method: str, controls: Sequence[str]) -> pl.DataFrame:
    """Return the CPR rows of single pairs, of the strictest protocol."""
    rows = strictest(frame.filter(measure=CPR.column, method=method))
    rows = rows.filter(pl.col("control").is_in(controls))
    return rows.drop_nulls("source")


def _both_ways(rows: pl.DataFrame) -> list[tuple[Pair, ...]]:
    """Return the pairs, those of the same two models together."""
    found: dict[frozenset, list[Pair]] = {}
    for pair in rows.select("source", "target").unique(maintain_order=True).rows():
        found.setdefault(frozenset(pair), []).append(pair)
    return [tuple(pairs) for pairs in found.values()]


def _draw_pair(
    axes: Axes, rows: pl.DataFrame, pair: Pair | None, names: Sequence[str]
) -> None:
    """Draw the differences of a pair by map, or nothing."""
    if pair is None:
        show_text(axes, "")
        return
    source, target = pair
    of_pair = rows.filter(source=source, target=target)
    axes.set_title(f"{of_pair['relation'][0]}\n{source} →\n{target}", fontsize=8)
    axes.axvline(0, **ZERO)
    looks = _looks(rows["control"])
    middle = (len(looks) - 1) / 2
    for row in of_pair.iter_rows(named=True):
        what = STANDS_FOR[row["control"]]
        colour, marker = looks[what]
        place = names.index(row["map"]) + STEP * ([*looks].index(what) - middle)
        ends = (row["difference_low"], row["difference_high"])
        axes.plot(ends, [place] * 2, color=colour, linewidth=1)
        face = colour if _significant(row) else "white"
        style = {"color": colour, "markerfacecolor": face, "markeredgewidth": 0.7}
        axes.plot(row["difference"], place, marker, markersize=3.2, **style)
    for place in range(len(names) - 1):
        axes.axhline(place + 0.5, color="#eeeeee", linewidth=0.7, zorder=0)


def _label_lowest(axes: Sequence[Axes], label: str) -> None:
    """Label the horizontal axes of the lowest panel of every column."""
    lowest = {panel.get_subplotspec().colspan.start: panel for panel in axes}
    for panel in lowest.values():
        panel.set_xlabel(label)


def _significant(row: dict) -> bool:
    adjusted = row[f"{TEST}_holm"]
    return (row[TEST] if adjusted is None else adjusted) < LEVEL


def _control_legend(figure: Figure, controls: pl.Series) -> None:
    handles = [
        Line2D([], [], marker=marker, color=colour, label=what, markersize=4)
        for what, (colour, marker) in _looks(controls).items()
    ]
    style = {"linestyle": "", "marker": "o", "color": "#000000", "markersize": 4}
    handles += [
        Line2D([], [], **style, label=f"p < {LEVEL:g}"),
        Line2D([], [], **style, markerfacecolor="white", label="not significant"),
    ]
    columns = min(len(handles), 4)
    figure.legend(handles=handles, loc="outside lower center", ncols=columns)


def _looks(controls: pl.Series) -> dict[str, tuple[str, str]]:
    """Return the looks of what is drawn anywhere in the figure."""
    found = {STANDS_FOR[name] for name in controls.unique()}
    return {what: look for what, look in LOOKS.items() if what in found}


def _pair_looks() -> Iterator[tuple[str, str]]:
    """Yield colours and markers; in the end they repeat."""
    yield from zip(cycle(PAIR_COLOURS), cycle(PAIR_MARKERS))


def _pair_labels(rows: pl.DataFrame, both: Sequence[tuple[Pair, ...]]) -> list[str]:
    labels = []
    for (source, target), *back in both:
        relation = rows.filter(source=source, target=target)["relation"][0]
        arrow = "→ (open: ←)" if back else "→"
        labels.append(f"{relation}: {source} {arrow} {target}")
    return labels


def _draw_similar(
    axes: Axes, row: dict, aside: float, colour: str, marker: str, face: str
) -> None:
    ends = (row["difference_low"], row["difference_high"])
    place = row["task_similarity"] + aside
    axes.plot([place] * 2, ends, color=colour, linewidth=1)
    style = {"color": colour, "markerfacecolor": face, "markersize": 4.5}
    axes.plot(place, row["difference"], marker, **style)
