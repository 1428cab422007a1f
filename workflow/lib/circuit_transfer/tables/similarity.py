"""Table of the similarity between projected scores and gold scores."""

from collections.abc import Sequence

import polars as pl

from circuit_transfer.tables.typesetting import Table
from circuit_transfer.transfer.correlation import (
    AFTER,
    CHANCE,
    DEPTH,
    GOLD,
    RANDOM,
    REGIMES,
)

ROWS = (CHANCE, DEPTH, RANDOM, *REGIMES)
CORRELATIONS = ("pearson", "spearman")
NOTE = (
    "Means over tasks, then over seeds; sd: standard deviation over seeds. pearson, "
    "spearman: correlation with the gold scores; jaccard: index of the circuits of a "
    "size and the gold circuits. to source: correlation with the source scores mapped "
    f"to the target by relative depth (row {DEPTH!r}), since the models have different "
    f"nodes. {CHANCE}: circuits of random nodes."
)


def similarity_means(comparisons: pl.DataFrame) -> pl.DataFrame:
    """Average the rows of `correlation.compare_projections` over tasks, then seeds.

    Proportions that round to the same circuit are one, the smallest.

    Returns:
        `method`, `map`, `projection` (see `ROWS`), `right`, `measure`, `proportion`,
        `mean`, and standard `deviation` over seeds, null for a single seed.
    """
    projection = pl.when(pl.col("left") == AFTER).then("regime").otherwise("left")
    keys = ["method", "map", "projection", "right", "measure", "proportion"]
    first = pl.min("proportion").over("target", "n_nodes")
    repeated = (pl.col("proportion") > first).fill_null(False)
    frame = comparisons.with_columns(projection=projection).drop_nulls("value")
    frame = frame.filter(~repeated)
    seeds = frame.group_by(*keys, "seed", maintain_order=True).agg(
        pl.col("value").mean()
    )
    return seeds.group_by(keys, maintain_order=True).agg(
        mean=pl.col("value").mean(), deviation=pl.col("value").std()
    )


def correlations_table(
    comparisons: pl.DataFrame, *, source: str, target: str, methods: Sequence[str]
) -> Table:
    """Return the correlations and Jaccard indices of one pair with the gold scores."""
    frame = comparisons.filter(source=source, target=target)
    means = similarity_means(frame)
    # At proportion 1 the Jaccard index is always 1.
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
    """List maps and projections in the order of `ROWS`, those without a map first."""
    pairs = set(means.select("map", "projection").rows())
    return sorted(pairs, key=lambda row: (row[0] or "", ROWS.index(row[1])))


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
