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

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from circuit_transfer.architectures import node_sites, projection_weight
from circuit_transfer.attribution import products
from circuit_transfer.batches import PairBatch
from circuit_transfer.interventions import (
    answer_logits,
    captured,
    captured_stream,
    run_captured,
)

# Of the regressions, as shares of the mean squared change of a stream's coordinate.
# Scores want a coarse stitch, gradients a fine one.
SCORES_RIDGE, GRADIENTS_RIDGE = 1.0, 0.01
# Of a source node that hardly changes, as a share of the mean squared change of all.
NODE_RIDGE = 0.01


@dataclass(frozen=True)
class Changes:
    """What differs between the clean and the corrupted prompts of a batch.

    Attributes:
        start: the first position that is kept.
        stream: the residual stream by point, float32 `(points, batch, position,
            d_model)`; points as in `architectures.stream_points`.
        sites: what every site wrote, float32 `(batch, position, nodes, width)`.
    """

    start: int
    stream: Tensor
    sites: list[Tensor]


def first_difference(*batches: PairBatch) -> int:
    """Return the first position at which a prompt of any of the batches is corrupted.

    Before it, in a causal model, nothing changes.
    """
    return min(
        int((each.clean != each.corrupted).any(0).int().argmax()) for each in batches
    )


@torch.no_grad()
def run_changes(model: nn.Module, batch: PairBatch, start: int = 0) -> Changes:
    """Run the clean and the corrupted prompts of a batch and return what differs.

    Positions before `start` are left out, see `first_difference`.
    """
    runs = []
    for ids in (batch.clean, batch.corrupted):
        with captured(model) as sites, captured_stream(model) as stream:
            answer_logits(model, ids)
        points = torch.stack([each[:, start:].to(ids.device) for each in stream])
        runs.append((points.float(), [site[:, start:].float() for site in sites]))
    (clean, clean_sites), (corrupted, corrupted_sites) = runs
    pairs = zip(clean_sites, corrupted_sites, strict=True)
    return Changes(
        start, clean - corrupted, [(a - b).to(clean.device) for a, b in pairs]
    )


def run_both(
    source: nn.Module, target: nn.Module, prompts: Sequence[tuple[PairBatch, PairBatch]]
) -> tuple[list[Changes], list[Changes]]:
    """Return what differs in both models, from the first difference on, by batch.

    Args:
        source: a model.
        target: another one.
        prompts: batches of the same pairs, tokenized for each into equally many tokens;
            see `similarity.shared_batches`.
    """
    starts = [first_difference(*each) for each in prompts]
    runs = list(zip(prompts, starts, strict=True))
    return (
        [run_changes(source, batch, start) for (batch, _), start in runs],
        [run_changes(target, batch, start) for (_, batch), start in runs],
    )


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
    streams = [
        _tokens([c.stream for c in each]) for each in (source_changes, target_changes)
    ]
    source_stream, target_stream = streams
    written = [
        _written(source, source_changes, site) for site in range(len(source_stream))
    ]
    rows = []
    for site, changes in enumerate(target_stream):
        # For every point of the source, how its stream follows from the target's.
        stitches = _regression(changes, SCORES_RIDGE)
        nodes = _written(target, target_changes, site)
        column = []
        for point, of_source in enumerate(written):
            carried = nodes @ stitches(source_stream[point])
            column.append(torch.einsum("tsd,tnd->sn", of_source, carried))
        rows.append(torch.cat(column))
    shared = torch.cat(rows, dim=1)
    sizes = torch.cat([each.square().sum((0, 2)) for each in written])
    return (shared / (sizes + NODE_RIDGE * sizes.mean())[:, None]).cpu()


def carried_scores(
    target: nn.Module,
    batches: Sequence[PairBatch],
    source_changes: Sequence[Changes],
    target_changes: Sequence[Changes],
    gradients: Sequence[Tensor],
) -> Tensor:
    """Score the target's nodes by gradients of the source, float32 `(n_nodes,)`.

    The mean over examples of what a node changes times the gradient that is carried to
    where it writes.

    Args:
        target: the model whose nodes are scored, with frozen parameters.
        batches: the pairs, tokenized for the target.
        source_changes: as in `stitched_alignment`.
        target_changes: as in `stitched_alignment`.
        gradients: of the source, by batch; see `stream_gradients`.
    """
    kept = [
        each[:, :, changes.start :]
        for each, changes in zip(gradients, source_changes, strict=True)
    ]
    of_source, of_target = (
        [each.stream for each in changes]
        for changes in (source_changes, target_changes)
    )
    carried = carry_gradients(_tokens(of_source), _tokens(kept), _tokens(of_target))
    parts = carried.split([each[0, ..., 0].numel() for each in of_target], dim=1)
    scores = []
    for batch, part, changes in zip(batches, parts, target_changes, strict=True):
        shaped = part.unflatten(1, changes.stream.shape[1:3])
        whole = nn.functional.pad(shaped, (0, 0, changes.start, 0))
        scores.append(node_products(target, batch, whole))
    return torch.cat(scores).double().mean(0).float().cpu()


def change_scores(model: nn.Module, changes: Sequence[Changes]) -> Tensor:
    """Score nodes by how much they change, float32 `(n_nodes,)`.

    The mean over examples of the squared change of what a node adds to the residual
    stream, summed over positions: what the same passes tell without any source.
    """
    sites = range(len(changes[0].sites))
    squares = [_written(model, changes, site).square().sum((0, 2)) for site in sites]
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
            logits = answer_logits(model, embeddings=point)
        gradients = torch.autograd.grad(batch.logit_diff(logits).sum(), stream)
        total = total + torch.stack([each.to(point.device) for each in gradients])
    return (total / steps).float()


def carry_gradients(
    source_changes: Tensor,
    gradients: Tensor,
    target_changes: Tensor,
    ridge: float = GRADIENTS_RIDGE,
) -> Tensor:
    """Carry gradients in the source's stream into the target's stream.

    At every point of the target, every token's gradient is the vector whose products
    with the changes of the target's stream are, by ridge regression over all tokens,
    nearest those of its gradients with the changes of the source's stream, mean over
    the points of the source.

    Args:
        source_changes: `(points, token, width)`.
        gradients: of the same shape.
        target_changes: `(points, token, width)`, of the target, on the same tokens.
        ridge: strength of the regression.

    Returns:
        Float32, of the shape of `target_changes`.
    """
    values = torch.einsum("ptd,pud->tu", source_changes, gradients)
    values = values / len(source_changes)
    carried = [_regression(changes, ridge)(values).T for changes in target_changes]
    return torch.stack(carried)


def node_products(model: nn.Module, batch: PairBatch, gradients: Tensor) -> Tensor:
    """Multiply what every node writes more on clean prompts with stream gradients.

    With the model's own gradients at the clean run these are the scores of `nap`.

    Args:
        model: a causal language model with frozen parameters.
        batch: the pairs.
        gradients: `(points, batch, position, d_model)`.

    Returns:
        Float32 `(batch, n_nodes)`.
    """
    embeddings = model.get_input_embeddings()(batch.clean).requires_grad_()
    with captured(model) as sites, captured_stream(model) as stream:
        answer_logits(model, embeddings=embeddings)
    _, corrupted = run_captured(model, batch.corrupted)
    local = [
        # From where the stream carries it back to what was written: one step.
        torch.autograd.grad(point, site, each.to(point), retain_graph=True)[0]
        for point, site, each in zip(stream, sites, gradients, strict=True)
    ]
    return products(sites, corrupted, local)


def shuffled(gradients: Sequence[Tensor], seed: int) -> list[Tensor]:
    """Give every example the gradients of another one of its batch.

    Arguments by batch, `(points, batch, position, d_model)`: prompts of one length.
    """
    generator = torch.Generator().manual_seed(seed)
    return [
        each[:, torch.randperm(each.shape[1], generator=generator)]
        for each in gradients
    ]


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
        values = values.double()
        if wide:
            return (rows.T @ torch.cholesky_solve(values, factor)).float()
        return torch.cholesky_solve(rows.T @ values, factor).float()

    return solve


def _written(model: nn.Module, changes: Sequence[Changes], site: int) -> Tensor:
    """Return a site's changes in the residual stream, `(token, nodes, d_model)`."""
    module, at_input, n_nodes = node_sites(model)[site]
    tokens = torch.cat([each.sites[site].flatten(0, 1) for each in changes])
    if not at_input:
        return tokens
    weights = projection_weight(module).float().unflatten(1, (n_nodes, -1))
    return torch.einsum("tnw,dnw->tnd", tokens, weights.to(tokens.device))


def _tokens(parts: Sequence[Tensor]) -> Tensor:
    """Line up the tokens of all batches, `(points, token, width)`."""
    return torch.cat([each.flatten(1, 2) for each in parts], dim=1)
