"""Tables of time and memory relative to bare passes, and of their scaling."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from circuit_transfer.benchmarking.entries import FORWARD_BACKWARD, LOAD, MEASURED
from circuit_transfer.circuits.methods import METHODS
from circuit_transfer.tables.typesetting import MARK, Table

ON = {"benchmark": pl.String, "machine": pl.String}
# Columns of the measurements of scaling.
SCALING = {"axis": pl.String, "value": pl.Int64} | MEASURED | ON
# Slopes are marked that exceed 1, and ratios whose slope exceeds 0, by more than this.
TOLERANCE = 0.1
ABOVE = "†"
# Whose limit is one for fewer layers than the ideal has.
SHORTER = [each.name for each in METHODS.values() if each.limit and each.layers < 1]
NOTE = (
    "seconds: median over repetitions. ideal: the passes of all prompts through the "
    "bare model that a computation requires: forward passes, and (b) forward and "
    "backward passes to the embeddings; run: the passes that were run, by tokens and "
    "layers. ratio: seconds relative to the ideal passes, timed immediately before and "
    "after; median. memory: peak memory of the computation's tensors, also relative to "
    "a bare forward and backward pass. tokens per second: tokens of the ideal passes. "
    "shared: length of the prefix that clean and corrupted prompts share; circuits: "
    f"number evaluated together. {ABOVE} above the limit. The ideal of "
    f"{', '.join(SHORTER)} counts every pass from the first to the last layer, that "
    "of an alignment step includes the clean and corrupted runs."
)
SCALING_NOTE = (
    "slope: of log seconds against log size, by least squares. ideal slope: of the "
    "bare passes that a computation requires, whose number may grow with the size. "
    "ratio slope: of the seconds relative to these passes. "
    f"{ABOVE} slope above 1 and ratio slope above 0, both by more than {TOLERANCE}."
)


def benchmark_rows(measured: pl.DataFrame) -> pl.DataFrame:
    """Return median seconds, median ratio and memory of every computation.

    Args:
        measured: the columns of `ON` and `LOAD`, then those of `benchmarking.measure`.

    Returns:
        A row per computation and load: `case`, `ideal` and `run` (passes as
        text), `seconds`, `ratio`, `limit`, `memory_mb`, `memory_ratio`, `memory_limit`,
        `tokens_per_second`.
    """
    passes = pl.col("ideal_forwards") + pl.col("ideal_forward_backwards")
    tokens = (passes * pl.col("examples") * pl.col("positions")).first()
    bare_peak = pl.col("peak_bytes").filter(pl.col("case") == FORWARD_BACKWARD).first()
    place = (*ON, *LOAD)
    return (
        measured.with_columns(bare_peak=bare_peak.over(place))
        .group_by(*place, "case", maintain_order=True)
        .agg(
            _passes("ideal").first().alias("ideal"),
            _passes("run").first().alias("run"),
            pl.col("seconds").median(),
            _ratio().alias("ratio"),
            pl.col("limit").first(),
            (pl.col("peak_bytes").first() / 1e6).alias("memory_mb"),
            (pl.col("peak_bytes") / pl.col("bare_peak")).first().alias("memory_ratio"),
            pl.col("memory_limit").first(),
            (tokens / pl.col("seconds").median())
            .round()
            .cast(pl.Int64)
            .alias("tokens_per_second"),
        )
    )


def benchmark_table(measured: pl.DataFrame) -> Table:
    """Return the table of `benchmark_rows`, with a block per benchmark and load."""
    rows = benchmark_rows(measured)
    marks = {
        f"{ratio}{MARK}": _mark(pl.col(ratio) > pl.col(limit))
        for ratio, limit in (("ratio", "limit"), ("memory_ratio", "memory_limit"))
    }
    frame = rows.with_columns(**marks)
    return Table(frame, labels=9, blocks=6, decimals=3, note=NOTE)


def scaling_slopes(measured: pl.DataFrame) -> pl.DataFrame:
    """Return the scaling of seconds along every axis, and that of bare passes.

    Args:
        measured: the columns of `ON`, `axis` and `value`, then those of
            `benchmarking.measure`.

    Returns:
        A row per computation and axis: `sizes` (values of the axis), `seconds`
        (medians), `slope`, `ideal_slope` of the required bare passes, and
        `ratio_slope`.
    """
    place = (*ON, "axis", "case")
    medians = measured.group_by(*place, "value", maintain_order=True).agg(
        pl.col("seconds").median(),
        ideal_seconds=_ideal_seconds().median(),
        ratio=_ratio(),
    )
    rows = medians.group_by(place, maintain_order=True).agg(
        pl.col("value").alias("sizes"), "seconds", "ideal_seconds", "ratio"
    )
    fitted = {"slope": "seconds", "ideal_slope": "ideal_seconds"}
    fitted["ratio_slope"] = "ratio"
    slopes = [
        pl.Series(name, [slope(*each) for each in rows.select("sizes", of).rows()])
        for name, of in fitted.items()
    ]
    return rows.drop("ideal_seconds", "ratio").with_columns(
        each.cast(pl.Float64) for each in slopes
    )


def scaling_table(measured: pl.DataFrame) -> Table:
    """Return the table of `scaling_slopes`, with a block per benchmark and axis."""
    # By the ratio, which a temporary slowdown of the machine does not affect.
    steeper = pl.min_horizontal(pl.col("slope") - 1, "ratio_slope")
    frame = scaling_slopes(measured).select(
        *ON,
        "axis",
        pl.col("sizes").cast(pl.List(pl.String)).list.join(", "),
        "case",
        "slope",
        _mark(steeper > TOLERANCE).alias(f"slope{MARK}"),
        "ideal_slope",
        "ratio_slope",
    )
    return Table(frame, labels=5, blocks=4, note=SCALING_NOTE)


def slope(sizes: Sequence[float], values: Sequence[float]) -> float | None:
    """Return the slope of log values against log sizes; None for a single size."""
    if len(set(sizes)) < 2:
        return None
    return float(np.polyfit(np.log(sizes), np.log(values), deg=1)[0])


def _ideal_seconds() -> pl.Expr:
    """Seconds of the passes that a computation requires, by interleaved bare ones."""
    return pl.col("ideal_forwards") * pl.col("forward_seconds") + pl.col(
        "ideal_forward_backwards"
    ) * pl.col("forward_backward_seconds")


def _ratio() -> pl.Expr:
    return (pl.col("seconds") / _ideal_seconds()).median()


def _passes(kind: str) -> pl.Expr:
    """Numbers of passes as text, such as `2 + 5b` (b: with a backward pass)."""
    forwards, both = pl.col(f"{kind}_forwards"), pl.col(f"{kind}_forward_backwards")
    texts = [
        each.map_elements(lambda n: f"{n:.3g}", pl.String) for each in (forwards, both)
    ]
    return (
        pl.when(both == 0)
        .then(texts[0])
        .when(forwards == 0)
        .then(pl.format("{}b", texts[1]))
        .otherwise(pl.format("{} + {}b", *texts))
    )


def _mark(above: pl.Expr) -> pl.Expr:
    return pl.when(above).then(pl.lit(ABOVE)).otherwise(pl.lit(""))
