"""What a model loses without each of its heads, ablated alone.

`circuits.heads` describes heads by the logit difference, with their backups.
"""

from collections.abc import Sequence

import polars as pl
import torch
from torch import nn

from circuit_transfer.circuits.runs import run_circuits
from circuit_transfer.distillation.critical_heads import METRICS
from circuit_transfer.jobs.resume import NO_RESUME, Resume
from circuit_transfer.models.nodes import is_mlp, node_names
from circuit_transfer.prompts.batches import PairBatch

EFFECT_COLUMNS = {
    "head": pl.String,
    "metric": pl.String,
    "base": pl.Float64,
    "ablated": pl.Float64,
    "effect": pl.Float64,
}


def head_effects(
    model: nn.Module,
    batches: Sequence[PairBatch],
    *,
    ablation: str = "mean",
    resume: Resume = NO_RESUME,
) -> pl.DataFrame:
    """Ablate every head alone and measure the model with each metric.

    Args:
        model: a causal language model.
        batches: the pairs, at least one.
        ablation: the output of an ablated head, see `circuits.ablations`; in Wadhwa et
            al. 2025 its mean.
        resume: saves the metrics of the heads that are done.

    Returns:
        A row per metric and head, in the order of the nodes: `base`, the metric of the
        model as it is, `ablated`, that without the head, and `effect`, the drop. The
        metrics are `accuracy`, the share of the pairs whose most likely token is a
        right answer, and `logit-diff`, the mean difference of the logits of right and
        wrong answer.
    """
    config = model.config
    nodes = node_names(config.num_hidden_layers, config.num_attention_heads)
    numbers = [number for number, name in enumerate(nodes) if not is_mlp(name)]
    masks = torch.ones(1 + len(numbers), len(nodes))
    masks[torch.arange(1, len(masks)), numbers] = 0
    found = run_circuits(model, batches, masks, ablation=ablation, resume=resume)
    frames = []
    for metric, values in zip(METRICS, (found.accuracy, found.logit_diff), strict=True):
        # In float64, so that the order of the examples does not matter.
        base, *ablated = values.double().mean(1).tolist()
        columns = {
            "head": [nodes[number] for number in numbers],
            "metric": metric,
            "base": base,
            "ablated": ablated,
            "effect": [base - each for each in ablated],
        }
        frames.append(pl.DataFrame(columns, EFFECT_COLUMNS))
    return pl.concat(frames)
