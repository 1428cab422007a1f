"""Run circuits of edges on pairs, several side by side in one pass, and measure them.

The model runs on the clean prompts. An edge inside the circuit carries what its writer
computes from what then reaches it; an edge outside carries the writer's ablated output:
that on the corrupted prompts, zero, or a mean. The embedding `input` is a writer like
any other.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from circuit_transfer.circuits.ablations import Ablation, ablation_of
from circuit_transfer.circuits.edge_masks import effective_edges, read_edges
from circuit_transfer.circuits.metrics import Metrics, example_metrics
from circuit_transfer.interventions import (
    EdgeRuns,
    edge_logits,
    plan_edges,
    run_edges,
)
from circuit_transfer.interventions.projections import readers_of_kinds
from circuit_transfer.jobs.progress import progress
from circuit_transfer.jobs.resume import NO_RESUME, Resume, State
from circuit_transfer.models.edges import QUERY_HEAD, Graph
from circuit_transfer.prompts.batches import ACTIVATIONS, LOGITS, PairBatch

log = logging.getLogger(__name__)
COUNTERFACTUAL = "counterfactual"
# Zero for heads and MLPs, while every reader has the embeddings of the clean prompt:
# what the edges of `input` carry does not depend on the circuit.
ZERO_NODES = "zero-nodes"


@dataclass(frozen=True)
class EdgeAblation:
    """What replaces what writers write, for one model and task.

    Attributes:
        nodes: of heads and MLPs.
        embedding: of `input`, `(1, 1, d_model)`; None where it is that of the
            corrupted prompt, or by `ZERO_NODES` of the clean one.
    """

    nodes: Ablation
    embedding: Tensor | None

    @property
    def silent(self) -> bool:
        """Whether a node that reads only what is ablated has its ablated output."""
        return self.nodes.constant is None


def edge_ablation_of(
    model: nn.Module, batches: Sequence[PairBatch], kind: str
) -> EdgeAblation:
    """Prepare a kind of ablation of edges.

    Args:
        model: a causal language model.
        batches: the pairs of the task.
        kind: as in `ablations.ablation_of`, or `ZERO_NODES`.
    """
    if kind == ZERO_NODES:
        return EdgeAblation(ablation_of(model, batches, "zero"), None)
    nodes = ablation_of(model, batches, kind)
    if kind == COUNTERFACTUAL:
        return EdgeAblation(nodes, None)
    embed = model.get_input_embeddings()
    sums = [embed(batch.clean).double().sum((0, 1)) for batch in batches]
    mean = sum(sums) / sum(batch.clean.numel() for batch in batches)
    kept = mean if kind == "mean" else torch.zeros_like(mean)
    return EdgeAblation(nodes, kept.to(model.dtype)[None, None])


@torch.inference_mode()
def run_edge_circuits(
    model: nn.Module,
    batches: Sequence[PairBatch],
    graph: Graph,
    masks: np.ndarray | Tensor,
    *,
    ablation: str = COUNTERFACTUAL,
    rows: int | None = None,
    resume: Resume = NO_RESUME,
) -> Metrics:
    """Run circuits of edges and measure them on every example.

    The clean and the ablated run are shared by all circuits. Circuits that differ only
    in edges which change nothing run once. The empty circuit is the ablated run, the
    full one the clean run.

    Args:
        model: a causal language model.
        batches: the pairs; examples stay in this order.
        graph: the edges of the model.
        masks: the circuits, bool `(circuits, n_edges)`.
        ablation: what replaces what an edge outside a circuit carries, see
            `EdgeAblation`.
        rows: prompts in one forward pass, as in `runs.run_circuits`.
        resume: saves the metrics of the circuits that have run.

    Raises:
        ValueError: the masks are not of this graph, or the ablation is unknown.
    """
    masks = np.asarray(masks, bool)
    if masks.ndim != 2 or masks.shape[1] != graph.n_edges:
        raise ValueError(
            f"masks {masks.shape} of circuits for a graph of {graph.n_edges} edges: "
            "expected (circuits, n_edges)"
        )
    prune = effective_edges if ablation == COUNTERFACTUAL else read_edges
    unique, which = _distinct(prune(graph, masks))
    ablated = edge_ablation_of(model, batches, ablation)
    names = [f"edges/{ablation}/batch-{number}" for number in range(len(batches))]
    parts = [
        _run_batch(model, batch, graph, unique, ablated, rows, resume, name)
        for batch, name in progress(
            zip(batches, names, strict=True), len(batches), "batch"
        )
    ]
    return Metrics(*torch.cat(parts, dim=2)[:, which])


def _distinct(masks: np.ndarray) -> tuple[np.ndarray, Tensor]:
    """Return every different circuit once, the smaller ones first, and which is which.

    Circuits of similar size run side by side, so that they leave out the same.
    """
    keys = [(int(mask.sum()), np.packbits(mask).tobytes()) for mask in masks]
    first = {key: index for index, key in reversed([*enumerate(keys)])}
    order = sorted(first)
    number = {key: index for index, key in enumerate(order)}
    which = torch.tensor([number[key] for key in keys], dtype=torch.long)
    return masks[[first[key] for key in order]], which


def _run_batch(
    model: nn.Module,
    batch: PairBatch,
    graph: Graph,
    masks: np.ndarray,
    ablated: EdgeAblation,
    rows: int | None,
    resume: Resume,
    name: str,
) -> Tensor:
    """Return the metrics of distinct circuits on a batch, `(4, circuits, batch)`."""
    found: list[Tensor] = []
    state = resume.restore(name, lambda: State({"metrics": torch.cat(found, 1)}, {}))
    done = 0
    if state is not None:
        found.append(state.tensors["metrics"])
        done = found[0].shape[1]
        log.info("%s: resumed after %d of %d circuits", name, done, len(masks))
    if done < len(masks):
        batch = ablated.nodes.shorten(batch)
        runs = edge_runs(model, batch, graph, ablated)
        if done:
            # What all circuits share was counted in the earlier run.
            resume.restore_counters()
        for group in _groups(masks, _at_once(model, graph, batch, rows), done):
            found.append(_group_metrics(model, batch, runs, group, ablated))
            resume.save()
    return torch.cat(found, 1)


def edge_runs(
    model: nn.Module, batch: PairBatch, graph: Graph, ablated: EdgeAblation
) -> EdgeRuns:
    """Run a batch clean and ablated, for all circuits of edges.

    Args:
        model: the model.
        batch: the pairs, without the positions that are cached.
        graph: the edges of the model.
        ablated: what replaces what writers write.
    """
    clean = run_edges(model, batch.clean, after=batch.prefix, layers=1)
    outputs = ablated.nodes.constant
    if outputs is None:
        without = run_edges(model, batch.corrupted, after=batch.prefix)
    elif ablated.embedding is None:
        without = run_edges(model, batch.clean, outputs=outputs)
    else:
        # The same for all prompts of this length.
        embeddings = ablated.embedding.expand(1, batch.clean.shape[1], -1)
        without = run_edges(model, embeddings=embeddings, outputs=outputs)
    prefix = batch.prefix
    if prefix is not None and graph.kv == QUERY_HEAD:
        prefix = prefix.repeated(graph.kv_readers // readers_of_kinds(model)["k"])
    return EdgeRuns(graph, batch.clean, without, clean, prefix)


def _group_metrics(
    model: nn.Module,
    batch: PairBatch,
    runs: EdgeRuns,
    masks: np.ndarray,
    ablated: EdgeAblation,
) -> Tensor:
    full = runs.clean.logits
    if not masks.any():
        return example_metrics(batch, runs.ablated.logits.expand_as(full), full)
    if masks.all():
        return example_metrics(batch, full, full)
    plan = plan_edges(runs.graph, masks, silent=ablated.silent)
    logits = edge_logits(model, runs, plan)
    return example_metrics(batch.repeat(len(masks)), logits, full)


def _groups(masks: np.ndarray, at_once: int, done: int) -> Iterator[np.ndarray]:
    """Yield the circuits that run together, but for the first `done` ones.

    The empty and the full circuit do not run, and so are alone.
    """
    # Sorted by size, so that only the ends can be these.
    first, last = not masks[0].any(), masks[-1].all() and len(masks) > 1
    inner = range(int(first), len(masks) - int(last))
    groups = [(start, min(start + at_once, inner.stop)) for start in inner[::at_once]]
    groups = [*[(0, 1)] * first, *groups, *[(inner.stop, len(masks))] * bool(last)]
    left = [each for each in groups if each[0] >= done]
    every = progress(
        left, len(masks), "circuit", done=done, size=lambda each: each[1] - each[0]
    )
    for start, stop in every:
        yield masks[start:stop]


def _at_once(model: nn.Module, graph: Graph, batch: PairBatch, rows: int | None) -> int:
    """Return how many circuits run together, at least one."""
    if rows is None:
        config, positions = model.config, batch.clean.shape[1]
        values = len(graph.writers) * config.hidden_size * positions
        limit = ACTIVATIONS.get(model.device.type, ACTIVATIONS["cpu"])
        rows = min(limit // values, LOGITS // config.vocab_size)
    return max(1, rows // len(batch))
