"""Faithfulness: how much of the full model's behaviour do circuits reproduce alone?

Rankings of the nodes become circuits of several sizes, these are run (`runs`) and
measured (`metrics`), and every ranking and size becomes one row of a table.
"""

from collections.abc import Sequence
from typing import Any

import polars as pl
import torch
from torch import Tensor, nn

from circuit_transfer.circuits.masks import circuit_masks
from circuit_transfer.circuits.metrics import METRIC_COLUMNS, metric_columns
from circuit_transfer.circuits.passes import measured
from circuit_transfer.circuits.runs import run_circuits
from circuit_transfer.jobs.progress import progress
from circuit_transfer.jobs.resume import NO_RESUME, Resume
from circuit_transfer.models.nodes import circuit_size
from circuit_transfer.prompts.batches import PairBatch, prompt_numbers

MEASURES = {"proportion": pl.Float64, "n_nodes": pl.Int64} | METRIC_COLUMNS
MEASURES |= {"prompt_numbers": pl.List(pl.Int32)}


def evaluate_circuits(
    model: nn.Module,
    batches: Sequence[PairBatch],
    rankings: pl.DataFrame,
    proportions: Sequence[float],
    *,
    ablation: str = "counterfactual",
    complement_of: pl.Expr | None = None,
    rows: int | None = None,
    resume: Resume = NO_RESUME,
) -> pl.DataFrame:
    """Measure the circuits of every size that rankings of the nodes give.

    Faithfulness as in `metrics.metric_columns`; it is null where the full and the empty
    circuit have the same mean logit difference.

    Args:
        model: a causal language model.
        batches: the pairs to evaluate on.
        rankings: one row per ranking, its `scores` (a list of `n_nodes`) and labels.
        proportions: the sizes, as shares of all nodes.
        ablation: what replaces the output of nodes outside a circuit, see `ablations`.
        complement_of: which rankings' circuits have their complements measured too, a
            condition on the labels; none by default.
        rows: as in `run_circuits`.
        resume: as in `run_circuits`.

    Returns:
        One row per ranking and size: the labels and `MEASURES`, whose
        `agreement_right` and `agreement_wrong` are the shares of examples with the
        full model's most likely token among those that the full model gets right and
        wrong (null where there is none), `complement_faithfulness` that of all other
        nodes (null where it was not measured), and the lists hold one logit difference
        per example, in the order of the batches, and the number of its pair of prompts
        (`batches.prompt_numbers`). A ranking with unknown scores (NaN,
        for lack of usable pairs) has no rows; without pairs there are none at all.
    """
    known = pl.col("scores").list.eval(pl.element().is_finite().all()).list.first()
    rankings = rankings.filter(known)
    labels = rankings.drop("scores").with_row_index("ranking")
    if rankings.is_empty() or not batches:
        found = pl.DataFrame(schema={"ranking": pl.UInt32} | MEASURES)
    else:
        scores = torch.tensor(rankings["scores"].to_list(), dtype=torch.float32)
        chosen = satisfying(rankings, complement_of)
        settings = {"ablation": ablation, "rows": rows, "resume": resume}
        found = _measure_rankings(
            model, batches, scores, chosen, proportions, **settings
        )
    return labels.join(found, on="ranking", maintain_order="left_right").drop("ranking")


def evaluate_ablations(
    model: nn.Module,
    batches: Sequence[PairBatch],
    rankings: pl.DataFrame,
    proportions: Sequence[float],
    *,
    ablations: Sequence[str],
    model_name: str,
    complement_of: pl.Expr | None = None,
    resume: Resume = NO_RESUME,
) -> tuple[pl.DataFrame, list[dict[str, Any]]]:
    """Measure circuits under every ablation, and what that costs.

    Arguments as in `evaluate_circuits`. A saved state is used only if the pairs were
    cut into the same batches.

    Returns:
        Its frame with the label `ablation`, one ablation after the other, and the costs
        of each, see `passes.measured`.
    """
    resume.expect(batches=[len(batch) for batch in batches])
    frames, costs = [], []
    for kind in progress(ablations, len(ablations), "ablation"):
        labelled = rankings.with_columns(ablation=pl.lit(kind))
        with measured(kind, model_name, model, resume) as cost:
            frame = evaluate_circuits(
                model,
                batches,
                labelled,
                proportions,
                ablation=kind,
                complement_of=complement_of,
                resume=resume,
            )
        frames.append(frame)
        costs.append(cost)
    return pl.concat(frames), costs


def _measure_rankings(
    model: nn.Module,
    batches: Sequence[PairBatch],
    scores: Tensor,
    with_complement: Tensor,
    proportions: Sequence[float],
    **settings: Any,
) -> pl.DataFrame:
    """Run the circuits of all rankings and sizes, and the complements of some."""
    rankings, n_nodes = scores.shape
    circuits = circuit_masks(scores, proportions).flatten(0, 1)
    with_complement = with_complement.repeat_interleave(len(proportions))
    ends = torch.stack([torch.zeros(n_nodes), torch.ones(n_nodes)])
    masks = torch.cat([circuits, 1 - circuits[with_complement], ends])
    metrics = run_circuits(model, batches, masks, **settings)
    kept = [circuit_size(p, n_nodes) for p in proportions]
    columns = {
        "ranking": [r for r in range(rankings) for _ in proportions],
        "proportion": list(proportions) * rankings,
        "n_nodes": kept * rankings,
        **metric_columns(metrics, with_complement),
        "prompt_numbers": [prompt_numbers(batches)] * len(circuits),
    }
    return pl.DataFrame(columns, schema={"ranking": pl.UInt32} | MEASURES)


def satisfying(rankings: pl.DataFrame, condition: pl.Expr | None) -> Tensor:
    """Return where a condition holds, bool `(rankings,)`; without one, nowhere."""
    holds = pl.lit(False) if condition is None else condition.fill_null(False)
    return torch.tensor(rankings.with_columns(holds=holds)["holds"].to_list())
