"""Table of the results for all values of the varied settings."""

from collections.abc import Sequence

import polars as pl

from circuit_transfer.tables.curves import RANKINGS, shown_protocols
from circuit_transfer.tables.explanations import explain
from circuit_transfer.tables.typesetting import HALF_WIDTH, Table

SOURCE_FREE = "source-free"
PLACE = ("source", "target", "method", "setting")
VALUE = (*PLACE, "value", "configured")
NOTE = (
    "Means over tasks, then over seeds. One setting is varied at a time, all others "
    f"are as configured. {SOURCE_FREE}: trained without the task's family, like "
    f"{{zero_shot}}. {{zero_shot}} minus {SOURCE_FREE}: ± one standard deviation over "
    "seeds. Areas over different sizes, or under different ablations, are not "
    "comparable; only the order of the columns is. Rows without values: the method "
    "cannot score nodes under this ablation."
)


def lines(areas: pl.DataFrame) -> tuple[str, ...]:
    """Return the names of the circuits that are compared, as in `circuit`."""
    zero_shot = shown_protocols(areas["circuit"]).values()
    return ("gold", "in-distribution", *zero_shot, SOURCE_FREE, RANKINGS)


def drawn_rows(areas: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of the circuits in `lines`, which are compared.

    Args:
        areas: results of `sensitivity.run` for any number of settings.
    """
    *_, left_out = shown_protocols(areas["circuit"])
    other_control = (pl.col("control") != "none") & (pl.col("protocol") != left_out)
    rows = areas.filter(
        pl.col("circuit").is_in(lines(areas)) & ~other_control.fill_null(False)
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
    circuits = lines(areas)
    *_, zero_shot = shown_protocols(areas["circuit"]).values()
    frame = places.join(_of_circuits(by_seed, "cpr", circuits), on=VALUE, how="left")
    frame = frame.join(_differences(by_seed, zero_shot), on=VALUE, how="left")
    frame = frame.join(_of_circuits(by_seed, "cmd", circuits), on=VALUE, how="left")
    pair = pl.concat_str("source", "target", separator=" → ").alias("pair")
    configured = pl.when("configured").then(pl.lit("configured")).otherwise(pl.lit(""))
    areas_columns = [name for name in frame.columns if name not in VALUE]
    shown = frame.select(
        pair, "method", "setting", "value", configured.alias("as"), *areas_columns
    )
    note = NOTE.format(zero_shot=zero_shot)
    return Table(shown, labels=5, blocks=3, note=note, explanations=explain(circuits))


def _of_circuits(
    by_seed: pl.DataFrame, area: str, circuits: Sequence[str]
) -> pl.DataFrame:
    """Return a column for every circuit, null if it is missing."""
    columns = [
        pl.col(area).filter(pl.col("circuit") == line).mean().alias(f"{area}_{line}")
        for line in circuits
    ]
    return by_seed.group_by(VALUE, maintain_order=True).agg(columns)


def _differences(by_seed: pl.DataFrame, zero_shot: str) -> pl.DataFrame:
    """Return the zero-shot line minus source-free, with its deviation over seeds."""
    difference = f"{zero_shot}_minus_{SOURCE_FREE}"
    ours, theirs = (
        by_seed.filter(circuit=line).select(*VALUE, "seed", line_cpr=pl.col("cpr"))
        for line in (zero_shot, SOURCE_FREE)
    )
    # Maps without training, and their controls, have no seed.
    both = ours.join(
        theirs, on=[*VALUE, "seed"], suffix="_control", nulls_equal=True
    ).with_columns(difference=pl.col("line_cpr") - pl.col("line_cpr_control"))
    return both.group_by(VALUE, maintain_order=True).agg(
        pl.col("difference").mean().alias(difference),
        pl.col("difference").std().alias(difference + HALF_WIDTH),
    )
