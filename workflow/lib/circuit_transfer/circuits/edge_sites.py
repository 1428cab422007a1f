"""Edge scores of runs in which the writers of one site move, and nothing below runs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import torch
from torch import Tensor, nn

from circuit_transfer.circuits.ablations import Ablation
from circuit_transfer.circuits.edge_gradients import ReaderGradients
from circuit_transfer.circuits.edge_products import edge_products
from circuit_transfer.circuits.edge_steps import (
    ABLATED,
    CLEAN,
    BatchScores,
    PathRuns,
    has_heads_norms,
)
from circuit_transfer.interventions import answer_logits, captured_stream, resumed
from circuit_transfer.interventions.readers import (
    Observed,
    observed,
    reader_gradients,
)
from circuit_transfer.jobs.progress import progress
from circuit_transfer.models.edges import Graph
from circuit_transfer.prompts.batches import PairBatch, rows_per_pass


def activation_scores(
    model: nn.Module,
    batch: PairBatch,
    ablated: Ablation,
    graph: Graph,
    *,
    places: Sequence[Fraction],
) -> BatchScores:
    """Multiply what ablation changes at a site by the gradients while it alone moves.

    The token embeddings, the heads of a layer, or an MLP move from their ablated to
    their clean output, and all that is computed from them follows. What is below is the
    same in every step, and is not run again.

    Args:
        model: as in `gradient_scores`, like the other arguments.
        batch: the pairs.
        ablated: what replaces the outputs of writers.
        graph: the edges.
        places: shares of the way where gradients are taken.
    """
    runs = PathRuns(model, batch, ablated, graph)
    total = ReaderGradients(model, graph)
    for place in progress(places, len(places), "step"):
        runs.add_gradients(place, total)
        if place not in (ABLATED, CLEAN):
            runs.forget(place)
    both = runs.between(runs.at(CLEAN), runs.at(ABLATED), runs.at(CLEAN))
    none: list[Tensor | None] = [None] * len(both.outputs)
    scores = edge_products(model, graph, replace(both, outputs=none), total)
    # The gradients of a step are as large as a pass: they do not wait for the next.
    del total
    clean = _run_clean(runs)
    for site in progress(range(len(none)), len(none), "site"):
        moved = replace(both, input=None, outputs=[*none])
        moved.outputs[site] = both.outputs[site]
        for gradients, sums, share in _moving(runs, clean, site, places):
            differences = replace(moved, sums=sums)
            part = edge_products(model, graph, differences, gradients)
            scores += part.mul_(share)
            del gradients
    return BatchScores(scores, runs.effect())


@dataclass(frozen=True)
class _Clean:
    outputs: list[Tensor]
    stream: list[Tensor]


@torch.no_grad()
def _run_clean(runs: PathRuns) -> _Clean:
    model, batch = runs.model, runs.batch
    with observed(model, runs.graph.kv) as run, captured_stream(model) as stream:
        answer_logits(model, batch.clean, after=batch.prefix)
    return _Clean(run.outputs, stream)


def _moving(
    runs: PathRuns, clean: _Clean, site: int, places: Sequence[Fraction]
) -> Iterator[tuple[ReaderGradients, Sequence[Tensor | None], float]]:
    """Yield mean gradients above a site, sums of heads, and the share of all places.

    All places at once, unless a norm over the sum of the moved heads differs in each.
    """
    model, graph, batch = runs.model, runs.graph, runs.batch
    alone = has_heads_norms(model) and not site % 2
    # As many steps side by side as there is room for in the graph of a whole pass.
    rows, sites = rows_per_pass(model, batch) // len(batch), len(clean.outputs)
    together = 1 if alone else max(1, min(rows, sites // (sites - site)))
    total = ReaderGradients(model, graph)
    firsts = range(0, len(places), together)
    for first in progress(firsts, len(firsts), "pass"):
        part = places[first : first + together]
        run, gradients = _run_moved(runs, clean, site, part)
        total.add(run, gradients, times=len(part))
        if alone:
            yield total, run.sums, 1 / len(places)
            total = ReaderGradients(model, graph)
    if not alone:
        yield total, [], 1.0


def _run_moved(
    runs: PathRuns, clean: _Clean, site: int, places: Sequence[Fraction]
) -> tuple[Observed, Observed]:
    """Run with a site at several places, side by side; return reads and gradients."""
    model, end = runs.model, clean.outputs[site]
    start = runs.at(ABLATED).outputs[site].to(end).expand_as(end)
    way = torch.tensor([float(place) for place in places]).to(end)
    points = torch.lerp(start, end, way[:, None, None, None, None])
    points = points.flatten(0, 1).requires_grad_()
    repeated = runs.batch.repeat(len(places))
    with (
        resumed(model, site, points, clean.outputs, clean.stream),
        observed(model, runs.graph.kv) as run,
    ):
        logits = answer_logits(model, repeated.clean, after=repeated.prefix)
    return run, reader_gradients(run, repeated.logit_diff(logits).sum())
