"""Table of the results for all values of the varied settings."""

from collections.abc import Sequence

import polars as pl

from circuit_transfer.tables.curves import PROTOCOLS, RANKINGS
from circuit_transfer.tables.explanations import explain
from circuit_transfer.tables.typesetting import HALF_WIDTH, Table

LEFT_OUT = "family"
ZERO_SHOT, SOURCE_FREE = PROTOCOLS[LEFT_OUT], "source-free"
LINES = ("gold", "in-distribution", *PROTOCOLS.values(), SOURCE_FREE, RANKINGS)
PLACE = ("source", "target", "method", "setting")
VALUE = (*PLACE, "value", "configured")
DIFFERENCE = f"{ZERO_SHOT}_minus_{SOURCE_FREE}"
NOTE = (
    "Means over tasks, then over seeds. One setting is varied at a time, all others "
    f"are as configured. {SOURCE_FREE}: trained without the task's family, like "
    f"{ZERO_SHOT}. {ZERO_SHOT} minus {SOURCE_FREE}: ± one standard deviation over "
    "seeds. Areas over different sizes, or under different ablations, are not "
    "comparable; only the order of the columns is. Rows without values: the method "
    "cannot score nodes under this ablation."
)


def drawn_rows(areas: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of the circuits in `LINES`, which are compared.

    Args:
        areas: results of `sensitivity.run` for any number of settings.
    """
    other_control = (pl.col("control") != "none") & (pl.col("protocol") != LEFT_OUT)
    rows = areas.filter(
        pl.col("circuit").is_in(LINES) & ~other_control.fill_null(False)
    )
    return rows.filter(pl.col("cpr").is_not_null())


def means(areas: pl.DataFrame, *, by: Sequence[str]) -> pl.DataFrame:
    """Return the means of CPR and CMD over tasks, by value, circuit and seed.

    Args:
        areas: rows as returned by `drawn_rows`.
        by: columns that identify a value, `VALUE` or some of them.
    """
    return areas.group_by(*by, "circuit", "seed", maintain_order=True).agg(
        pl.mean("cpr", "cmd")
    )


def sensitivity_table(areas: pl.DataFrame) -> Table:
    """Return the table of mean CPR and CMD, and the difference to source-free.

    Args:
        areas: results of `sensitivity.run` for any number of pairs, methods and
            settings.
    """
    places = areas.select(VALUE).unique(maintain_order=True)
    by_seed = means(drawn_rows(areas), by=VALUE)
    frame = places
    for area in ("cpr", "cmd"):
        frame = frame.join(_of_circuits(by_seed, area), on=VALUE, how="left")
        if area == "cpr":
            frame = frame.join(_differences(by_seed), on=VALUE, how="left")
    pair = pl.concat_str("source", "target", separator=" → ").alias("pair")
    configured = pl.when("configured").then(pl.lit("configured")).otherwise(pl.lit(""))
    areas_columns = [name for name in frame.columns if name not in VALUE]
    shown = frame.select(
        pair, "method", "setting", "value", configured.alias("as"), *areas_columns
    )
    return Table(shown, labels=5, blocks=3, note=NOTE, explanations=explain([*LINES]))


def _of_circuits(by_seed: pl.DataFrame, area: str) -> pl.DataFrame:
    """Return a column for every circuit in `LINES`, null if it is missing."""
    columns = [
        pl.col(area).filter(pl.col("circuit") == line).mean().alias(f"{area}_{line}")
        for line in LINES
    ]
    return by_seed.group_by(VALUE, maintain_order=True).agg(columns)


def _differences(by_seed: pl.DataFrame) -> pl.DataFrame:
    """Return zero-shot-family minus source-free, with its deviation over seeds."""
    ours, theirs = (
        by_seed.filter(circuit=line).select(*VALUE, "seed", line_cpr=pl.col("cpr"))
        for line in (ZERO_SHOT, SOURCE_FREE)
    )
    # Maps without training, and their controls, have no seed.
    both = ours.join(
        theirs, on=[*VALUE, "seed"], suffix="_control", nulls_equal=True
    ).with_columns(difference=pl.col("line_cpr") - pl.col("line_cpr_control"))
    return both.group_by(VALUE, maintain_order=True).agg(
        pl.col("difference").mean().alias(DIFFERENCE),
        pl.col("difference").std().alias(DIFFERENCE + HALF_WIDTH),
    )
