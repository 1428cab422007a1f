"""Table of what a map owes to its source, by the number of its training families.

All numbers are over families: the value of a family is the mean over its tasks, and
over seeds, which draw the families of training.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl

from circuit_transfer.statistics import compare
from circuit_transfer.tables.differences import adjust
from circuit_transfer.tables.typesetting import Table
from circuit_transfer.transfer.controls import RIDGE_CONTROLS
from circuit_transfer.transfer.training_sets import Families, family_of

SETTING, ALL = "training_families", "all"
RIDGE, REAL, CONSTANT, SHUFFLED = "ridge", "real", "constant", "shuffled"
OTHER_FAMILY, MEAN_GOLD = "other family", "mean gold"
# By control, the scores that a map was given, `none` being the task's own. Those of the
# ridge regression belong to no other map.
GIVEN = {
    "none": REAL,
    "source-free": CONSTANT,
    "scrambled-source": SHUFFLED,
    "other-family": OTHER_FAMILY,
    RIDGE: REAL,
    RIDGE_CONTROLS["scrambled-source"]: SHUFFLED,
    RIDGE_CONTROLS["other-family"]: OTHER_FAMILY,
    "mean-gold": MEAN_GOLD,
}
PAIR = ("source", "target", "method")
FIT = (*PAIR, "map", "value")
TESTED = {
    "pair": pl.String,
    "method": pl.String,
    "map": pl.String,
    SETTING: pl.String,
    "against": pl.String,
    "real": pl.Float64,
    "other": pl.Float64,
    "difference": pl.Float64,
    "difference_low": pl.Float64,
    "difference_high": pl.Float64,
    "p_families": pl.Float64,
    "p_families_holm": pl.Float64,
    "p_least": pl.Float64,
    "families": pl.Int64,
}
NOTE = (
    "CPR of circuits that were found without the task's family, by alignments that "
    "were trained on so many of the other families, drawn by seed, with equally many "
    "pairs: from the task's own source scores (real), and minus that from other ones. "
    "Means over families, of each over its tasks and seeds. In brackets the 95 % "
    "interval over families (bootstrap). p families: two-sided sign-flip test over "
    "families; holm: adjusted for the controls of one number; p least: the smallest "
    "that so many families can give."
)
EXPLANATIONS = {
    CONSTANT: "trained and applied with a constant in place of all source scores",
    SHUFFLED: "the trained map applied to permuted source scores",
    OTHER_FAMILY: "the trained map applied to the source scores of a task of another "
    "family, in training or not",
    MEAN_GOLD: "no source: mean of the gold scores of the training tasks, which is "
    "what ridge gives where it learns nothing of the source",
    RIDGE: "regression in closed form from source scores to the gold scores of the "
    "training tasks",
}


def family_means(areas: pl.DataFrame, families: Families) -> pl.DataFrame:
    """Return the CPR by family, of every map and what it was given.

    Args:
        areas: results of `sensitivity.run`; of other settings nothing is returned.
        families: of the tasks.

    Returns:
        `PAIR`, `map` (`ridge` for it and `mean-gold`), `value`, `given`, `family` and
        `cpr`, sorted, the number `all` last.
    """
    rows = areas.filter(
        pl.col("cpr").is_not_null(), setting=SETTING, kind="aligned"
    ).with_columns(
        pl.col("map").fill_null(RIDGE),
        given=pl.col("control").replace_strict(GIVEN, return_dtype=pl.String),
        family=pl.col("task").map_elements(
            lambda task: family_of(task, families), return_dtype=pl.String
        ),
    )
    # In a fixed order: sums depend on it in the last digit.
    rows = rows.sort(pl.all())
    keys = (*FIT, "given", "family")
    of_task = rows.group_by(*keys, "task", maintain_order=True).agg(pl.mean("cpr"))
    means = of_task.group_by(keys, maintain_order=True).agg(pl.mean("cpr"))
    number = pl.col("value").replace(ALL, "inf").cast(pl.Float64)
    return means.sort(*PAIR, pl.col("map") == RIDGE, "map", number, "given", "family")


def training_families_table(areas: pl.DataFrame, families: Families) -> Table:
    """Return the table of real minus every other, by number of training families.

    Args:
        areas: results of `sensitivity.run` for any pairs and methods.
        families: of the tasks, see `training_sets.study_families`.
    """
    means = family_means(areas, families)
    rows = []
    for key, of_fit in means.group_by(FIT, maintain_order=True):
        found = [*_compared(of_fit)]
        adjust(found, "p_families")
        place = dict(zip(FIT, key, strict=True))
        labels = {"pair": f"{place['source']} → {place['target']}"}
        labels |= {"method": place["method"], "map": place["map"]}
        rows += [labels | {SETTING: place["value"]} | row for row in found]
    frame = pl.DataFrame(rows, schema=TESTED)
    return Table(
        frame, labels=5, blocks=3, decimals=3, note=NOTE, explanations=EXPLANATIONS
    )


def _compared(means: pl.DataFrame) -> Iterator[dict[str, Any]]:
    """Yield the difference of one fit's real scores to all others, family by family."""
    by_family = {
        given: dict(of_given.select("family", "cpr").iter_rows())
        for (given,), of_given in means.group_by("given", maintain_order=True)
    }
    real = by_family.get(REAL, {})
    for given in dict.fromkeys(GIVEN.values()):
        other = by_family.get(given, {})
        both = sorted(real.keys() & other.keys())
        if given == REAL or not both:
            continue
        found = compare([np.array([real[each] - other[each]]) for each in both])
        yield {
            "against": given,
            "real": np.mean([real[each] for each in both]),
            "other": np.mean([other[each] for each in both]),
            "difference": found.mean_difference,
            "difference_low": found.low,
            "difference_high": found.high,
            "p_families": found.p_tasks,
            "p_least": 2.0 ** (1 - len(both)),
            "families": len(both),
        }
