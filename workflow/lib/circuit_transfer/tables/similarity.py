"""How like the gold scores a projection is, before and after training, in a table."""

from collections.abc import Sequence

import polars as pl

from circuit_transfer.tables.typesetting import Table
from circuit_transfer.transfer.correlation import (
    AFTER,
    BEFORE,
    CHANCE,
    DEPTH,
    GOLD,
    REGIMES,
)

ROWS = (CHANCE, DEPTH, BEFORE, *REGIMES)
CORRELATIONS = ("pearson", "spearman")
NOTE = (
    "Means over tasks, then over seeds; sd: standard deviation over seeds. Against the "
    "gold scores: pearson, spearman, and jaccard, the share of nodes that the circuits "
    "of a size have in common. To source: against the source scores carried over by "
    f"relative depth, since the models have different nodes, as the row {DEPTH!r} is. "
    f"{CHANCE}: circuits of random nodes."
)


def similarity_means(likeness: pl.DataFrame) -> pl.DataFrame:
    """Average the rows of `likeness.compare_projections` over tasks, then over seeds.

    Returns:
        `method`, `map`, `projection` (see `ROWS`), `right`, `measure`, `proportion`,
        `mean`, and `deviation` over seeds, null with a single one.
    """
    projection = pl.when(pl.col("left") == AFTER).then("regime").otherwise("left")
    keys = ["method", "map", "projection", "right", "measure", "proportion"]
    frame = likeness.with_columns(projection=projection).drop_nulls("value")
    seeds = frame.group_by(*keys, "seed", maintain_order=True).agg(
        pl.col("value").mean()
    )
    return seeds.group_by(keys, maintain_order=True).agg(
        mean=pl.col("value").mean(), deviation=pl.col("value").std()
    )


def correlations_table(
    likeness: pl.DataFrame, *, source: str, target: str, methods: Sequence[str]
) -> Table:
    """Correlation and Jaccard index of one pair's projections with the gold scores."""
    frame = likeness.filter(source=source, target=target)
    means = similarity_means(frame)
    # The whole model has all nodes in common with itself.
    smaller = (pl.col("measure") == "jaccard") & (pl.col("proportion") < 1)
    sizes = means.filter(smaller)["proportion"].unique().sort()
    cells = {
        (*row[:4], row[4] if row[5] is None else f"{row[4]}_{row[5]:g}"): row[6:]
        for row in means.iter_rows()
    }
    lines = []
    for method in methods:
        for name, projection in _named(means.filter(method=method)):
            key = (method, name, projection)
            line = {"method": method, "map": name, "projection": projection}
            lines.append(line | _cells(cells, key, sizes.to_list()))
    labels = dict.fromkeys(("method", "map", "projection"), pl.String)
    schema = labels | dict.fromkeys(_cells({}, (), sizes.to_list()), pl.Float64)
    return Table(pl.DataFrame(lines, schema=schema), labels=3, note=NOTE)


def _named(means: pl.DataFrame) -> list[tuple[str | None, str]]:
    """List maps and projections in the order of `ROWS`, the map of none first."""
    there = set(means.select("map", "projection").rows())
    return sorted(there, key=lambda row: (row[0] or "", ROWS.index(row[1])))


def _cells(cells: dict, key: tuple, sizes: Sequence[float]) -> dict[str, float | None]:
    none = (None, None)
    line = {}
    for measure in CORRELATIONS:
        mean, deviation = cells.get((*key, GOLD, measure), none)
        line |= {measure: mean, f"{measure}_sd": deviation}
    for size in sizes:
        measure = f"jaccard_{size:g}"
        line[measure] = cells.get((*key, GOLD, measure), none)[0]
    for measure in CORRELATIONS:
        line[f"{measure}_to_source"] = cells.get((*key, DEPTH, measure), none)[0]
    return line
