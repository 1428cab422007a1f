"""From masks that are trained to circuits: what methods that train masks share.

A method is a function that makes its masks, marked with `trains`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from circuit_transfer.circuits.edge_runs import COUNTERFACTUAL
from circuit_transfer.circuits.methods import implements
from circuit_transfer.circuits.prepared_edges import prepare_edges
from circuit_transfer.jobs.resume import NO_RESUME, Resume
from circuit_transfer.models.edges import Graph
from circuit_transfer.prompts.batches import PairBatch
from circuit_transfer.pruning.outcomes import LearnedEdges, check_effective
from circuit_transfer.pruning.restoring import loss_slopes, restored
from circuit_transfer.pruning.settings import (
    learned_sizes,
    method_settings,
    objective_of,
)
from circuit_transfer.pruning.training import Masks, train


@dataclass(frozen=True)
class Setup:
    """What the masks of a method are made from.

    Attributes:
        method: its name.
        graph: the edges of the model.
        sizes: shares of all edges that circuits are learned for.
        settings: of the method, see `settings.SETTINGS`.
        seed: of the start and of what is drawn in every step.
        device: of the masks.
        filter_scores: of the edges, `(n_edges,)`, for methods that filter by them.
    """

    method: str
    graph: Graph
    sizes: tuple[float, ...]
    settings: Any
    seed: int
    device: torch.device
    filter_scores: np.ndarray | None = None


class LearnedMasks(Masks, Protocol):
    """Masks of which circuits are made after their training.

    Attributes:
        setup: what they were made from.
    """

    setup: Setup

    def learned(self, curves: Mapping[str, Tensor]) -> LearnedEdges:
        """Return the circuit of each size; curves have a row for each mask.

        Raises:
            ValueError: nothing was pruned.
        """


def trains(method: str) -> Callable[[Callable], Callable]:
    """Mark a function that makes the masks of a method from a setup.

    Args:
        method: its name; it learns circuits by training these masks.
    """

    def mark(make: Callable[[Setup], LearnedMasks]) -> Callable:
        """Register the method that trains what `make` returns."""

        @implements(method)
        def learn(
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
            """Learn circuits; arguments as in `learned.learn_edges`."""
            how = learned_sizes(settings), method_settings(method, settings)
            setup = Setup(method, graph, *how, seed, model.device, filter_scores)
            objective = objective_of(settings)
            return learn_masks(
                model, batches, make(setup), objective, ablation=ablation, resume=resume
            )

        return make

    return mark


def learn_masks(
    model: nn.Module,
    batches: Sequence[PairBatch],
    masks: LearnedMasks,
    objective: str,
    *,
    ablation: str,
    resume: Resume,
) -> LearnedEdges:
    """Train masks in place and return the circuit of each size.

    Args:
        model: a causal language model with frozen parameters.
        batches: the pairs.
        masks: what is trained.
        objective: see `training.LOSSES`.
        ablation: see `edge_runs.EdgeAblation`.
        resume: saves the training's progress.

    Raises:
        ValueError: a loss is not a number, nothing was pruned, or all circuits are
            empty.
    """
    setup = masks.setup
    prepared = prepare_edges(model, batches, setup.graph, ablation)
    curves = train(
        model,
        prepared,
        masks,
        steps=setup.settings.steps,
        objective=objective,
        silent=ablation == COUNTERFACTUAL,
        seed=setup.seed,
        resume=resume,
    )
    found = masks.learned(curves)
    # A setting of methods that leave edges out of the training.
    if share := getattr(setup.settings, "restore", 0):
        slopes = partial(loss_slopes, model, prepared, setup.graph, objective)
        found = restored(found, setup.sizes, share, slopes)
    check_effective(setup.method, setup.graph, found.kept, setup.sizes, masks.remedy())
    return found
