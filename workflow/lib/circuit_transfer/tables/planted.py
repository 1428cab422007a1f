"""Table of how well every method finds the circuits that were planted."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from circuit_transfer.circuits.recovery import BACKUPS, FILTER_RECALL, MEASURES, OPEN
from circuit_transfer.tables.typesetting import Table

NOTE = (
    "Models whose circuit is known, since it was written into their weights. auroc: "
    "probability that an edge of the circuit has a higher score than another edge; "
    "mean over models that differ in the seed; lowest auroc: of the worst of them. "
    "precision, recall: of as many edges as the circuit has, so that they are equal; "
    "visible precision, visible recall: of all edges whose score is at least 1 % of "
    "the largest one. signed: scores as they are, in which edges that work against the "
    "answer come last; absolute: their sizes. lifted: scores of nodes, of which "
    "an edge has the lower one of the two that it connects."
)
LEARNED_NOTE = (
    " open: the edges that a learned circuit has left open, of the smallest size that "
    "holds the planted one; means over models and seeds. Where parts back each other "
    "up, recall is of the one of which most is kept, and none kept, one kept, several "
    "kept: of how many groups of such parts so many are kept whole, over all models "
    "and seeds."
)
FILTER_NOTE = (
    " filter recall: of the edges that a method's filter leaves; restored edges aside, "
    "the recall of what it learns is at most that."
)
# Of a `planted:` entry, what tells one model from another of the same kind.
SEED = "seed"


def kind_of(settings: Mapping[str, Any]) -> str:
    """Return what was planted, such as `induction, sharpness 6`.

    Args:
        settings: the `planted:` entry of a model.
    """
    rest = settings.items() - {("construction", settings["construction"])}
    named = [f"{key} {value}" for key, value in sorted(rest) if key != SEED]
    return ", ".join([settings["construction"], *named])


def planted_table(found: pl.DataFrame, settings: Mapping[str, Mapping]) -> Table:
    """Return the table of the mean over models that differ in the seed alone.

    Args:
        found: of `recovery.recovery_rows`.
        settings: the `planted:` entry of every model.
    """
    kinds = {model: kind_of(entry) for model, entry in settings.items()}
    labels = ["planted", "task", "method", "ranking"]
    lifted = pl.format("{}, {}", "method", "control")
    frame = (
        found.with_columns(
            pl.col("model")
            .replace_strict(kinds, return_dtype=pl.String)
            .alias("planted"),
            pl.when(control="lifted").then(lifted).otherwise("method").alias("method"),
        )
        .group_by(labels, maintain_order=True)
        .agg(
            pl.col("model").n_unique().alias("models"),
            pl.col("n_edges").mean().alias("edges"),
            pl.col("n_true").mean().alias("edges_of_circuit"),
            pl.col("auroc").mean(),
            pl.col("auroc").min().alias("lowest_auroc"),
            pl.col([name for name in MEASURES if name != "auroc"]).mean(),
            pl.col(FILTER_RECALL).mean(),
            *(_total(name) for name in BACKUPS),
        )
    )
    learned = (found["ranking"] == OPEN).any()
    filtered = frame[FILTER_RECALL].count() > 0
    if not learned:
        frame = frame.drop(BACKUPS)
    if not filtered:
        frame = frame.drop(FILTER_RECALL)
    note = NOTE + LEARNED_NOTE * learned + FILTER_NOTE * filtered
    return Table(frame, labels=len(labels), blocks=2, decimals=3, note=note)


def _total(name: str) -> pl.Expr:
    """Return the sum of a column, null where it has no value."""
    column = pl.col(name)
    return pl.when(column.count() > 0).then(column.sum()).alias(name)
