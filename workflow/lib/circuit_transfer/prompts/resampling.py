"""Pairs that are drawn from others with replacement, to see what depends on them."""

import polars as pl

from circuit_transfer.statistics import generator


def resampled_pairs(pairs: pl.DataFrame, number: int) -> pl.DataFrame:
    """Return pairs that are drawn from others with replacement.

    Pairs with the same prompts are drawn together, as they are where scores by example
    are resampled.

    Args:
        pairs: a frame of `PAIR_SCHEMA`.
        number: of the resample; it decides what is drawn.
    """
    if pairs.is_empty():
        return pairs
    clusters: dict[tuple, list[int]] = {}
    prompts = pairs.select("clean_ids", "corrupted_ids")
    for place, (clean, corrupted) in enumerate(prompts.iter_rows()):
        clusters.setdefault((*clean, None, *corrupted), []).append(place)
    rows = [*clusters.values()]
    drawn = generator("training pairs", number).integers(len(rows), size=len(rows))
    return pairs[[place for cluster in drawn for place in rows[cluster]]]
