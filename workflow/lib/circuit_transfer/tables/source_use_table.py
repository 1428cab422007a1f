"""The table of whether transfers use their source, see `source_use`."""

import polars as pl

from circuit_transfer.tables.explanations import MEASURE_EXPLANATIONS, explain
from circuit_transfer.tables.measures import SHOWN
from circuit_transfer.tables.source_use import (
    ALL_GIVEN,
    BEST_TARGET_ONLY,
    GIVEN,
    KEYS,
    NEGLIGIBLE,
)
from circuit_transfer.tables.typesetting import Table
from circuit_transfer.transfer.controls import TARGET_ONLY
from circuit_transfer.transfer.edge_controls import DEGREE_SOURCE

LONGEST = 1000  # rows that a page shows
NOTE = (
    "The measure by the real source scores minus that by a control, mean over families "
    "of tasks, with its 95 % interval over families (t). A map uses its source where "
    "real scores are better (CPR, accuracy area: higher; CMD: lower) than every control"
    f" that replaces them; {ALL_GIVEN}: than these on average. {BEST_TARGET_ONLY}: in "
    "each family the best of node-changes, edge-changes, self-stitched and a constant "
    "through the stitched map, which see the target's own forward passes and no source "
    f"scores. {DEGREE_SOURCE}: whether more is transferred than the importance of "
    "nodes; these two are not adjusted. "
    "Rows without source and target: all pairs of the relation, the mean over which is "
    "taken by family first. better: in so many families. p families: sign flips over "
    "families alone, two-sided; holm: adjusted for the controls that replace the "
    "source; least: the smallest p that so many families can give. equivalence bound: "
    "the absolute difference is shown to be below it (.05, two one-sided t tests); "
    f"equivalent: it is below {NEGLIGIBLE:g}. families needed: to show a difference of "
    "this d z with power .8 at .05, without adjustment. task similarity: whether tasks "
    "of different families are similar in the same way in both models."
)


def source_use_table(frame: pl.DataFrame) -> Table:
    """Return the table of all pairs, a block for each map, protocol and measure.

    Args:
        frame: see `source_use`.
    """
    names = {measure.column: measure.name for measure in SHOWN}
    said = {True: "yes", False: "no"}
    rows = frame.rename({"protocol": "left_out"}).with_columns(
        pl.col("measure").replace(names),
        pl.col("equivalent").replace_strict(said, return_dtype=pl.String),
    )
    terms = [*MEASURE_EXPLANATIONS, *rows["map"].unique(maintain_order=True), *GIVEN]
    terms += [*TARGET_ONLY, DEGREE_SOURCE]
    return Table(
        rows,
        labels=len(KEYS),
        blocks=len(KEYS) - 1,
        decimals=3,
        longest=LONGEST,
        note=NOTE,
        explanations=explain(terms),
    )
