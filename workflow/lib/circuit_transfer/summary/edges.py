"""Which edges: the highest-scoring ones of every task, and captions of drawings."""

import polars as pl

from circuit_transfer.summary.wording import counted

QUESTION = "Which edges?"
# The columns that are read.
TOP_EDGES = {
    **dict.fromkeys(("task", "method", "edge"), pl.String),
    "rank": pl.Int64,
    **dict.fromkeys(("score", "low", "high"), pl.Float64),
}
DRAWN = {
    **dict.fromkeys(("writer", "reader"), pl.String),
    "score": pl.Float64,
    "effective": pl.Boolean,
}
NOTE = (
    "The edges with the highest scores, in descending order, and those with the most "
    "negative ones, which oppose the right answer. ?: the 95 % interval includes 0, or "
    "there is none, so that the sign is open. u→v: from u to v; aL.hH<q>: the queries "
    "(k: keys, v: values) of attention head H of layer L; mL: the MLP block of layer L."
)


def with_arrows(top: pl.DataFrame) -> pl.DataFrame:
    """Return a table of edges whose names no line break divides: `m0→m1`."""
    return top.with_columns(pl.col("edge").str.replace("->", "→", literal=True))


def drawing_caption(edges: pl.DataFrame) -> str:
    """Return what the drawing of a circuit shows, in a sentence or two.

    Args:
        edges: those that are drawn, see `DRAWN`.
    """
    if edges.is_empty():
        return "No edge has a score: the task has no usable train pair."
    kept, against = edges.filter("effective"), edges.filter(pl.col("score") < 0)
    on_path = f"{len(kept) or 'none'} {'is' if len(kept) < 2 else 'are'}"
    text = (
        f"Of the {counted(len(edges), 'edge')} with the highest absolute scores, "
        f"{on_path} on a path from input to logits along these edges"
    )
    if not kept.is_empty():
        # Every path starts at the input, and every node on it writes an edge of it.
        nodes = kept["writer"].n_unique() - 1
        text += f", through {counted(nodes, 'head or MLP', 'heads and MLPs')}"
    if len(kept) < len(edges):
        text += "; the others are paler"
    if against.is_empty():
        return f"{text}. None is against the right answer."
    return f"{text}. Against the right answer (dashed): {len(against)} of {len(edges)}."
