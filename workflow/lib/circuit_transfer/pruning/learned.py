"""Learn circuits of edges by any of the methods of `methods.METHODS` that do."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import nn

from circuit_transfer.circuits.edge_runs import COUNTERFACTUAL
from circuit_transfer.circuits.methods import FUNCTIONS, learned_methods
from circuit_transfer.jobs.denormals import flushing_denormals
from circuit_transfer.jobs.resume import NO_RESUME, Resume
from circuit_transfer.messages import quoted
from circuit_transfer.models.edges import Graph
from circuit_transfer.prompts.batches import PairBatch

# The methods, which are found by import.
from circuit_transfer.pruning import (  # noqa: F401
    discogp,
    edge_pruning,
    hap,
    soft_top_k,
)
from circuit_transfer.pruning.outcomes import LearnedEdges

__all__ = ["LearnedEdges", "learn_edges"]


def learn_edges(
    method: str,
    model: nn.Module,
    batches: Sequence[PairBatch],
    graph: Graph,
    *,
    settings: Mapping[str, Any],
    seed: int,
    filter_scores: np.ndarray | None = None,
    ablation: str = COUNTERFACTUAL,
    resume: Resume = NO_RESUME,
) -> LearnedEdges:
    """Learn a circuit of each size on training pairs.

    Args:
        method: one of `methods.learned_methods`.
        model: a causal language model with frozen parameters.
        batches: the pairs; every step takes one batch.
        graph: the edges of the model.
        settings: the section `pruning` of the configuration: the `sizes`, the
            `objective`, and how the method trains under its name, see `settings`.
        seed: of the start, of the order of batches, and of the noise.
        filter_scores: `(n_edges,)` by the method that `hap` filters by.
        ablation: what replaces what an edge outside a circuit carries, see
            `edge_runs.EdgeAblation`.
        resume: saves the training's progress; an interrupted training resumes to the
            same bytes.

    Raises:
        ValueError: the method or a setting is unknown, or what was learned is no
            circuit: the message names the settings to change.
    """
    if method not in learned_methods():
        raise ValueError(
            f"method {quoted(method)} learns no circuits: expected one of "
            f"{', '.join(learned_methods())}"
        )
    resume.expect(batches=[len(batch) for batch in batches])
    with flushing_denormals():
        return FUNCTIONS[method](
            model,
            batches,
            graph,
            settings=settings,
            seed=seed,
            filter_scores=filter_scores,
            ablation=ablation,
            resume=resume,
        )
