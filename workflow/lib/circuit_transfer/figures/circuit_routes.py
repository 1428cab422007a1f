"""The ways of edges between boxes: curves that never run through another box.

An edge is one curve from its writer to its reader where no box is in its way. Where one
is, it leads through a lane: a vertical line in a gutter between two columns, which
crosses all rows between the two. Edges that would overlap have different lanes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from circuit_transfer.figures.circuit_nodes import BOX_HEIGHT, MARGIN, Box, Grid
from circuit_transfer.figures.circuit_parts import Point
from circuit_transfer.models.edges import INPUT, LOGITS

LANE = 6.0  # from one lane to the next
# Between edges that start or arrive side by side, at most.
STEP = 5.0
CLEARANCE = 3.0  # of a curve from boxes that it passes


@dataclass(frozen=True)
class Ends:
    """The nodes that an edge connects, and as `q`, `k` or `v` of a head it arrives."""

    writer: str
    reader: str
    kind: str


@dataclass(frozen=True)
class Lane:
    """A vertical line in a gutter: its number, and its place from the left in it."""

    gutter: int
    place: int


def s_curve(start: Point, end: Point) -> list[Point]:
    """Return the control points of a curve that starts and ends vertically."""
    (x0, y0), (x1, y1) = start, end
    middle = (y0 + y1) / 2
    return [start, (x0, middle), (x1, middle), end]


def on_curve(points: Sequence[Point], count: int = 65) -> np.ndarray:
    """Return points on cubic Bézier curves, `(pieces * count, 2)`.

    Args:
        points: the control points of one piece after another, its last point being the
            first of the next.
        count: points of every piece.
    """
    t = np.linspace(0, 1, count)[:, None]
    weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3)
    pieces = [np.array(points[at : at + 4]) for at in range(0, len(points) - 1, 3)]
    return np.concatenate(
        [sum(w * p for w, p in zip(weights, piece, strict=True)) for piece in pieces]
    )


def routes(
    ends: Sequence[Ends], grid: Grid, boxes_in
) -> tuple[Grid, dict[str, Box], list[list[Point]]]:
    """Return the grid with gutters as wide as their lanes, its boxes, and the curves.

    Args:
        ends: of every edge.
        grid: with gutters of the least width.
        boxes_in: function that returns the boxes in a grid, by name.

    Returns:
        The grid, the boxes, and the control points of every edge's curve.
    """
    through: set[int] = set()
    while True:
        boxes = boxes_in(grid)
        lanes = _lanes({each: ends[each] for each in sorted(through)}, grid, boxes)
        wide = _with_room(grid, lanes.values())
        boxes = boxes_in(wide)
        curves = _curves(ends, lanes, wide, boxes)
        blocked = {
            number
            for number, each in enumerate(ends)
            if number not in through and _is_blocked(curves[number], each, boxes)
        }
        if not blocked:
            return wide, boxes, curves
        through |= blocked


def _lanes(
    ends: Mapping[int, Ends], grid: Grid, boxes: Mapping[str, Box]
) -> dict[int, Lane]:
    """Return a lane for every edge that needs one, each as near as there is room.

    Args:
        ends: of these edges, by number.
        grid: with gutters of the least width.
        boxes: in this grid.
    """
    middles = [
        grid.gutter_x(gutter) + width / 2 for gutter, width in enumerate(grid.gutters)
    ]
    # By gutter and lane, the rows between which each edge in it runs.
    taken: list[list[list[tuple[int, int]]]] = [[] for _ in middles]
    found = {}
    for number, each in ends.items():
        writer, reader = boxes[each.writer], boxes[each.reader]
        rows = writer.row, reader.row
        # A bar is everywhere.
        ways = [box.x for box in (writer, reader) if not _is_bar(box)] or [grid.left]
        gutter = min(
            range(len(middles)),
            key=lambda place: (
                sum(abs(middles[place] - x) for x in ways)
                + LANE
                * sum(any(_meet(rows, each) for each in lane) for lane in taken[place])
            ),
        )
        lanes = taken[gutter]
        free = (
            place
            for place, lane in enumerate(lanes)
            if not any(_meet(rows, each) for each in lane)
        )
        place = next(free, len(lanes))
        if place == len(lanes):
            lanes.append([])
        lanes[place].append(rows)
        found[number] = Lane(gutter, place)
    return found


def _meet(rows: tuple[int, int], others: tuple[int, int]) -> bool:
    return rows[0] < others[1] and others[0] < rows[1]


def _is_bar(box: Box) -> bool:
    return box.name in (INPUT, LOGITS)


def _with_room(grid: Grid, lanes: Iterable[Lane]) -> Grid:
    """Return the grid with gutters that are wide enough for their lanes."""
    counts = [0] * len(grid.gutters)
    for lane in lanes:
        counts[lane.gutter] = max(counts[lane.gutter], lane.place + 1)
    gutters = tuple(MARGIN + max(0, count - 1) * LANE for count in counts)
    return replace(grid, gutters=gutters)


def _curves(
    ends: Sequence[Ends],
    lanes: Mapping[int, Lane],
    grid: Grid,
    boxes: Mapping[str, Box],
) -> list[list[Point]]:
    """Return the control points of every edge."""
    on_way = {
        number: grid.gutter_x(lane.gutter) + MARGIN / 2 + lane.place * LANE
        for number, lane in lanes.items()
    }
    # How many rows it is from an end to the lane, or to the other end.
    steps = [
        1 if number in lanes else boxes[each.reader].row - boxes[each.writer].row
        for number, each in enumerate(ends)
    ]
    ports = [_port(each, boxes) for each in ends]
    towards = [on_way.get(number, x) for number, x in enumerate(ports)]
    starts = _spread([(each.writer, "") for each in ends], towards, steps, boxes)
    towards = [on_way.get(number, x) for number, x in enumerate(starts)]
    arrivals = _spread(
        [(each.reader, each.kind) for each in ends], towards, steps, boxes
    )
    curves = []
    for number, each in enumerate(ends):
        writer, reader = boxes[each.writer], boxes[each.reader]
        x0, x1, lane = starts[number], arrivals[number], on_way.get(number)
        if _is_bar(writer):
            x0 = x1 if lane is None else lane
        start, end = (x0, writer.top), (x1, reader.bottom)
        if lane is None:
            curves.append(s_curve(start, end))
            continue
        low = grid.row_y(writer.row + 1) + BOX_HEIGHT / 2
        high = grid.row_y(reader.row - 1) - BOX_HEIGHT / 2
        enter, leave = (lane, low), (lane, high)
        line = s_curve(enter, leave)
        curves.append([*s_curve(start, enter), *line[1:], *s_curve(leave, end)[1:]])
    return curves


def _port(ends: Ends, boxes: Mapping[str, Box]) -> float:
    """Return where an edge arrives that is the only one there."""
    reader = boxes[ends.reader]
    if _is_bar(reader):
        return boxes[ends.writer].x
    return reader.ports.get(ends.kind, reader.x)


def _spread(
    places: Sequence[tuple[str, str]],
    towards: Sequence[float],
    steps: Sequence[int],
    boxes: Mapping[str, Box],
) -> list[float]:
    """Return the x of every edge at a side of a box, those of a place side by side.

    They are in the order of their slopes, so that they cross as little as possible.

    Args:
        places: by edge, the box, and as what it arrives there.
        towards: by edge, the x of where it comes from or leads to.
        steps: by edge, how many rows away that is.
        boxes: by name.
    """
    by_place: dict[tuple[str, str], list[int]] = {}
    for number, place in enumerate(places):
        by_place.setdefault(place, []).append(number)
    found = list(towards)
    for (name, kind), numbers in by_place.items():
        box = boxes[name]
        if _is_bar(box):
            continue
        centre = box.ports.get(kind, box.x)
        slopes = {each: (towards[each] - centre) / steps[each] for each in numbers}
        room = box.width * (0.26 if kind else 0.8)
        step = min(STEP, room / len(numbers))
        for place, number in enumerate(sorted(numbers, key=slopes.get)):
            found[number] = centre + (place - (len(numbers) - 1) / 2) * step
    return found


def _is_blocked(points: Sequence[Point], ends: Ends, boxes: Mapping[str, Box]) -> bool:
    """Return whether a curve runs through, or close by, a box that it does not join."""
    rows = range(boxes[ends.writer].row + 1, boxes[ends.reader].row)
    between = [box for box in boxes.values() if box.row in rows]
    if not between:
        return False
    x, y = on_curve(points)[:, :, None].swapaxes(0, 1)
    sides = np.array([(box.x, box.y, box.width / 2, box.height / 2) for box in between])
    inside = (abs(x - sides[:, 0]) < sides[:, 2] + CLEARANCE) & (
        abs(y - sides[:, 1]) < sides[:, 3] + CLEARANCE
    )
    return bool(inside.any())
