"""The fits of a job's maps of edges: all seeds side by side, and the costs of each."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from torch import nn

from circuit_transfer.circuits.passes import measured, shared_out
from circuit_transfer.circuits.prepared import Preparations
from circuit_transfer.circuits.prepared_edges import PreparedEdges, prepare_tasks
from circuit_transfer.jobs.resume import Resume
from circuit_transfer.models.edges import Graph
from circuit_transfer.prompts.batches import pair_batches
from circuit_transfer.stages.fitting import named_tensors, trained_parts
from circuit_transfer.transfer.edge_alignment import fit_edge_maps
from circuit_transfer.transfer.maps import fits
from circuit_transfer.transfer.objectives import FitSettings

log = logging.getLogger(__name__)


def prepare_edge_pairs(
    model: nn.Module,
    model_name: str,
    pairs: Mapping[str, pl.DataFrame],
    graph: Graph,
    *,
    batch_size: int,
) -> tuple[Preparations[PreparedEdges], dict[str, Any]]:
    """Run the pairs of every task once for all fits, return also what that cost.

    Args:
        model: the target.
        model_name: its name.
        pairs: by task.
        graph: the target's edges.
        batch_size: how many pairs at once.
    """
    with measured("prepare", model_name, model) as cost:
        batches = {t: pair_batches(pairs[t], batch_size, model.device) for t in pairs}
        prepared = prepare_tasks(model, batches, graph)
    return prepared, cost


@dataclass(frozen=True)
class EdgeFits:
    """What the fits of all seeds share.

    Attributes:
        model: the target.
        model_name: its name.
        prepared: of `prepare_edge_pairs`.
        sources: transformed scores `(n_edges,)` by training task.
        settings: of every fit.
        maps: which ones are fitted.
        controls: which ones are trained in addition to every map.
        graphs: the edges of source and target.
        priors: matrices of nodes `(n_source, n_target)` by map.
    """

    model: nn.Module
    model_name: str
    prepared: Preparations[PreparedEdges]
    sources: Mapping[str, np.ndarray]
    settings: FitSettings
    maps: Sequence[str]
    controls: Sequence[str]
    graphs: tuple[Graph, Graph]
    priors: Mapping[str, np.ndarray]

    def of_seeds(
        self, seeds: Sequence[int], resume: Resume
    ) -> tuple[dict[int, dict[str, np.ndarray]], list[dict[str, Any]]]:
        """Return by seed the tensors of every map and control by name, and the costs.

        A seed's costs of a map are an equal share of what all took together.
        """
        parts = trained_parts(self.maps, self.controls, self.sources, self.priors)
        log.info("%d seeds of %s", len(seeds), ", ".join(parts))
        asked = fits(self.maps, self.controls)
        with measured("fits", self.model_name, self.model, resume) as cost:
            fitted = fit_edge_maps(
                self.model,
                self.prepared,
                self.sources,
                self.settings,
                asked,
                graphs=self.graphs,
                seeds=seeds,
                priors=self.priors,
                resume=resume,
            )
        every = [seed for seed in seeds for _ in parts]
        shares = shared_out(cost, [*parts] * len(seeds))
        costs = [c | {"seed": seed} for c, seed in zip(shares, every, strict=True)]
        named = {
            s: named_tensors(asked, found, self.maps) for s, found in fitted.items()
        }
        return named, costs
