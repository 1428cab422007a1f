"""The measures that are shown together wherever circuits are compared.

CPR alone prefers circuits that exaggerate: faithfulness above 1 raises it. CMD counts
faithfulness above and below 1 alike, and the accuracy area counts right answers only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

# A faithfulness above this is marked: the circuit exaggerates.
EXAGGERATED = 1.05


@dataclass(frozen=True)
class Measure:
    """A number that describes a whole curve.

    Attributes:
        column: its column in the frames of areas and of statistics.
        name: its name in tables and figures.
        higher: whether higher is better, else lower.
    """

    column: str
    name: str
    higher: bool

    @property
    def deviation(self) -> str:
        """The column of its standard deviation over seeds."""
        return "seed_deviation" if self is CPR else f"{self.column}_seed_deviation"

    @property
    def direction(self) -> str:
        """In words which values are better."""
        return "higher is better" if self.higher else "lower is better"


CPR = Measure("cpr", "CPR", higher=True)
CMD = Measure("cmd", "CMD", higher=False)
ACCURACY = Measure("right_above_wrong_area", "accuracy area", higher=True)
SHOWN = (CPR, CMD, ACCURACY)
AREAS = tuple(measure.column for measure in SHOWN)


def exaggerates(level: Mapping[str, Any]) -> bool | None:
    """Return whether the largest faithfulness of a level is marked; None if unknown."""
    largest = level.get("max_faithfulness")
    return None if largest is None else largest > EXAGGERATED


def agreed_best(
    frame: pl.DataFrame,
    columns: Sequence[str],
    *,
    blocks: Sequence[str],
    decimals: int = 2,
) -> dict[str, list[bool]]:
    """Return which cells have the best circuit of their block and column.

    It is the best by all measures; if they disagree there is none. Values are compared
    as they are shown, so that several circuits can be best, but not all.

    Args:
        frame: a row for every block, `measure` and `circuit`; null values are not
            compared.
        columns: of values.
        blocks: columns that name the circuits to compare.
        decimals: number of decimals that are shown.

    Returns:
        By column, for every row.
    """
    lower = pl.col("measure").is_in([each.name for each in SHOWN if not each.higher])
    of_measure = (*blocks, "measure")
    best = {}
    for column in columns:
        shown = pl.col(column).round(decimals)
        # Step by step, since no window is evaluated within another.
        cells = frame.with_columns(value=pl.when(lower).then(-shown).otherwise(shown))
        highest, lowest = (
            each.over(of_measure) for each in (pl.max("value"), pl.min("value"))
        )
        cells = cells.with_columns(
            wins=(pl.col("value") == highest).fill_null(False),
            differ=(lowest < highest).fill_null(False),
        )
        all_agree = pl.col("wins").all().over(*blocks, "circuit")
        agreed = all_agree & pl.col("differ").any().over(blocks)
        best[column] = cells.select(agreed).to_series().to_list()
    return best
