"""What is known of which nodes of two models are alike, as alignments begin with it."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import nn

from circuit_transfer.circuits.passes import measured_together
from circuit_transfer.models.loading import load_described
from circuit_transfer.prompts.batches import PairBatch
from circuit_transfer.transfer.cka import COMPARISONS
from circuit_transfer.transfer.correspondences import recorded_nodes
from circuit_transfer.transfer.maps import COST_PARTS, LINEAGE

log = logging.getLogger(__name__)
Prompts = Sequence[tuple[PairBatch, PairBatch]]


def known_correspondences(
    needed: set[str],
    source: Mapping[str, Any],
    target: Mapping[str, Any],
    model: nn.Module,
    prompts: Callable[[], Prompts],
) -> tuple[dict[str, np.ndarray | None], list[dict[str, Any]]]:
    """Return what maps need of two models, by correspondence, and what that cost.

    None where there is nothing: models that are not related, or without a prompt in
    common.

    Args:
        needed: see `maps.needed_correspondences`.
        source: description of the source model.
        target: of the target model.
        model: the target.
        prompts: returns the prompts that both are compared on, see
            `shared_prompts.shared_batches`; read only where a model has to run.
    """
    known: dict[str, np.ndarray | None] = {}
    costs: list[dict[str, Any]] = []
    if LINEAGE in needed:
        known[LINEAGE] = recorded_nodes(source, target)
        if known[LINEAGE] is None:
            log.warning("no node of one model is recorded to be one of the other")
    compared = [each for each in COST_PARTS if each in needed]
    shared = prompts() if compared else []
    if not shared:
        return known, costs
    source_model = load_described(source)
    models = {source["model"]: source_model, target["model"]: model}
    for each in compared:
        with measured_together(COST_PARTS[each], models) as cost:
            known[each] = COMPARISONS[each](source_model, model, shared)
        costs += cost
    return known, costs
