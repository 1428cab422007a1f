"""Table of the results for all values of the varied settings."""

from collections.abc import Sequence

import polars as pl

from circuit_transfer.tables.curves import RANKINGS, shown_protocols
from circuit_transfer.tables.explanations import (
    EXAGGERATION_NOTE,
    MEASURE_EXPLANATIONS,
    explain,
)
from circuit_transfer.tables.measures import AREAS, CPR, EXAGGERATED, SHOWN, Measure
from circuit_transfer.tables.typesetting import EXAGGERATES, HALF_WIDTH, Table

SOURCE_FREE = "source-free"
PLACE = ("source", "target", "method", "setting")
VALUE = (*PLACE, "value", "configured")
LABELS = ("method", "setting", "measure", "value")
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
    """Return the means of all measures over tasks, by value, circuit and seed.

    Args:
        areas: rows as returned by `drawn_rows`.
        by: columns that identify a value, `VALUE` or some of them.
    """
    return areas.group_by(*by, "circuit", "seed", maintain_order=True).agg(
        pl.mean(*AREAS, "max_faithfulness")
    )


def sensitivity_table(areas: pl.DataFrame) -> Table:
    """Return the table of mean measures, and of the difference to source-free.

    A block for each setting and measure.

    Args:
        areas: results of `sensitivity.run` for any number of pairs, methods and
            settings.
    """
    places = areas.select(VALUE).unique(maintain_order=True)
    by_seed = means(drawn_rows(areas), by=VALUE)
    circuits = lines(areas)
    *_, zero_shot = shown_protocols(areas["circuit"]).values()
    blocks = [
        _of_measure(places, by_seed, measure, circuits, zero_shot) for measure in SHOWN
    ]
    pair = pl.concat_str("source", "target", separator=" → ").alias("pair")
    configured = pl.when("configured").then(pl.lit("configured")).otherwise(pl.lit(""))
    frame = pl.concat(blocks)
    settings = frame.select(*PLACE).unique(maintain_order=True)
    # The values of a setting stand together, by one measure after the other.
    frame = settings.join(frame, on=PLACE, how="left", maintain_order="left_right")
    numbers = [name for name in frame.columns if name not in (*VALUE, "measure")]
    shown = frame.select(pair, *LABELS, configured.alias("as"), *numbers)
    note = f"{NOTE.format(zero_shot=zero_shot)} {EXAGGERATION_NOTE}"
    explanations = explain([*MEASURE_EXPLANATIONS, *circuits])
    return Table(shown, labels=6, blocks=4, note=note, explanations=explanations)


def _of_measure(
    places: pl.DataFrame,
    by_seed: pl.DataFrame,
    measure: Measure,
    circuits: Sequence[str],
    zero_shot: str,
) -> pl.DataFrame:
    """Return a row for every value, with a column for every circuit."""
    by_seed = by_seed.with_columns(shown=pl.col(measure.column))
    if measure is not CPR:  # which alone is marked where a circuit exaggerates
        by_seed = by_seed.with_columns(max_faithfulness=pl.lit(None, pl.Float64))
    frame = places.join(_of_circuits(by_seed, circuits), on=VALUE, how="left")
    frame = frame.join(_differences(by_seed, zero_shot), on=VALUE, how="left")
    return frame.with_columns(measure=pl.lit(measure.name))


def _of_circuits(by_seed: pl.DataFrame, circuits: Sequence[str]) -> pl.DataFrame:
    """Return a column for every circuit and its mark; null if it is missing."""
    columns = []
    for line in circuits:
        shown, largest = (
            pl.col(name).filter(pl.col("circuit") == line).mean()
            for name in ("shown", "max_faithfulness")
        )
        marked = (largest > EXAGGERATED).alias(line + EXAGGERATES)
        columns += [shown.alias(line), marked]
    return by_seed.group_by(VALUE, maintain_order=True).agg(columns)


def _differences(by_seed: pl.DataFrame, zero_shot: str) -> pl.DataFrame:
    """Return the zero-shot line minus source-free, with its deviation over seeds."""
    difference = f"{zero_shot}_minus_{SOURCE_FREE}"
    ours, theirs = (
        by_seed.filter(circuit=line).select(*VALUE, "seed", "shown")
        for line in (zero_shot, SOURCE_FREE)
    )
    # Maps without training, and their controls, have no seed.
    both = ours.join(
        theirs, on=[*VALUE, "seed"], suffix="_control", nulls_equal=True
    ).with_columns(difference=pl.col("shown") - pl.col("shown_control"))
    return both.group_by(VALUE, maintain_order=True).agg(
        pl.col("difference").mean().alias(difference),
        pl.col("difference").std().alias(difference + HALF_WIDTH),
    )
