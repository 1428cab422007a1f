"""Stitched alignments of edges: what writers change in what readers read.

As for nodes (`stitching`), from forward passes of both models on a task's own prompts:
no gradients, no labels and no other task. A writer of the target gets the scores of a
source writer in proportion to how far its change, mapped to the source's stream, is
along the other's; a reader gets those of a source reader in proportion to how well the
changes of what it reads predict what changes there.

As for nodes, the change of a head's output is taken before a norm over the sum of all
heads (Gemma, OLMo 2), and queries and keys before a norm of theirs.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor, nn

from circuit_transfer.jobs.progress import progress
from circuit_transfer.models.edges import Graph
from circuit_transfer.transfer.changes import SiteChanges, site_changes
from circuit_transfer.transfer.edge_maps import EdgeMap, blocks, writer_kinds
from circuit_transfer.transfer.edge_reads import (
    LOGITS,
    Runs,
    joined_streams,
    reading_places,
)
from circuit_transfer.transfer.regression import ridge_regression
from circuit_transfer.transfer.stitching import (
    NODE_RIDGE,
    RIDGE,
    stitched_alignment,
)

Models = tuple[nn.Module, nn.Module]
Graphs = tuple[Graph, Graph]
BothRuns = tuple[Sequence[Runs], Sequence[Runs]]


def stitched_edges(models: Models, graphs: Graphs, runs: BothRuns) -> EdgeMap:
    """Return the map of edge scores that stitches two models on a task.

    Args:
        models: the model that the scores are of, and that which they are mapped to.
        graphs: the edges of both.
        runs: by batch of both, on the same prompts, see `edge_reads.run_reads`.
    """
    writers = stitched_writers(models, graphs, runs)
    readers = reader_shares(models, graphs, runs)
    totals = readers.sum(1, keepdims=True)
    # The score of a reader is shared out, so that no kind of reader is favoured.
    readers = readers / np.where(totals > 0, totals, 1)
    return EdgeMap(writers, readers, *graphs)


@torch.inference_mode()
def stitched_writers(models: Models, graphs: Graphs, runs: BothRuns) -> np.ndarray:
    """Return coefficients of target writers' changes on source writers', by kind.

    Those of nodes are the entries of `stitching.stitched_alignment`; the change of
    `input` is that of the embeddings, mapped by a regression of its own.

    Returns:
        float32 `(n_writers of the source, n_writers of the target)`.
    """
    changes = ([each.changes() for each in own] for own in runs)
    nodes = stitched_alignment(*models, *changes)
    source, target = (_embedding_changes(own) for own in runs)
    mapped = target @ ridge_regression(target, RIDGE)(source)
    size = source.square().sum().clamp(min=torch.finfo(source.dtype).tiny)
    found = np.zeros([len(graph.writers) for graph in graphs], np.float32)
    found[0, 0] = ((source * mapped).sum() / size / (1 + NODE_RIDGE)).item()
    found[1:, 1:] = nodes.numpy()
    return found * blocks(*graphs, writer_kinds)


@torch.inference_mode()
def reader_shares(models: Models, graphs: Graphs, runs: BothRuns) -> np.ndarray:
    """Return how much of what source readers read, target readers predict, by kind.

    The share of the squared change of a query, key, value or MLP's input that ridge
    regression explains, over all tokens, from the change of the target reader's.
    Readers that share a projection have equal shares. Both logits are each other's.

    Returns:
        float32 `(n_readers of the source, n_readers of the target)`, from 0 to 1, 0
        between readers of different kinds.
    """
    found = np.zeros([len(graph.readers) for graph in graphs], np.float32)
    found[-1, -1] = 1
    predicted = list(_read_changes(models[0], graphs[0], runs[0]))
    of_target = _read_changes(models[1], graphs[1], runs[1])
    for each in progress(of_target, 4 * graphs[1].layers, "readers of a layer"):
        solvers = [(x, ridge_regression(x, RIDGE)) for x in each.changes.unbind(1)]
        for other in predicted:
            if other.kind != each.kind:
                continue
            shares = [_explained(other.changes, *solver) for solver in solvers]
            block = torch.stack(shares, dim=1).cpu().numpy()
            block = block.repeat(other.shared, 0).repeat(each.shared, 1)
            found[np.ix_(other.readers, each.readers)] = block
    return found


@dataclass(frozen=True)
class _Read:
    """What readers of one kind and layer read: how it changes on all tokens.

    `changes` is `(token, projections, width)`, and `shared` how many of the `readers`
    in turn share a projection.
    """

    kind: str
    readers: range
    shared: int
    changes: Tensor


def _read_changes(
    model: nn.Module, graph: Graph, runs: Sequence[Runs]
) -> Iterator[_Read]:
    streams = joined_streams(runs)
    for place in reading_places(model, graph):
        for kind, changes in place.changes(streams).items():
            if kind != LOGITS:
                yield _Read(kind, place.readers[kind], place.shared(kind), changes)


def _explained(
    values: Tensor, predictors: Tensor, solve: Callable[[Tensor], Tensor]
) -> Tensor:
    """Return which share of values `(token, n, width)` a regression explains, `(n,)`.

    Args:
        values: what is predicted.
        predictors: `(token, width)`.
        solve: the solver of the regression, see `regression.ridge_regression`.
    """
    flat = values.flatten(1)
    left = (flat - predictors @ solve(flat)).unflatten(1, values.shape[1:])
    total = values.square().sum((0, 2))
    share = 1 - left.square().sum((0, 2)) / total.clamp(min=torch.finfo().tiny)
    return torch.where(total > 0, share, 0).clamp(0, 1)


@torch.inference_mode()
def edge_change_scores(model: nn.Module, graph: Graph, runs: Sequence[Runs]) -> Tensor:
    """Score edges by how much a writer changes in what a reader reads, `(n_edges,)`.

    The mean over examples of the squared change, summed over positions: the writer's
    change (clean minus corrupted) through the norm, at the scale that it has in the
    clean run, and the reader's weights. What only the answer depends on counts at the
    last position alone: the logits, and in the last layer queries and the MLP. A
    control that needs no source.
    """
    streams = joined_streams(runs)
    start = _embedding_changes(runs)
    sites = site_changes(model, [each.changes() for each in runs])
    squares = torch.zeros(graph.legal.shape)
    places = reading_places(model, graph)
    for place in progress(places, 2 * graph.layers + 1, "place of readers"):
        before = graph.before[next(iter(place.readers.values()))[0]]
        for writer, change in enumerate(islice(_written(start, sites), before)):
            found = place.read(change, streams.clean[place.point])
            for kind, values in found.items():
                by_token = values.square().sum(-1)
                if kind in place.answering:
                    by_token = by_token[streams.last]
                own = by_token.sum(0).cpu().repeat_interleave(place.shared(kind))
                squares[writer, list(place.readers[kind])] = own
    examples = sum(each.clean.shape[1] for each in runs)
    return torch.from_numpy(graph.flat(squares.numpy() / examples))


def _written(start: Tensor, sites: Sequence[SiteChanges]) -> Iterator[Tensor]:
    """Yield the change of the stream by every writer, `(token, d_model)`, in order."""
    yield start
    for site in sites:
        for node, weight in enumerate(site.weights):
            yield site.changes[:, node] @ weight


def _embedding_changes(runs: Sequence[Runs]) -> Tensor:
    """Return the changes of the embeddings on all tokens, `(token, d_model)`."""
    every = [each.clean[0] - each.corrupted[0] for each in runs]
    return torch.cat([each.flatten(0, 1) for each in every])
