"""How long computations take beside bare passes of the model, and how that grows."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from circuit_transfer.benchmarking.entries import FORWARD_BACKWARD, LOAD, MEASURED
from circuit_transfer.circuits.methods import METHODS
from circuit_transfer.tables.typesetting import MARK, Table

ON = {"benchmark": pl.String, "machine": pl.String}
# What is measured at every size.
SCALING = {"axis": pl.String, "value": pl.Int64} | MEASURED | ON
# A slope counts as steeper than another, and as more than linear, from here on.
TOLERANCE = 0.1
ABOVE = "†"
# Whose limit is one for fewer layers than the ideal has.
SHORTER = [each.name for each in METHODS.values() if each.limit and each.layers < 1]
NOTE = (
    "Seconds: median over repetitions. Ideal: passes of all prompts through the bare "
    "model that a computation needs, without and (b) with a backward pass to the "
    "embeddings; run: those that it ran, by tokens and layers. Ratio: of its seconds "
    "to those of the ideal, by bare passes right before and after; median. Memory: the "
    "most that its tensors take above what was there, and the ratio to a bare forward "
    "and backward pass. Tokens per second: those of the ideal passes. Shared: leading "
    "positions at which clean and corrupted prompts are equal; circuits: evaluated "
    f"together. {ABOVE} above the limit. The ideal of {', '.join(SHORTER)} is "
    "every pass from the first layer to the last, that of an alignment step makes both "
    "plain runs anew."
)
SCALING_NOTE = (
    "Slopes of log seconds against the logarithm of the size, least squares. Ideal: of "
    "the bare passes that a computation needs, which may grow in number with the size. "
    "Ratio: of the seconds to those of the ideal beside them. "
    f"{ABOVE} more than linear, and a ratio that grows, both by more than {TOLERANCE}."
)


def benchmark_rows(measured: pl.DataFrame) -> pl.DataFrame:
    """Medians of seconds and ratios, and the memory, of every computation.

    Args:
        measured: the columns of `benchmarking.measure`, after those of `ON` and
            `LOAD`.

    Returns:
        A row per computation and kind of prompts: `case`, `ideal` and `run` (passes as
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
    """The rows of `benchmark_rows`, a block for every benchmark and kind of prompts."""
    rows = benchmark_rows(measured)
    marks = {
        f"{ratio}{MARK}": _mark(pl.col(ratio) > pl.col(limit))
        for ratio, limit in (("ratio", "limit"), ("memory_ratio", "memory_limit"))
    }
    frame = rows.with_columns(**marks)
    return Table(frame, labels=9, blocks=6, decimals=3, note=NOTE)


def scaling_slopes(measured: pl.DataFrame) -> pl.DataFrame:
    """How seconds grow along every axis, beside what the bare passes do.

    Args:
        measured: the columns of `benchmarking.measure`, after those of `ON`, `axis` and
            `value`.

    Returns:
        A row per computation and axis: `sizes` (the values), `seconds` (their medians),
        `slope`, `ideal_slope` of the passes that it needs, and `ratio_slope`.
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
    """The rows of `scaling_slopes`, a block for every benchmark and axis."""
    # The ratio, not the ideal slope: a machine that slows down for a while is in both.
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
    """Slope of log values against log sizes; None for fewer than two sizes."""
    if len(set(sizes)) < 2:
        return None
    return float(np.polyfit(np.log(sizes), np.log(values), deg=1)[0])


def _ideal_seconds() -> pl.Expr:
    """Seconds of the passes that a computation needs, by the bare ones beside it."""
    return pl.col("ideal_forwards") * pl.col("forward_seconds") + pl.col(
        "ideal_forward_backwards"
    ) * pl.col("forward_backward_seconds")


def _ratio() -> pl.Expr:
    return (pl.col("seconds") / _ideal_seconds()).median()


def _passes(kind: str) -> pl.Expr:
    """Passes as text, such as `2 + 5b`."""
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
