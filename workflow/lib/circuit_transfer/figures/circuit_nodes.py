"""Where the nodes of a circuit are drawn: layers upwards, heads from left to right."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from circuit_transfer.models.edges import INPUT, LOGITS

# Pixels, as all lengths of a drawing.
BOX_HEIGHT, MARGIN = 30.0, 12.0
# Between two rows: the more edges turn there, the more.
LEAST_GAP, MOST_GAP, GAP_OF_EDGE = 40.0, 84.0, 0.44
LETTER = 6.6  # of a label; wider than those of most fonts
# Parts of a layer from below: keys and values that heads share, heads, MLP.
SHARED, HEADS, MLP = range(3)
PARTS = {"kv": SHARED, "h": HEADS}
NODE = re.compile(r"a(\d+)\.(h|kv)(\d+)|m(\d+)")
READER = re.compile(r"a(\d+)\.h(\d+)<([qkv])>")
# Where the edges to a head arrive, as shares of its width.
PORTS = {"q": -0.3, "k": 0.0, "v": 0.3}
# The column of the MLPs is to the right of all heads.
LAST = 10**9


@dataclass(frozen=True)
class Box:
    """The box of a node; `y` grows downwards, as in SVG.

    Attributes:
        name: of the node; `a0.kv1`: keys and values that a group of heads shares.
        row: number of its row from below.
        x: of its centre.
        y: of its centre.
        width: of the box.
        height: of the box.
        ports: `q`, `k` and `v`, where edges arrive, with their x.
        pale: whether no effective edge leads to it or from it.
    """

    name: str
    row: int
    x: float
    y: float
    width: float
    height: float
    ports: Mapping[str, float]
    pale: bool

    @property
    def top(self) -> float:
        """The y of its upper side, where edges start."""
        return self.y - self.height / 2

    @property
    def bottom(self) -> float:
        """The y of its lower side, where edges arrive."""
        return self.y + self.height / 2

    @property
    def label_y(self) -> float:
        """The y of the base line of its name, which is above the ports."""
        return self.y + (-2.0 if self.ports else 3.5)


def reader_node(reader: str, group: int) -> tuple[str, str]:
    """Return the node that a reader belongs to, and `q`, `k`, `v` or nothing.

    Args:
        reader: name of the reader.
        group: heads that share one reader of keys and one of values; 1 for none.
    """
    found = READER.fullmatch(reader)
    if found is None:
        return reader, ""
    layer, head, kind = found.groups()
    shared = group > 1 and kind != "q"
    return f"a{layer}.{'kv' if shared else 'h'}{head}", kind


def row_of(node: str) -> tuple[int, int]:
    """Return the layer of a node and its part of the layer, by which rows are sorted.

    Raises:
        ValueError: there is no such node.
    """
    if node in (INPUT, LOGITS):
        return (-1, 0) if node == INPUT else (LAST, 0)
    found = NODE.fullmatch(node)
    if found is None:
        raise ValueError(f"node {node!r}: expected {INPUT}, {LOGITS}, a0.h1 or m0")
    layer, kind, _, mlp = found.groups()
    return (int(layer), PARTS[kind]) if mlp is None else (int(mlp), MLP)


def column_of(node: str, group: int) -> int | None:
    """Return the head by which a node is placed; none for `input` and `logits`."""
    found = NODE.fullmatch(node)
    if found is None:
        return None
    _, kind, number, mlp = found.groups()
    if mlp is not None:
        return LAST
    return int(number) * (group if kind == "kv" else 1)


@dataclass(frozen=True)
class Grid:
    """The rows and columns of a drawing.

    `input` and `logits` are as wide as all columns together: edges from and to them
    are vertical, and the space between is left to the others.

    Attributes:
        rows: layer and part of every row, from below.
        columns: the head of every column, from the left.
        width: of a column.
        gutters: widths of the spaces beside the columns, one more than these.
        left: where the first of them starts.
        top: the y of the upper side of the first row from above.
        gap: between two rows.
    """

    rows: tuple[tuple[int, int], ...]
    columns: tuple[int, ...]
    width: float
    gutters: tuple[float, ...]
    left: float
    top: float
    gap: float

    @property
    def right(self) -> float:
        """Where the last gutter ends."""
        return self.left + len(self.columns) * self.width + sum(self.gutters)

    @property
    def bottom(self) -> float:
        """The y of the lower side of the lowest row."""
        return self.top + len(self.rows) * (BOX_HEIGHT + self.gap) - self.gap

    def row_y(self, row: int) -> float:
        """Return the y of the centre of a row."""
        from_above = len(self.rows) - 1 - row
        return self.top + BOX_HEIGHT / 2 + from_above * (BOX_HEIGHT + self.gap)

    def gutter_x(self, gutter: int) -> float:
        """Return where a gutter starts."""
        return self.left + gutter * self.width + sum(self.gutters[:gutter])

    def column_x(self, column: int) -> float:
        """Return the centre of a column."""
        return self.gutter_x(column) + self.gutters[column] + self.width / 2


def grid_of(
    nodes: Iterable[str], group: int, *, edges: int, left: float, top: float
) -> Grid:
    """Return the grid of the nodes that are drawn, with gutters of the least width."""
    names = list(nodes)
    columns = {column_of(each, group) for each in names} - {None}
    letters = max(len(each) for each in names)
    return Grid(
        rows=tuple(sorted({row_of(each) for each in names})),
        columns=tuple(sorted(columns)),
        width=max(42.0, letters * LETTER + 6),
        gutters=(MARGIN,) * (len(columns) + 1),
        left=left,
        top=top,
        gap=min(MOST_GAP, LEAST_GAP + GAP_OF_EDGE * edges),
    )


def boxes_of(
    nodes: Sequence[str],
    grid: Grid,
    group: int,
    *,
    kinds: Mapping[str, set[str]],
    effective: set[str],
) -> dict[str, Box]:
    """Return the box of every node.

    Args:
        nodes: their names.
        grid: where rows and columns are.
        group: heads that share a reader of keys, see `reader_node`.
        kinds: by node, as what edges arrive: `q`, `k` or `v`.
        effective: nodes with an effective edge.
    """
    boxes = {}
    for name in nodes:
        row, column = grid.rows.index(row_of(name)), column_of(name, group)
        if column is None:
            x, width = (grid.left + grid.right) / 2, grid.right - grid.left
        else:
            x, width = grid.column_x(grid.columns.index(column)), grid.width
        ports = {kind: x + PORTS[kind] * width for kind in sorted(kinds[name])}
        y, pale = grid.row_y(row), name not in effective
        boxes[name] = Box(name, row, x, y, width, BOX_HEIGHT, ports, pale)
    return boxes
