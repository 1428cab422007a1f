"""Whether transfers use their source, over families of tasks alone."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from circuit_transfer.summary.wording import Answer, counted, joined, with_interval
from circuit_transfer.tables.equivalence import LEVEL
from circuit_transfer.tables.measures import CMD, CPR, SHOWN
from circuit_transfer.tables.source_use import (
    ALL_GIVEN,
    BEST_TARGET_ONLY,
    GIVEN,
    NEGLIGIBLE,
    TEST,
    strictest,
)
from circuit_transfer.tables.source_use_table import NOTE
from circuit_transfer.tables.typesetting import Table

HOLM = f"{TEST}_holm"
HIGHER = {measure.column: measure.higher for measure in SHOWN}
OVERVIEW = ("relation", "source", "target", "method", "map", "control")
NUMBERS = ("difference", "difference_low", "difference_high", "better", "n_families")
NUMBERS += (TEST, "equivalence_bound", "families_needed")


def source_use_answer(frame: pl.DataFrame) -> Iterator[Answer | str]:
    """Yield for every pair and method the maps that use their source, over families.

    Where so few families cannot show anything, a sentence says so for all.

    Args:
        frame: see `tables.source_use`.
    """
    rows = strictest(frame).filter(pl.col("source").is_not_null())
    if rows.is_empty():
        return
    of_given = rows.filter(pl.col("control").is_in(GIVEN))
    least = _least_adjusted(of_given)
    if least is not None and least > LEVEL:
        families = counted(of_given["n_families"].max(), "family", "families")
        yield (
            f"Over {families} of tasks alone, no map can be shown to exceed all "
            f"controls: p is at least {min(least, 1):.2f}."
        )
        return
    for (source, target, method), of_pair in rows.group_by(
        "source", "target", "method", maintain_order=True
    ):
        yield _of_pair(of_pair, f"From {source} to {target}", method)


def source_use_overview(frame: pl.DataFrame) -> Table:
    """Return the differences to the controls together, by CPR, a row per pair and map.

    Args:
        frame: see `tables.source_use`.
    """
    rows = strictest(frame).filter(measure=CPR.column)
    rows = rows.filter(pl.col("control").is_in([ALL_GIVEN, BEST_TARGET_ONLY]))
    shown = rows.select(*OVERVIEW, *NUMBERS)
    return Table(shown, labels=len(OVERVIEW), blocks=5, decimals=3, note=NOTE)


def _least_adjusted(rows: pl.DataFrame) -> float | None:
    """Return the smallest p that any pair can reach for all of its controls."""
    of_map = ("source", "target", "method", "map", "measure")
    least = pl.len() * pl.max(f"{TEST}_least")
    return rows.group_by(of_map).agg(least=least)["least"].min()


def _of_pair(rows: pl.DataFrame, start: str, method: str) -> Answer:
    relation, maps = rows["relation"][0], rows["map"].unique(maintain_order=True)
    by_map = {name: rows.filter(map=name).to_dicts() for name in maps}
    using = [name for name, each in by_map.items() if _exceeds(each, GIVEN, HOLM)]
    beyond = [
        name
        for name, each in by_map.items()
        if _exceeds(each, (BEST_TARGET_ONLY,), TEST)
    ]
    same = [name for name, each in by_map.items() if _is_equivalent(each)]
    families = counted(rows["n_families"].max(), "family", "families")
    lead = f"{start} ({relation}) by {method}, over {families} of tasks alone, "
    parts = [f"{_listed(using)} shown to use the source"]
    if same:
        within = f"within {NEGLIGIBLE:g} of every control by CPR"
        parts.append(f"{_listed(same)} shown to be {within}")
    if BEST_TARGET_ONLY in rows["control"]:
        parts.append(f"{_listed(beyond)} shown to exceed the best target-only control")
    differences = [
        f"{row['map']} {with_interval(row, 'difference')}"
        for row in rows.filter(measure=CPR.column, control=ALL_GIVEN).to_dicts()
    ]
    details = f"CPR minus the mean of controls: {joined(differences)}."
    return Answer(f"{lead}{'; '.join(parts)}.", details if differences else "")


def _listed(maps: Sequence[str]) -> str:
    if not maps:
        return "no map was"
    return f"{joined(maps)} {'was' if len(maps) == 1 else 'were'}"


def _exceeds(
    rows: Sequence[Mapping[str, Any]], controls: Sequence[str], test: str
) -> bool:
    """Return whether all controls are exceeded, by CPR and by CMD."""
    found = [
        row
        for row in rows
        if row["control"] in controls and row["measure"] in (CPR.column, CMD.column)
    ]
    return bool(found) and all(
        row[test] < LEVEL and (row["difference"] > 0) == HIGHER[row["measure"]]
        for row in found
    )


def _is_equivalent(rows: Sequence[Mapping[str, Any]]) -> bool:
    found = [
        row["equivalent"]
        for row in rows
        if row["control"] in GIVEN and row["measure"] == CPR.column
    ]
    return bool(found) and all(found)
