"""Runs of one batch on the way from ablated to clean input, and edge scores of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import torch
from torch import Tensor, nn

from circuit_transfer.circuits.ablations import Ablation
from circuit_transfer.circuits.edge_gradients import ReaderGradients
from circuit_transfer.circuits.edge_products import Differences, edge_products
from circuit_transfer.interventions import answer_logits
from circuit_transfer.interventions.projections import readers_of_kinds
from circuit_transfer.interventions.readers import (
    Observed,
    observed,
    reader_gradients,
)
from circuit_transfer.jobs.progress import progress
from circuit_transfer.models.architectures import layer_readers
from circuit_transfer.models.edges import Graph
from circuit_transfer.prompts.batches import PairBatch

# Where the gradient of each step is taken, in steps from its beginning: at its clean
# end as at nodes, at its ablated one as EAP-IG has it for edges, or between them.
GRIDS = {"right": Fraction(1), "left": Fraction(0), "mid": Fraction(1, 2)}
ABLATED, CLEAN = Fraction(0), Fraction(1)


@dataclass(frozen=True)
class BatchScores:
    """Scores of the edges on every example of a batch.

    Attributes:
        scores: float32 `(batch, n_writers, n_readers)`, 0 where there is no edge.
        effect: float32 `(batch,)`, the logit difference of the clean run minus that
            with everything ablated, the input too.
    """

    scores: Tensor
    effect: Tensor


@dataclass(frozen=True)
class Point:
    """A run on the way: what its writers have written, and its metric.

    Attributes:
        input: the token embeddings.
        outputs: of the nodes by site.
        sums: of the heads by layer, where a norm follows them.
        metric: logit differences `(batch,)`.
    """

    input: Tensor
    outputs: Sequence[Tensor]
    sums: Sequence[Tensor | None]
    metric: Tensor


class PathRuns:
    """Runs of a batch from ablated (0) to clean (1) input, each made at most once."""

    def __init__(
        self, model: nn.Module, batch: PairBatch, ablated: Ablation, graph: Graph
    ):
        """Take the batch without the positions that are cached."""
        self.model, self.graph, self._ablated = model, graph, ablated
        times = graph.kv_readers // readers_of_kinds(model)["k"]
        prefix = batch.prefix and batch.prefix.repeated(times)
        self.batch = replace(batch, prefix=prefix)
        embed = model.get_input_embeddings()
        self._clean = embed(batch.clean).detach()
        replaced = ablated.embedding
        other = embed(batch.corrupted) if replaced is None else replaced
        self._other = other.detach().expand_as(self._clean)
        self._points: dict[Fraction, Point] = {}

    def at(self, share: Fraction) -> Point:
        """Return the run at a share of the way."""
        if share not in self._points:
            constant = share == ABLATED and self._ablated.constant is not None
            run = self._everything_ablated if constant else self._run_at
            self._points[share] = run(share)
        return self._points[share]

    def add_gradients(self, share: Fraction, total: ReaderGradients) -> Point:
        """Run at a share of the way, and add the gradients at the readers."""
        embeddings = self._embeddings(share).requires_grad_()
        metric, run = self._observe(embeddings)
        total.add(run, reader_gradients(run, metric.sum()))
        self._points[share] = _point(embeddings, run, metric)
        return self._points[share]

    def forget(self, share: Fraction) -> None:
        """Forget a run that is not needed again."""
        self._points.pop(share, None)

    def between(self, end: Point, start: Point, sums: Point) -> Differences:
        """Return the differences of the writers between two runs.

        Args:
            end: the run nearer to the clean one.
            start: the other one.
            sums: the run where norms over the sum of the heads are differentiated.
        """
        pairs = zip(end.outputs, start.outputs, strict=True)
        outputs = [a.float() - b.to(a.device).float() for a, b in pairs]
        return Differences(end.input.float() - start.input.float(), outputs, sums.sums)

    def effect(self) -> Tensor:
        """Return what ablating everything costs, `(batch,)`."""
        return self.at(CLEAN).metric - self.at(ABLATED).metric

    @torch.no_grad()
    def _run_at(self, share: Fraction) -> Point:
        embeddings = self._embeddings(share)
        metric, run = self._observe(embeddings)
        return _point(embeddings, run, metric)

    def _everything_ablated(self, _share: Fraction) -> Point:
        logits, outputs = self._ablated.run_with_input(self.batch)
        return Point(self._other, outputs, [], self.batch.logit_diff(logits))

    def _embeddings(self, share: Fraction) -> Tensor:
        return torch.lerp(self._other, self._clean, float(share))

    def _observe(self, embeddings: Tensor) -> tuple[Tensor, Observed]:
        with observed(self.model, self.graph.kv) as run:
            after = self.batch.prefix
            logits = answer_logits(self.model, embeddings=embeddings, after=after)
        return self.batch.logit_diff(logits), run


def gradient_scores(
    model: nn.Module,
    batch: PairBatch,
    ablated: Ablation,
    graph: Graph,
    *,
    places: Sequence[Fraction] = (CLEAN,),
    frozen_norms: bool = False,
) -> BatchScores:
    """Multiply all that ablation changes by the mean gradient over some places.

    A context around the call may alter the backward pass.

    Args:
        model: a causal language model with frozen parameters.
        batch: the pairs, without the positions that are cached.
        ablated: what replaces the outputs of writers.
        graph: the edges.
        places: shares of the way from the ablated input (0) to the clean one (1).
        frozen_norms: whether the norms before queries, keys and values, and over the
            sum of heads, are differentiated as if they divided by a constant.
    """
    runs = PathRuns(model, batch, ablated, graph)

    def gradients() -> ReaderGradients:
        return ReaderGradients(model, graph, frozen_norms=frozen_norms)

    total, scores = gradients(), None
    # A norm over the sum of heads is another one in every run.
    varies = has_heads_norms(model)
    # The ends first: the differences between them are needed in every run then.
    ordered = sorted(places, key=lambda each: (each not in (ABLATED, CLEAN), each))
    for place in progress(ordered, len(ordered), "step"):
        point = runs.add_gradients(place, total)
        if place not in (ABLATED, CLEAN):
            runs.forget(place)
        if varies:
            differences = runs.between(runs.at(CLEAN), runs.at(ABLATED), point)
            part = edge_products(model, graph, differences, total) / len(places)
            scores = part if scores is None else scores.add_(part)
            total = gradients()
    if not varies:
        ends = runs.at(CLEAN), runs.at(ABLATED)
        differences = runs.between(*ends, ends[0])
        scores = edge_products(model, graph, differences, total)
    return BatchScores(scores, runs.effect())


def conductance_scores(
    model: nn.Module,
    batch: PairBatch,
    ablated: Ablation,
    graph: Graph,
    *,
    places: Sequence[Fraction],
) -> BatchScores:
    """Multiply what changes in each step by the gradient in it, and add the steps.

    Args:
        model: as in `gradient_scores`, like the other arguments.
        batch: the pairs.
        ablated: what replaces the outputs of writers.
        graph: the edges.
        places: of the gradient in each of the equal steps from ablated to clean input.
    """
    runs = PathRuns(model, batch, ablated, graph)
    scores = 0.0
    for step, place in enumerate(progress(places, len(places), "step")):
        gradients = ReaderGradients(model, graph)
        point = runs.add_gradients(place, gradients)
        ends = [Fraction(step + more, len(places)) for more in (0, 1)]
        start, end = map(runs.at, ends)
        differences = runs.between(end, start, point)
        scores = scores + edge_products(model, graph, differences, gradients)
        for share in {ends[0], place} - {ABLATED, CLEAN, ends[1]}:
            runs.forget(share)
    return BatchScores(scores, runs.effect())


def has_heads_norms(model: nn.Module) -> bool:
    """Return whether a norm follows the sum of a layer's heads."""
    return layer_readers(model)[0].heads_norm is not None


def _point(embeddings: Tensor, run: Observed, metric: Tensor) -> Point:
    outputs = [each.detach() for each in run.outputs]
    sums = [None if each is None else each.detach() for each in run.sums]
    return Point(embeddings.detach(), outputs, sums, metric.detach())
