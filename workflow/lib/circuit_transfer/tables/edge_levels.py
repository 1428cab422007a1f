"""The table of a model's circuits of edges: how faithful they are, and how large."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import polars as pl

from circuit_transfer.tables.cells import measure_cells, measure_schema
from circuit_transfer.tables.differences import MEAN
from circuit_transfer.tables.edge_curves import (
    ABSOLUTE,
    FOUND,
    LIFTED,
    NODES,
    RANDOM,
    RANDOM_EFFECTIVE,
    SIGNED,
)
from circuit_transfer.tables.explanations import (
    EXAGGERATION_NOTE,
    MEASURE_EXPLANATIONS,
    explain,
)
from circuit_transfer.tables.measures import AREAS, SHOWN, agreed_best
from circuit_transfer.tables.typesetting import Table

RANKINGS = (SIGNED, ABSOLUTE)
LARGE = ("edges_needed", "n_edges_needed", "effective_needed")
SCHEMA = (
    dict.fromkeys(("task", "method", "circuit"), pl.String)
    | measure_schema()
    | dict(zip(LARGE, (pl.Float64, pl.Int64, pl.Int64), strict=True))
)
EXPLANATIONS = {
    SIGNED: "edges with the highest scores first",
    ABSOLUTE: "edges with the highest absolute scores first",
    RANDOM: "edges in a random order, mean over several",
    RANDOM_EFFECTIVE: "random edges, of each size until as many are on a path from the "
    "input to the logits as in the method's circuit of that size, signed ranking",
    LIFTED: "every edge has the lower score of the two nodes that it connects",
    NODES: "circuits of nodes at equal shares, of nodes",
}
NOTE = (
    "Shares are of all edges. edges needed: the smallest of the evaluated shares with "
    "a faithfulness of at least .9, n edges needed: the number of these edges, "
    "effective needed: how many of them are on a path from the input to the logits; of "
    "circuits of nodes the share of nodes. ± half-width of the 95 % interval over "
    "examples (bootstrap of distinct pairs of prompts). Bold: the best ranking of "
    f"edges of its task by all three measures; none where they disagree. "
    f"{EXAGGERATION_NOTE}"
)


class Row(NamedTuple):
    """A circuit of the table."""

    method: str
    control: str
    ranking: str | None

    @property
    def circuit(self) -> str:
        """The name of the circuit beside its method."""
        return self.ranking if self.control == FOUND else self.control


def of_row(frame: pl.DataFrame, row: Row) -> pl.DataFrame:
    """Return the rows of a circuit; of a control that names no ranking, of the signed.

    Random rankings have no method, and circuits of nodes no ranking.
    """
    found = frame.filter(control=row.control)
    if row.control != RANDOM:
        found = found.filter(method=row.method)
    ranking = row.ranking or SIGNED
    return found.filter(pl.col("ranking").is_null() | (pl.col("ranking") == ranking))


class EdgeLevels:
    """The statistics of circuits of edges of one model, by name."""

    def __init__(self, statistics: pl.DataFrame, target: str) -> None:
        """Take the rows of the model, which are of one ablation."""
        frame = statistics.filter(target=target)
        self._levels = frame.filter(row="level")
        self._differences = frame.filter(row="difference")

    def level(self, row: Row, task: str = MEAN) -> dict[str, Any]:
        """Return the level of a circuit, or nothing."""
        found = of_row(self._levels.filter(task=task), row)
        return found.row(0, named=True) if len(found) else {}

    def differences(self, row: Row, comparison: str) -> list[dict[str, Any]]:
        """Return the tested differences of a ranking of edges in a comparison."""
        found = of_row(self._differences, row)
        return found.filter(comparison=comparison).to_dicts()


def shown_rows(edge_methods: Sequence[str], methods: Sequence[str]) -> list[Row]:
    """Return the circuits of every task in order: found ones, then references."""
    found = [Row(each, FOUND, rank) for each in edge_methods for rank in RANKINGS]
    effective = [Row(each, RANDOM_EFFECTIVE, SIGNED) for each in edge_methods]
    nodes = [Row(each, kind, None) for kind in (LIFTED, NODES) for each in methods]
    return [*found, *nodes, *effective, Row(RANDOM, RANDOM, None)]


def edges_table(
    statistics: pl.DataFrame,
    *,
    target: str,
    tasks: Sequence[str],
    edge_methods: Sequence[str],
    methods: Sequence[str],
) -> Table:
    """Circuits of edges of one model, a block for each task and one for their mean.

    Args:
        statistics: levels of circuits of edges and of nodes, of one ablation.
        target: the model.
        tasks: in the order of the blocks.
        edge_methods: methods that score edges, in order.
        methods: methods that score nodes, in order.
    """
    levels = EdgeLevels(statistics, target)
    rows = shown_rows(edge_methods, methods)
    lines = []
    for task in (*tasks, *([MEAN] if len(tasks) > 1 else [])):
        for row in rows:
            level = levels.level(row, task)
            labels = {"task": task, "method": row.method, "circuit": row.circuit}
            lines.append(labels | _cells(level))
    frame = pl.DataFrame(lines, schema=SCHEMA)
    return Table(
        frame,
        labels=3,
        best=_best(frame),
        note=NOTE,
        explanations=explain(MEASURE_EXPLANATIONS)
        | {row.circuit: EXPLANATIONS[row.circuit] for row in rows},
    )


def _cells(level: Mapping[str, Any]) -> dict[str, Any]:
    return measure_cells(level) | {name: level.get(name) for name in LARGE}


def _best(frame: pl.DataFrame) -> dict[str, list[bool]]:
    """Return which rankings of edges are bold: the best of their task by all measures.

    A ranking that was not measured on a task does not compete.
    """
    found = frame.with_row_index("line").filter(pl.col("circuit").is_in(RANKINGS))
    parts = [
        found.select(
            "line",
            "task",
            pl.format("{} {}", "method", "circuit").alias("circuit"),
            pl.lit(measure.name).alias("measure"),
            pl.col(measure.column).alias("value"),
        )
        for measure in SHOWN
    ]
    cells = pl.concat(parts)
    best = agreed_best(cells, ["value"], blocks=["task"])["value"]
    bold = set(cells.filter(pl.Series(best, dtype=pl.Boolean))["line"])
    return dict.fromkeys(AREAS, [line in bold for line in range(frame.height)])
