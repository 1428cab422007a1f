"""The table of what all pairs of a study recover of the gold circuit on a task."""

from collections.abc import Iterable, Mapping
from itertools import product
from typing import Any

import polars as pl

from circuit_transfer.tables.by_method import Maps, main_maps
from circuit_transfer.tables.cells import cell_schema, level_cell
from circuit_transfer.tables.curves import RANKINGS, UNTRAINED
from circuit_transfer.tables.explanations import (
    BEST_BY_CPR,
    EXAGGERATION_NOTE,
    MEASURE_EXPLANATIONS,
    explain,
)
from circuit_transfer.tables.measures import CPR, SHOWN
from circuit_transfer.tables.transfers import Pair
from circuit_transfer.tables.typesetting import HALF_WIDTH, Table, half_width

BEST_NOTE = (
    f"± half of the 95 % interval over examples (bootstrap). {BEST_BY_CPR}: chosen by "
    "CPR, on the same examples, of several circuits, so its CPR lies a little too high."
)


def scaling(
    statistics: pl.DataFrame,
    *,
    task: str,
    transfers: Iterable[Mapping[str, str]],
    maps: Maps,
) -> Table:
    """Circuits on one task: what each pair's best alignment reaches of the gold one."""
    transfers = [(pair["source"], pair["target"]) for pair in transfers]
    pairs = {pair: Pair(statistics, *pair) for pair in transfers}
    # The same baseline for all pairs and methods, so that the column has one meaning.
    untrained = all(
        pair.has(UNTRAINED, each) for pair in pairs.values() for each in maps
    )
    random = UNTRAINED if untrained else RANKINGS
    columns = {random: random, BEST_BY_CPR: "best", "gold": "gold"}
    lines = []
    for (method, name), measure in product(main_maps(maps).items(), SHOWN):
        for models, pair in pairs.items():
            line = {"method": method, "measure": measure.name}
            line["pair"] = " → ".join(models)
            for column, circuit in columns.items():
                level = pair.level(method, circuit, task, name=name)
                line |= level_cell(column, level, measure)
            if measure is CPR:
                line |= _recovery(pair.level(method, "best", task, name=name))
            lines.append(line)
    schema = dict.fromkeys(("method", "measure", "pair"), pl.String)
    for column in columns:
        schema |= cell_schema(column)
    share = "recovery_percent"
    schema |= {share: pl.Float64, share + HALF_WIDTH: pl.Float64}
    note = "recovery: the best alignment's CPR as a share of the gold circuit's."
    return Table(
        pl.DataFrame(lines, schema=schema),
        labels=3,
        blocks=2,
        note=f"{note} {BEST_NOTE} {EXAGGERATION_NOTE}",
        explanations=explain([*MEASURE_EXPLANATIONS, *columns]),
    )


def _recovery(level: Mapping[str, Any]) -> dict[str, float]:
    share, half = level.get("recovery"), half_width(level, "recovery")
    return {
        "recovery_percent": None if share is None else 100 * share,
        f"recovery_percent{HALF_WIDTH}": None if half is None else 100 * half,
    }
