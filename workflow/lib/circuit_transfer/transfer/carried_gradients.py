"""Carried gradients: scores of target nodes by gradients of the source model.

A node matters by how its output changes (clean minus corrupted) times the metric's
gradient there. The change is measured in the target; the gradient is the source's,
carried, that is mapped by ridge regression on the same prompts, to the target's
residual stream. No gradient of the target's metric is taken.
"""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from circuit_transfer.interventions import answer_logits, captured, captured_stream
from circuit_transfer.jobs.progress import progress
from circuit_transfer.prompts.batches import PairBatch
from circuit_transfer.transfer.changes import Changes, stream_changes
from circuit_transfer.transfer.regression import ridge_regression

# Penalty of the regression, as a share of the mean squared change of a stream's
# coordinate: gradients need a finer map than scores.
RIDGE = 0.01


def stream_gradients(model: nn.Module, batch: PairBatch, steps: int) -> Tensor:
    """Return the metric's gradient in the residual stream.

    Averaged on the straight line from corrupted to clean input embeddings; one step is
    the clean run alone. Float32 `(points, batch, position, d_model)`.
    """
    embed = model.get_input_embeddings()
    clean, corrupted = embed(batch.clean), embed(batch.corrupted)
    total = 0
    for step in progress(range(1, steps + 1), steps, "step"):
        point = torch.lerp(corrupted, clean, step / steps).requires_grad_()
        with captured_stream(model) as stream:
            logits = answer_logits(model, embeddings=point, after=batch.prefix)
        gradients = torch.autograd.grad(batch.logit_diff(logits).sum(), stream)
        total = total + torch.stack([each.to(point.device) for each in gradients])
    return (total / steps).float()


def carrying(
    source_changes: Tensor, target_changes: Tensor, ridge: float = RIDGE
) -> Callable[[Tensor], Tensor]:
    """Return the function that maps gradients in the source's stream to the target's.

    At every point of the target, a token's gradient is the vector whose products with
    the changes of the target's stream on all tokens are, by ridge regression, nearest
    those of its gradients with the changes of the source's stream, mean over the points
    of the source.

    Args:
        source_changes: `(points, token, width)`.
        target_changes: `(points, token, width)`, of the target, on the same tokens.
        ridge: the penalty, see `regression.ridge_regression`.

    Returns:
        A function of gradients of the source, `(points, token, width)` on any of the
        tokens, to those of the target on the same ones, in the same form, float32.
    """
    sources = _side_by_side(source_changes) / len(source_changes)
    every = progress(target_changes, len(target_changes), "regression")
    solves = [ridge_regression(changes, ridge) for changes in every]
    # Both orders of multiplication are the same; the one with the smaller product in
    # between is taken.
    stitched = sources.shape[1] < len(sources)
    stitches = torch.stack([each(sources) for each in solves]) if stitched else None

    @torch.inference_mode()
    def carry(gradients: Tensor) -> Tensor:
        columns = _side_by_side(gradients).T
        if stitches is not None:
            return (stitches @ columns).mT
        values = sources @ columns
        return torch.stack([each(values).T for each in solves])

    return carry


def carried_scores(
    target: nn.Module,
    batches: Sequence[PairBatch],
    source_changes: Sequence[Changes],
    target_changes: Sequence[Changes],
    gradients: Sequence[Sequence[Tensor]],
) -> Tensor:
    """Score the target's nodes by gradients of the source, float32 `(sets, n_nodes)`.

    The mean over examples of a node's change times the gradient carried to the point of
    the stream that its output enters.

    Args:
        target: the model whose nodes are scored, with frozen parameters.
        batches: the pairs, tokenized for the target.
        source_changes: by batch, see `changes.run_both`.
        target_changes: on the same prompts in the target.
        gradients: sets of them, each of the source by batch; see `stream_gradients`.
    """
    carry = carrying(stream_changes(source_changes), stream_changes(target_changes))
    scores = []
    every = zip(batches, target_changes, *gradients, strict=True)
    for batch, changes, *sets in progress(every, len(batches), "carrying batch"):
        rows = changes.stream.shape[1:3]
        # One at a time: a set is as large as the outputs of all nodes.
        carried = (carry(each.flatten(1, 2)).unflatten(1, rows) for each in sets)
        scores.append(node_products(target, batch, changes.sites, carried))
    return torch.cat(scores, dim=1).double().mean(1).float().cpu()


def node_products(
    model: nn.Module,
    batch: PairBatch,
    changes: Sequence[Tensor],
    gradients: Iterable[Tensor],
) -> Tensor:
    """Multiply the change of every node's output with gradients in the stream.

    With the model's own gradients at the clean run these are the scores of `nap`.

    Args:
        model: a causal language model with frozen parameters.
        batch: the pairs.
        changes: of the outputs of every site, see `changes.Changes`.
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
            # Back from a point of the stream to the output that enters it: one step.
            torch.autograd.grad(point, site, other.to(point), retain_graph=True)[0]
            for point, site, other in zip(stream, sites, each, strict=True)
        ]
        products = [
            (a * b.to(a)).sum((1, 3)) for a, b in zip(changes, local, strict=True)
        ]
        found.append(torch.cat(products, dim=1))
    return torch.stack(found)


def _side_by_side(points: Tensor) -> Tensor:
    """Concatenate the values of a token at all points, `(token, points * width)`."""
    return points.transpose(0, 1).flatten(1)
