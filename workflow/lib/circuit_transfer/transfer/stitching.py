"""Node scores of a target model from what both models do on a task's own prompts.

The residual streams of two models are stitched: what changes in the target's stream
between corrupted and clean prompts is carried into the source's stream by ridge
regression on the same prompts. That takes forward passes of the target, no gradients of
it, no labels and no other task. Two things can then be carried over:

- the source's scores: a target node gets the score of a source node as far as what the
  one changes, carried over, is what the other changes (`stitched_alignment`);
- the source's gradients: a node matters by what it changes and by what the rest of the
  model makes of that; the first is seen in the target, for the second the gradient of
  the source stands in (`carried_scores`).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import polars as pl
import torch
from torch import Tensor, nn

from circuit_transfer.interventions import (
    Prefix,
    answer_logits,
    captured,
    captured_stream,
)
from circuit_transfer.models.architectures import node_sites, projection_weight
from circuit_transfer.prompts.batches import PairBatch, fitting_batch_size, shortened

# Of the regressions, as shares of the mean squared change of a stream's coordinate.
# Scores want a coarse stitch, gradients a fine one.
SCORES_RIDGE, GRADIENTS_RIDGE = 1.0, 0.01
# Of a source node that hardly changes, as a share of the mean squared change of all.
NODE_RIDGE = 0.01


@dataclass(frozen=True)
class Changes:
    """What differs between the clean and the corrupted prompts of a batch.

    Attributes:
        stream: the residual stream by point, float32 `(points, batch, position,
            d_model)`; points as in `architectures.stream_points`.
        sites: what every site wrote, float32 `(batch, position, nodes, width)`.
    """

    stream: Tensor
    sites: list[Tensor]


def size_for_both(
    models: Sequence[nn.Module], pairs: Sequence[pl.DataFrame], batch_size: int | str
) -> int:
    """Return how many pairs a batch for several models has.

    Of `auto`, as many as all of them can run, each on its own frame of pairs.
    """
    if batch_size != "auto":
        return batch_size
    return min(map(fitting_batch_size, models, pairs))


def shorten_both(
    source: nn.Module, target: nn.Module, prompts: Sequence[tuple[PairBatch, PairBatch]]
) -> list[tuple[PairBatch, PairBatch]]:
    """Run what the prompts of a batch begin with once; leave the rest, of both models.

    In a causal model nothing changes before the first corrupted token. Both models
    leave out as many, so that the rest corresponds token by token.

    Args:
        source: a model.
        target: another one.
        prompts: batches of the same pairs, tokenized for each into equally many tokens;
            see `similarity.shared_batches`.
    """
    lengths = [min(a.shared(), b.shared()) for a, b in prompts]
    return [
        (shortened(source, a, length), shortened(target, b, length))
        for (a, b), length in zip(prompts, lengths, strict=True)
    ]


@torch.inference_mode()
def run_changes(model: nn.Module, batch: PairBatch) -> Changes:
    """Run the clean and the corrupted prompts of a batch and return what differs."""
    clean, clean_sites = _run_stream(model, batch.clean, batch.prefix)
    corrupted, corrupted_sites = _run_stream(model, batch.corrupted, batch.prefix)
    pairs = zip(clean_sites, corrupted_sites, strict=True)
    return Changes(clean - corrupted, [(a - b).to(clean.device) for a, b in pairs])


def run_both(
    source: nn.Module, target: nn.Module, prompts: Sequence[tuple[PairBatch, PairBatch]]
) -> tuple[list[Changes], list[Changes]]:
    """Return what differs in both models, by batch.

    Args:
        source: a model.
        target: another one.
        prompts: batches of the same pairs, see `shorten_both`.
    """
    return (
        [run_changes(source, batch) for batch, _ in prompts],
        [run_changes(target, batch) for _, batch in prompts],
    )


@torch.inference_mode()
def stitched_alignment(
    source: nn.Module,
    target: nn.Module,
    source_changes: Sequence[Changes],
    target_changes: Sequence[Changes],
) -> Tensor:
    """Return the matrix that carries node scores over, float32 `(n_source, n_target)`.

    An entry is the coefficient of a target node's change, carried into the source's
    stream, on a source node's change: `<change_i, carried change_j> / <change_i,
    change_i>`, over all tokens. What a head changes is taken before a norm that reads
    the sum of all heads (Gemma, OLMo 2).

    Args:
        source: the model that the scores are of.
        target: the model that they are carried to.
        source_changes: by batch, see `run_both`.
        target_changes: the same prompts' in the target.
    """
    source_stream, target_stream = _stream(source_changes), _stream(target_changes)
    of_source = _written(source, source_changes)
    of_target = _written(target, target_changes)
    columns = []
    for changes, nodes in zip(target_stream, of_target, strict=True):
        # For every point of the source, how its stream follows from the target's.
        stitches = _regression(changes, SCORES_RIDGE)
        found = [
            _shared(own, nodes, stitches(stream))
            for own, stream in zip(of_source, source_stream, strict=True)
        ]
        columns.append(torch.cat(found))
    sizes = torch.cat([each.sizes() for each in of_source])
    shared = torch.cat(columns, dim=1)
    return (shared / (sizes + NODE_RIDGE * sizes.mean())[:, None]).cpu()


def carried_scores(
    target: nn.Module,
    batches: Sequence[PairBatch],
    source_changes: Sequence[Changes],
    target_changes: Sequence[Changes],
    gradients: Sequence[Sequence[Tensor]],
) -> Tensor:
    """Score the target's nodes by gradients of the source, float32 `(sets, n_nodes)`.

    The mean over examples of what a node changes times the gradient that is carried to
    where it writes.

    Args:
        target: the model whose nodes are scored, with frozen parameters.
        batches: the pairs, tokenized for the target.
        source_changes: as in `stitched_alignment`.
        target_changes: as in `stitched_alignment`.
        gradients: sets of them, each of the source by batch; see `stream_gradients`.
    """
    carry = carrying(_stream(source_changes), _stream(target_changes))
    scores = []
    for batch, changes, *sets in zip(batches, target_changes, *gradients, strict=True):
        rows = changes.stream.shape[1:3]
        # One at a time: a set is as large as all that the nodes write.
        carried = (carry(each.flatten(1, 2)).unflatten(1, rows) for each in sets)
        scores.append(node_products(target, batch, changes.sites, carried))
    return torch.cat(scores, dim=1).double().mean(1).float().cpu()


@torch.inference_mode()
def change_scores(model: nn.Module, changes: Sequence[Changes]) -> Tensor:
    """Score nodes by how much they change, float32 `(n_nodes,)`.

    The mean over examples of the squared change of what a node adds to the residual
    stream, summed over positions: what the same passes tell without any source.
    """
    squares = [each.sizes() for each in _written(model, changes)]
    examples = sum(each.stream.shape[1] for each in changes)
    return (torch.cat(squares) / examples).cpu()


def stream_gradients(model: nn.Module, batch: PairBatch, steps: int) -> Tensor:
    """Return the metric's gradient in the residual stream.

    Averaged on the way from corrupted to clean input embeddings; one step is the clean
    run alone. Float32 `(points, batch, position, d_model)`.
    """
    embed = model.get_input_embeddings()
    clean, corrupted = embed(batch.clean), embed(batch.corrupted)
    total = 0
    for step in range(1, steps + 1):
        point = torch.lerp(corrupted, clean, step / steps).requires_grad_()
        with captured_stream(model) as stream:
            logits = answer_logits(model, embeddings=point, after=batch.prefix)
        gradients = torch.autograd.grad(batch.logit_diff(logits).sum(), stream)
        total = total + torch.stack([each.to(point.device) for each in gradients])
    return (total / steps).float()


def carrying(
    source_changes: Tensor, target_changes: Tensor, ridge: float = GRADIENTS_RIDGE
) -> Callable[[Tensor], Tensor]:
    """Return what carries gradients in the source's stream into the target's stream.

    At every point of the target, a token's gradient is the vector whose products with
    the changes of the target's stream on all tokens are, by ridge regression, nearest
    those of its gradients with the changes of the source's stream, mean over the points
    of the source.

    Args:
        source_changes: `(points, token, width)`.
        target_changes: `(points, token, width)`, of the target, on the same tokens.
        ridge: strength of the regression.

    Returns:
        A function of gradients of the source, `(points, token, width)` on any of the
        tokens, to those of the target on the same ones, in the same form, float32.
    """
    sources = _beside(source_changes) / len(source_changes)
    solves = [_regression(changes, ridge) for changes in target_changes]
    # Either order of the products is the same; the smaller one in between is taken.
    stitched = sources.shape[1] < len(sources)
    stitches = torch.stack([each(sources) for each in solves]) if stitched else None

    @torch.inference_mode()
    def carry(gradients: Tensor) -> Tensor:
        columns = _beside(gradients).T
        if stitches is not None:
            return (stitches @ columns).mT
        values = sources @ columns
        return torch.stack([each(values).T for each in solves])

    return carry


def node_products(
    model: nn.Module,
    batch: PairBatch,
    changes: Sequence[Tensor],
    gradients: Iterable[Tensor],
) -> Tensor:
    """Multiply what every node writes more on clean prompts with stream gradients.

    With the model's own gradients at the clean run these are the scores of `nap`.

    Args:
        model: a causal language model with frozen parameters.
        batch: the pairs.
        changes: what every site wrote more, see `Changes`.
        gradients: sets of them, each `(points, batch, position, d_model)`.

    Returns:
        Float32 `(sets, batch, n_nodes)`.
    """
    embeddings = model.get_input_embeddings()(batch.clean).requires_grad_()
    with captured(model) as sites, captured_stream(model) as stream:
        answer_logits(model, embeddings=embeddings, after=batch.prefix)
    found = []
    for each in gradients:
        local = [
            # From where the stream carries it back to what was written: one step.
            torch.autograd.grad(point, site, other.to(point), retain_graph=True)[0]
            for point, site, other in zip(stream, sites, each, strict=True)
        ]
        products = [
            (a * b.to(a)).sum((1, 3)) for a, b in zip(changes, local, strict=True)
        ]
        found.append(torch.cat(products, dim=1))
    return torch.stack(found)


def shuffled(gradients: Sequence[Tensor], seed: int) -> list[Tensor]:
    """Give every example the gradients of another one of its batch.

    Arguments by batch, `(points, batch, position, d_model)`: prompts of one length.
    """
    generator = torch.Generator().manual_seed(seed)
    return [
        each[:, torch.randperm(each.shape[1], generator=generator)]
        for each in gradients
    ]


def other_gradients(
    model: nn.Module,
    gradients: Sequence[Tensor],
    batches: Sequence[PairBatch],
    steps: int,
) -> list[Tensor]:
    """Replace gradients by those of the same model on another task's pairs.

    Args:
        model: the model.
        gradients: what is replaced, by batch; see `stream_gradients`.
        batches: the other task's pairs, for the same model.
        steps: as in `stream_gradients`.

    Returns:
        As `in_place_of`.
    """
    needed = max(each.shape[2] for each in gradients)
    found = []
    for batch in batches:
        spare = max(0, batch.clean.shape[1] - needed)
        rest = shortened(model, batch, min(spare, batch.shared()))
        found.append(stream_gradients(model, rest, steps))
    return in_place_of(gradients, found)


def in_place_of(gradients: Sequence[Tensor], others: Sequence[Tensor]) -> list[Tensor]:
    """Replace gradients by the mean of others at the same distance from the end.

    Both by batch, `(points, batch, position, d_model)`. Where prompts are longer than
    all others, the gradient is zero.
    """
    longest = max(each.shape[2] for each in others)
    total = torch.zeros_like(others[0][:, 0, :1]).repeat(1, longest, 1)
    counts = torch.zeros(longest, 1, device=total.device)
    for each in others:
        total[:, -each.shape[2] :] += each.sum(1)
        counts[-each.shape[2] :] += each.shape[1]
    mean = total / counts.clamp(min=1)
    replaced = []
    for each in gradients:
        common = min(longest, each.shape[2])
        other = torch.zeros_like(each)
        other[:, :, -common:] = mean[:, None, -common:]
        replaced.append(other)
    return replaced


def _regression(changes: Tensor, ridge: float) -> Callable[[Tensor], Tensor]:
    """Return the ridge regression from changes `(token, width)` to any values.

    It takes values `(token, columns)` and gives coefficients `(width, columns)`.
    """
    rows = changes.double()
    tokens, width = rows.shape
    strength = ridge * rows.square().sum() / width
    # Both forms are the same; the smaller system is solved.
    wide = tokens < width
    kernel = rows @ rows.T if wide else rows.T @ rows
    kernel.diagonal().add_(strength.clamp(min=torch.finfo(rows.dtype).tiny))
    factor = torch.linalg.cholesky(kernel)

    def solve(values: Tensor) -> Tensor:
        columns, values = changes.double().T, values.double()
        if wide:
            return (columns @ torch.cholesky_solve(values, factor)).float()
        return torch.cholesky_solve(columns @ values, factor).float()

    return solve


@dataclass(frozen=True)
class _Written:
    """What a site's nodes write more on clean prompts, and how it enters the stream.

    Attributes:
        changes: `(token, nodes, width)`.
        weights: `(nodes, width, d_model)`.
    """

    changes: Tensor
    weights: Tensor

    def sizes(self) -> Tensor:
        """Return every node's squared change of the stream over all tokens."""
        return _shared(self, self).diagonal()


def _written(model: nn.Module, changes: Sequence[Changes]) -> list[_Written]:
    found = []
    for site, (module, at_input, n_nodes) in enumerate(node_sites(model)):
        tokens = torch.cat([each.sites[site].flatten(0, 1) for each in changes])
        if at_input:
            weights = projection_weight(module).float().unflatten(1, (n_nodes, -1))
            weights = weights.permute(1, 2, 0).to(tokens.device)
        else:
            weights = torch.eye(tokens.shape[2], device=tokens.device)[None]
        found.append(_Written(tokens, weights))
    return found


def _shared(one: _Written, other: _Written, stitch: Tensor | None = None) -> Tensor:
    """Return the products of changes of the stream over all tokens, `(one, other)`.

    The other's changes may be carried by a stitch first, `(d_model, d_model of one)`.
    No change of the stream is ever held: the tokens are summed over first.
    """
    reached = other.weights if stitch is None else other.weights @ stitch
    weights = torch.einsum("iwd,jvd->ijwv", one.weights, reached)
    changes = torch.einsum("tiw,tjv->ijwv", one.changes, other.changes)
    return (weights * changes).sum((2, 3))


def _run_stream(
    model: nn.Module, ids: Tensor, after: Prefix | None
) -> tuple[Tensor, list[Tensor]]:
    """Run prompts; return the stream by point and what the sites write, in float32."""
    with captured(model) as sites, captured_stream(model) as stream:
        answer_logits(model, ids, after=after)
    points = torch.stack([each.to(ids.device) for each in stream])
    return points.float(), [site.float() for site in sites]


def _stream(changes: Sequence[Changes]) -> Tensor:
    """Line up the tokens of all batches, `(points, token, d_model)`."""
    return torch.cat([each.stream.flatten(1, 2) for each in changes], dim=1)


def _beside(points: Tensor) -> Tensor:
    """Set what a token has at all points side by side, `(token, points * width)`."""
    return points.transpose(0, 1).flatten(1)
