"""Faithfulness of circuits of edges, as `faithfulness` measures that of nodes.

Rankings of the edges become circuits of several sizes, or circuits are given as masks;
every one becomes a row of a table.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import nn

from circuit_transfer.circuits.edge_masks import (
    edge_circuits,
    effective_edges,
    node_counts,
)
from circuit_transfer.circuits.edge_runs import run_edge_circuits
from circuit_transfer.circuits.faithfulness import satisfying
from circuit_transfer.circuits.metrics import (
    METRIC_COLUMNS,
    complement_accuracy,
    metric_columns,
)
from circuit_transfer.circuits.passes import measured
from circuit_transfer.jobs.progress import progress
from circuit_transfer.jobs.resume import NO_RESUME, Resume
from circuit_transfer.models.edges import Graph
from circuit_transfer.prompts.batches import PairBatch, prompt_numbers

COUNTS = {"n_edges": pl.Int64, "n_effective": pl.Int64, "n_nodes": pl.Int64}
PROMPTS = {"prompt_numbers": pl.List(pl.Int32)}
MEASURES = COUNTS | METRIC_COLUMNS | PROMPTS
# Measured with complements, which few studies need.
OF_COMPLEMENT = {"complement_accuracy": pl.Float64}


def evaluate_edges(
    model: nn.Module,
    batches: Sequence[PairBatch],
    graph: Graph,
    labels: pl.DataFrame,
    scores: np.ndarray,
    proportions: Sequence[float],
    *,
    ablations: Sequence[str],
    model_name: str,
    complement_of: pl.Expr | None = None,
    resume: Resume = NO_RESUME,
) -> tuple[pl.DataFrame, list[dict[str, Any]]]:
    """Measure the circuits of every size that rankings of the edges give.

    Args:
        model: a causal language model.
        batches: the pairs to evaluate on.
        graph: the edges of the model.
        labels: one row per ranking.
        scores: float32 `(rankings, n_edges)`, the highest ones first in a circuit. A
            ranking with unknown scores (NaN) has no rows.
        proportions: the sizes, as shares of all edges.
        ablations: what replaces what an edge outside a circuit carries, see
            `edge_runs.EdgeAblation`.
        model_name: in the costs.
        complement_of: which rankings' circuits have their complements measured too, a
            condition on the labels; none by default.
        resume: as in `run_edge_circuits`.

    Returns:
        As `evaluate_edge_masks`.
    """
    known = np.isfinite(scores).all(axis=1)
    labels, scores = labels.filter(pl.Series(known)), scores[known]
    masks = edge_circuits(scores, proportions).reshape(-1, graph.n_edges)
    sizes = pl.DataFrame({"proportion": pl.Series([*proportions], dtype=pl.Float64)})
    return evaluate_edge_masks(
        model,
        batches,
        graph,
        labels.join(sizes, how="cross", maintain_order="left_right"),
        masks,
        ablations=ablations,
        model_name=model_name,
        complement_of=complement_of,
        resume=resume,
    )


def evaluate_edge_masks(
    model: nn.Module,
    batches: Sequence[PairBatch],
    graph: Graph,
    labels: pl.DataFrame,
    masks: np.ndarray,
    *,
    ablations: Sequence[str],
    model_name: str,
    complement_of: pl.Expr | None = None,
    resume: Resume = NO_RESUME,
) -> tuple[pl.DataFrame, list[dict[str, Any]]]:
    """Measure circuits of edges under every ablation, and what that costs.

    Args:
        model: a causal language model.
        batches: the pairs to evaluate on.
        graph: the edges of the model.
        labels: one row per circuit, with its `proportion`.
        masks: bool `(circuits, n_edges)`.
        ablations: see `evaluate_edges`.
        model_name: in the costs.
        complement_of: see `evaluate_edges`.
        resume: see `evaluate_edges`.

    Returns:
        One row per circuit, one ablation after the other: the labels, `ablation`,
        `proportion` and `MEASURES`: the numbers of edges, of those on a path from the
        input to the logits and of heads and MLPs that these connect, then the metrics
        as in `faithfulness.evaluate_circuits`; with complements, `OF_COMPLEMENT` too.
        And the costs of each ablation, see `passes.measured`. Without pairs there are
        no rows.
    """
    resume.expect(batches=[len(batch) for batch in batches])
    counts, chosen = _counts(graph, masks), satisfying(labels, complement_of)
    frames, costs = [], []
    for kind in progress(ablations, len(ablations), "ablation"):
        labelled = labels.select(
            pl.exclude("proportion"), pl.lit(kind).alias("ablation"), "proportion"
        )
        with measured(kind, model_name, model, resume) as cost:
            frame = pl.DataFrame(schema=_metrics(chosen))
            if batches and len(masks):
                every = model, batches, graph, masks, chosen
                frame = _measure(*every, ablation=kind, resume=resume)
        parts = (labelled, counts, frame, _numbers(batches, len(masks)))
        rows = [each.head(len(frame)) for each in parts]
        frames.append(pl.concat(rows, how="horizontal"))
        costs.append(cost)
    return pl.concat(frames), costs


def _measure(
    model: nn.Module,
    batches: Sequence[PairBatch],
    graph: Graph,
    masks: np.ndarray,
    with_complement: torch.Tensor,
    **settings: Any,
) -> pl.DataFrame:
    """Run circuits, the complements of some, and the empty and the full one."""
    ends = np.array([[False], [True]]).repeat(graph.n_edges, axis=1)
    every = np.concatenate([masks, ~masks[with_complement.numpy()], ends])
    metrics = run_edge_circuits(model, batches, graph, every, **settings)
    columns = metric_columns(metrics, with_complement)
    if with_complement.any():
        accuracy = complement_accuracy(metrics, with_complement)
        columns["complement_accuracy"] = accuracy
    return pl.DataFrame(columns, schema=_metrics(with_complement))


def _metrics(with_complement: torch.Tensor) -> dict[str, pl.DataType]:
    return METRIC_COLUMNS | (OF_COMPLEMENT if with_complement.any() else {})


def _counts(graph: Graph, masks: np.ndarray) -> pl.DataFrame:
    effective = effective_edges(graph, masks)
    numbers = [masks.sum(1), effective.sum(1), node_counts(graph, effective)]
    return pl.DataFrame(dict(zip(COUNTS, numbers, strict=True)), schema=COUNTS)


def _numbers(batches: Sequence[PairBatch], circuits: int) -> pl.DataFrame:
    numbers = [prompt_numbers(batches)] * circuits
    return pl.DataFrame({"prompt_numbers": numbers}, schema=PROMPTS)
