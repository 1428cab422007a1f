"""Faithfulness curves of circuits of edges, each described by one row.

The curves of nodes are in `curves`, whose measures these are. Circuits of nodes stand
beside those of edges wherever the two are compared.
"""

from collections.abc import Iterable, Mapping

import numpy as np
import polars as pl

from circuit_transfer.tables.curves import (
    BY_EXAMPLE,
    MEASURES,
    SHARE,
    curve_measures,
    with_share,
)

# What a ranking of edges is, beside one by a method of attribution (`none`).
FOUND, RANDOM, RANDOM_EFFECTIVE = "none", "random", "random-effective"
LIFTED, NODES = "lifted", "nodes"
SIGNED, ABSOLUTE = "signed", "absolute"
KEYS = {
    "target": pl.String,
    "task": pl.String,
    "method": pl.String,
    "control": pl.String,
    "ranking": pl.String,
    "seed": pl.Int64,
    "ablation": pl.String,
}
SIZES = {
    "proportion": pl.Float64,
    "n_edges": pl.Int64,
    "n_effective": pl.Int64,
    "n_nodes": pl.Int64,
}
MEANS = {"faithfulness": pl.Float64, "accuracy": pl.Float64} | SHARE
CURVES = KEYS | SIZES | MEANS | BY_EXAMPLE
# The columns that the frame of a file must have.
COLUMNS = ("target", "task", "method", *SIZES, "faithfulness", "logit_diffs")
NODE_COLUMNS = tuple(name for name in COLUMNS if name not in SIZES or name == "n_nodes")
# A circuit of this faithfulness is said to suffice, and one as near to 1 to be close.
FAITHFUL = 0.9
ROUNDING = 1e-6  # of means of float32
NEEDED = {
    "edges_needed": pl.Float64,
    "n_edges_needed": pl.Int64,
    "effective_needed": pl.Int64,
    "close_needed": pl.Float64,
}
AREAS = MEASURES | {"cpr_effective": pl.Float64} | NEEDED


def edge_curves(frames: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """Stack measured circuits of edges, a row per circuit and size.

    The row of a learned circuit at its own size, `own_size`, is on no curve.

    Args:
        frames: as `circuits.edge_faithfulness` returns them, with the label columns
            `target`, `task`, `method`, `control`, `ranking` and `seed`.
    """
    own = pl.DataFrame(schema={"own_size": pl.Boolean})
    found = _stacked([own, *frames])
    return _with_columns(found.filter(pl.col("own_size").not_().fill_null(True)))


def node_curves(frames: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """Stack measured circuits of nodes as `edge_curves`, with no number of edges."""
    frames = [frame.with_columns(control=pl.lit(NODES)) for frame in frames]
    return _with_columns(_stacked(frames))


def _stacked(frames: Iterable[pl.DataFrame]) -> pl.DataFrame:
    frames = [frame for frame in frames if frame.width]
    # The empty frame first: a study may have no file of a kind.
    return pl.concat([pl.DataFrame(schema=CURVES), *frames], how="diagonal_relaxed")


def _with_columns(stack: pl.DataFrame) -> pl.DataFrame:
    columns = with_share(stack).select(*CURVES).cast(CURVES)
    return columns.sort(*KEYS, "proportion")


def edge_areas(curves: pl.DataFrame) -> pl.DataFrame:
    """Reduce every curve to one row: its `AREAS`.

    These are the measures of nodes over the share of edges; `cpr_effective`, the mean
    faithfulness over the number of edges on a path from the input to the logits, from
    the smallest circuit to the largest; the smallest circuit whose faithfulness is at
    least .9, as a share of the edges, and its numbers of edges and of effective edges;
    and the smallest share whose faithfulness is at most .1 away from 1.

    Raises:
        ValueError: a curve has fewer than two sizes, or a size twice.
    """
    rows = []
    for key, curve in curves.group_by(*KEYS, maintain_order=True):
        try:
            measures = curve_measures(curve)
        except ValueError as error:
            raise ValueError(f"curve of {dict(zip(KEYS, key, strict=True))}") from error
        rows.append((*key, *measures, _effective_area(curve), *_needed(curve).values()))
    areas = pl.DataFrame(rows, schema=KEYS | AREAS, orient="row")
    # A model that corruption leaves unchanged has no faithfulness: an empty cell.
    return areas.with_columns(pl.col(pl.Float64).fill_nan(None))


def _effective_area(curve: pl.DataFrame) -> float | None:
    counts = curve["n_effective"].to_numpy().astype(float)
    span = counts[-1] - counts[0]
    if not span > 0:
        return None
    values = curve["faithfulness"].to_numpy().astype(float)
    return float(np.trapezoid(values, counts) / span)


def _needed(curve: pl.DataFrame) -> Mapping[str, float | None]:
    values = curve["faithfulness"].to_numpy().astype(float)
    first, close = (
        curve[np.flatnonzero(holds)[:1]]
        for holds in (_suffices(values), _close(values))
    )
    found = first.to_dicts()[0] if len(first) else {}
    return {
        "edges_needed": found.get("proportion"),
        "n_edges_needed": found.get("n_edges"),
        "effective_needed": found.get("n_effective"),
        "close_needed": close["proportion"][0] if len(close) else None,
    }


def _suffices(values: np.ndarray) -> np.ndarray:
    return values >= FAITHFUL - ROUNDING


def _close(values: np.ndarray) -> np.ndarray:
    # As CMD, by faithfulness above and below 1.
    return np.abs(1 - values) <= 1 - FAITHFUL + ROUNDING


def needed_draws(
    curve: np.ndarray, proportions: tuple[float, ...]
) -> dict[str, np.ndarray]:
    """Return the shares needed in every resample, see `edge_areas`; NaN without one.

    Args:
        curve: faithfulness `(sizes, resamples)`.
        proportions: the sizes.
    """
    sizes = np.asarray(proportions)
    found = {}
    for name, holds in (("edges_needed", _suffices), ("close_needed", _close)):
        enough = holds(curve)
        shares = sizes[enough.argmax(axis=0)]
        found[name] = np.where(enough.any(axis=0), shares, np.nan)
    return found
