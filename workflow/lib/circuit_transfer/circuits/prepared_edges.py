"""Prepared batches of circuits of edges: the runs that every training step needs again.

The clean and the ablated run of a batch are the same in all steps, so they run once and
are cached, as far as memory allows.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor, nn

from circuit_transfer.circuits.edge_runs import (
    COUNTERFACTUAL,
    EdgeAblation,
    edge_ablation_of,
    edge_runs,
)
from circuit_transfer.circuits.prepared import (
    CACHE_BYTES,
    Cached,
    Preparations,
    host_budget,
)
from circuit_transfer.interventions import EdgeRun, EdgeRuns, Prefix
from circuit_transfer.models.edges import Graph
from circuit_transfer.prompts.batches import PairBatch


@dataclass(frozen=True)
class PreparedEdges:
    """One batch of pairs with the runs that circuits of edges lie between.

    Attributes:
        batch: the pairs.
        runs: clean and ablated.
    """

    batch: PairBatch
    runs: EdgeRuns

    @property
    def full(self) -> Tensor:
        """The answer logits of the full model, `(batch, vocabulary)`."""
        return self.runs.clean.logits

    @property
    def empty(self) -> Tensor:
        """Those of the empty circuit; a single row where they are all the same."""
        return self.runs.ablated.logits

    def bytes(self) -> int:
        """Return how much memory it takes."""
        return sum(each.nbytes for each in _tensors(vars(self.runs)))

    def moved(self, move: Callable[[Tensor], Tensor]) -> Self:
        """Return the same with all runs moved, as to another device."""
        runs = {
            name: _moved(getattr(self.runs, name), move)
            for name in ("ablated", "clean", "after")
        }
        return replace(self, runs=replace(self.runs, **runs))


def prepare_edges(
    model: nn.Module,
    batches: Sequence[PairBatch],
    graph: Graph,
    ablation: str,
    *,
    prefixes: bool = True,
    budget: int = CACHE_BYTES,
) -> Cached[PreparedEdges]:
    """Run batches clean and ablated, once for all steps of a training.

    Args:
        model: a causal language model with frozen parameters.
        batches: the pairs.
        graph: the edges of the model.
        ablation: what replaces what an edge outside a circuit carries, see
            `edge_runs.EdgeAblation`.
        prefixes: whether the positions that clean and corrupted prompts share are run
            once for all circuits; not where circuits have other weights.
        budget: bytes that the cache may take on the model's device; on the host of a
            GPU it may take more, see `prepared.host_budget`.

    Raises:
        ValueError: the ablation is unknown.
    """
    with torch.no_grad():
        ablated = edge_ablation_of(model, batches, ablation)
    how = (graph, ablated, prefixes)
    prepared = Cached([partial(_prepared, model, batch, *how) for batch in batches])
    prepared.fill_cache(budget, host_budget(model))
    return prepared


def prepare_tasks(
    model: nn.Module, batches: Mapping[str, Sequence[PairBatch]], graph: Graph
) -> Preparations[PreparedEdges]:
    """Run every task's batches clean and corrupted, once for all fits.

    Args:
        model: the model that masks are trained on.
        batches: by task.
        graph: the edges of the model.
    """
    every = [(task, batch) for task, parts in batches.items() for batch in parts]
    ablated = edge_ablation_of(model, [], COUNTERFACTUAL)
    pending = [
        partial(_prepared, model, batch, graph, ablated, prefixes=True)
        for _, batch in every
    ]
    rests = [batch.following(None, ablated.nodes.shared(batch)) for _, batch in every]
    prepared = Preparations(pending, [task for task, _ in every], rests)
    prepared.fill_cache(CACHE_BYTES, host_budget(model))
    return prepared


# Not in inference mode: these tensors enter the graph of a training step.
@torch.no_grad()
def _prepared(
    model: nn.Module,
    batch: PairBatch,
    graph: Graph,
    ablated: EdgeAblation,
    prefixes: bool,
) -> PreparedEdges:
    batch = ablated.nodes.shorten(batch) if prefixes else batch
    runs = edge_runs(model, batch, graph, ablated)
    # The runs have the prefix that their keys and values need.
    return PreparedEdges(replace(batch, prefix=None), runs)


def _tensors(value: Any) -> Iterator[Tensor]:
    """Yield the tensors of runs, which are in lists, mappings and classes."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Prefix):
        yield from value.tensors()
    elif isinstance(value, EdgeRun):
        yield from _tensors(vars(value))
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _tensors(each)


def _moved(value: Any, move: Callable[[Tensor], Tensor]) -> Any:
    """Return a part of runs with all its tensors moved."""
    if isinstance(value, Tensor):
        return move(value)
    if isinstance(value, Prefix):
        return value.moved(move)
    if isinstance(value, EdgeRun):
        return EdgeRun(**_moved(vars(value), move))
    if isinstance(value, dict):
        return {name: _moved(each, move) for name, each in value.items()}
    return [_moved(each, move) for each in value] if isinstance(value, list) else value
