"""The table of circuits from elsewhere."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from circuit_transfer.tables.cells import measure_cells, measure_schema
from circuit_transfer.tables.curves import IMPORTED, OWN_SIZE, RANKINGS
from circuit_transfer.tables.explanations import (
    EXAGGERATION_NOTE,
    INTERVAL_NOTE,
    MEASURE_EXPLANATIONS,
    explain,
)
from circuit_transfer.tables.typesetting import Table

NAMES = ("name", "target", "task", "circuit", "of")
# Of a circuit that has one size alone, and so no area.
OWN = {"share": pl.Float64, "faithfulness": pl.Float64}
NODES, EDGES = "nodes", "edges"
Levels = Mapping[tuple[str, ...], Mapping[str, Any]]


def imported_table(
    statistics: pl.DataFrame,
    curves: pl.DataFrame,
    *,
    circuits: Mapping[str, Mapping[str, str]],
    methods: Sequence[str],
) -> Table:
    """Imported circuits beside gold and random ones, a block for each.

    Args:
        statistics: the levels of all circuits.
        curves: every circuit at every size.
        circuits: by name, the `target` and the `task` that each was evaluated on.
        methods: whose gold circuits of nodes they are compared with.
    """
    without_source = statistics.filter(
        (pl.col("row") == "level") & pl.col("source").is_null()
    )
    keys = ("circuit", "method", "target", "task")
    levels = {tuple(row[k] for k in keys): row for row in without_source.to_dicts()}
    own = {row["method"]: row for row in curves.filter(kind=OWN_SIZE).to_dicts()}
    lines = []
    for name, place in circuits.items():
        on = (place["target"], place["task"])
        compared = {f"gold, {method}": ("gold", method) for method in methods}
        compared |= {RANKINGS: (RANKINGS, "random")}
        rows = [*_imported(name, on, levels, own.get(name))]
        rows += [(row, NODES, levels.get((*k, *on))) for row, k in compared.items()]
        for row, of, level in rows:
            labels = dict(zip(NAMES, (name, *on, row, of), strict=True))
            size = own[name] if row == IMPORTED and name in own else {}
            shown = {"share": size.get("proportion")}
            shown |= {"faithfulness": size.get("faithfulness")}
            lines.append(labels | measure_cells(level or {}) | shown)
    schema = dict.fromkeys(NAMES, pl.String) | measure_schema() | OWN
    return Table(
        pl.DataFrame(lines, schema=schema),
        labels=len(NAMES),
        note=f"of: what is in or out of a circuit. random-rankings: their mean. "
        f"share and faithfulness: of a circuit that has one size alone. "
        f"{INTERVAL_NOTE} {EXAGGERATION_NOTE}",
        explanations=explain(MEASURE_EXPLANATIONS),
    )


def _imported(
    name: str, on: tuple[str, str], levels: Levels, own: Mapping[str, Any] | None
) -> Iterator[tuple[str, str | None, Mapping[str, Any] | None]]:
    """Yield the rows of one import: label, nodes or edges, level.

    What was not measured, for lack of usable pairs, is neither of nodes nor of edges.
    """
    of_nodes = levels.get((IMPORTED, name, *on))
    of_edges = {
        method: level
        for (circuit, method, *place), level in levels.items()
        if (circuit, *place) == (IMPORTED, *on) and method.startswith(f"{name}, ")
    }
    # Signed first.
    for method, level in sorted(of_edges.items(), reverse=True):
        yield method.replace(name, IMPORTED, 1), EDGES, level
    if not of_edges:
        kind = NODES if of_nodes else EDGES if own else None
        yield IMPORTED, kind, of_nodes
