"""Similarity of nodes of two models on the same prompts: linear CKA.

Of their outputs, or of what changes in them between clean and corrupted prompts.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from circuit_transfer.interventions import run_captured
from circuit_transfer.jobs.progress import progress
from circuit_transfer.models.architectures import node_sites, projection_weight
from circuit_transfer.prompts.batches import PairBatch
from circuit_transfer.transfer.hsic import LEAST_DEBIASED, centred, debiased, root
from circuit_transfer.transfer.maps import CKA, MATCHED


def node_similarity(source: Sequence[Tensor], target: Sequence[Tensor]) -> np.ndarray:
    """Return the linear CKA of every two nodes (Kornblith et al. 2019, Section 3).

    `|X'Y|^2 / (|X'X| |Y'Y|)` with Frobenius norms, between 0 and 1.

    Args:
        source: by node, outputs `(sample, width)` as `node_outputs` gives them.
        target: the same of the other model, on the same samples.

    Returns:
        float32 `(n_source, n_target)`; 0 where a node has a constant output.

    Raises:
        ValueError: the numbers of samples differ.
    """
    samples = {len(each) for each in (*source, *target)}
    if len(samples) != 1:
        raise ValueError(f"expected outputs on the same samples, got {samples} of them")
    widths = [each.shape[1] for each in source]
    stacked = torch.cat(list(source), dim=1)
    source_norms = torch.stack([(x.T @ x).norm() for x in source])
    columns = []
    for outputs in progress(target, len(target), "comparing node"):
        crossed = (stacked.T @ outputs).square().sum(1)
        shared = torch.stack([part.sum() for part in crossed.split(widths)])
        norms = source_norms * (outputs.T @ outputs).norm()
        columns.append(torch.where(norms > 0, shared / norms, 0.0))
    return torch.stack(columns, dim=1).float().cpu().numpy()


def compare_nodes(
    source: nn.Module, target: nn.Module, prompts: Sequence[tuple[PairBatch, PairBatch]]
) -> np.ndarray:
    """Return the similarity of all nodes of two models on shared clean prompts.

    At all positions where all prompts have equally many tokens in both models, else at
    the last one alone.

    Args:
        source: a model.
        target: another one.
        prompts: batches of the same prompts, tokenized for each; see
            `shared_prompts.shared_batches`.
    """
    positions = slice(None) if _aligned(prompts) else slice(-1, None)
    return node_similarity(
        node_outputs(source, [a.clean for a, _ in prompts], positions),
        node_outputs(target, [b.clean for _, b in prompts], positions),
    )


def change_similarity(source: Sequence[Tensor], target: Sequence[Tensor]) -> np.ndarray:
    """Return the debiased linear CKA of every two nodes, see `hsic`.

    0 on average for independent changes, however few the samples; 1 at most.

    Args:
        source: by node, changes `(sample, width)` as `node_changes` gives them.
        target: the same of the other model, on the same samples.

    Returns:
        float32 `(n_source, n_target)`; 0 where the changes of a node do not vary.
    """
    (source, source_sizes, source_roots), (target, target_sizes, target_roots) = (
        _centred_features(nodes) for nodes in (source, target)
    )
    stacked, widths = torch.cat(source, dim=1), [each.shape[1] for each in source]
    columns = []
    each_target = zip(target, target_sizes, target_roots, strict=True)
    for changes, sizes, own_root in progress(each_target, len(target), "matching node"):
        crossed = (stacked.T @ changes).square().sum(1)
        products = torch.stack([part.sum() for part in crossed.split(widths)])
        norms = source_roots * own_root
        shared = debiased(products, source_sizes, sizes)
        varies = norms > 0
        columns.append(torch.where(varies, shared / torch.where(varies, norms, 1), 0.0))
    return torch.stack(columns, dim=1).float().cpu().numpy()


def compare_changes(
    source: nn.Module, target: nn.Module, prompts: Sequence[tuple[PairBatch, PairBatch]]
) -> np.ndarray | None:
    """Return the similarity of what changes in all nodes of two models.

    Between clean and corrupted prompts. At the positions from the first token on that
    differs in a pair where all prompts have equally many tokens in both models, else at
    the last one alone.

    Args:
        source: a model.
        target: another one.
        prompts: batches of the same pairs, see `shared_prompts.shared_batches`.

    Returns:
        float32 `(n_source, n_target)`, see `change_similarity`; None of fewer samples
        than the estimator needs.
    """
    aligned = _aligned(prompts)
    batches: list[list[tuple[PairBatch, Tensor]]] = [[], []]
    for pair in prompts:
        differing = [_differing(each) for each in pair]
        for own, batch, other in zip(batches, pair, differing, strict=True):
            kept = differing[0] | differing[1] if aligned else _last(other)
            own.append((batch, kept))
    if sum(int(kept.sum()) for _, kept in batches[0]) < LEAST_DEBIASED:
        return None
    of_models = map(node_changes, (source, target), batches)
    return change_similarity(*of_models)


@torch.no_grad()
def node_changes(
    model: nn.Module, batches: Sequence[tuple[PairBatch, Tensor]]
) -> list[Tensor]:
    """Return every node's output on clean prompts minus that on corrupted ones.

    In coordinates as those of `node_outputs`, in float64.

    Args:
        model: a model.
        batches: pairs, and which positions of them to take, `(batch, position)`.

    Returns:
        For every node `(sample, width)`.
    """
    roots = [output_root(*site) for site in node_sites(model)]
    parts: list[list[Tensor]] = []
    for batch, kept in progress(batches, len(batches), "comparing changes on batch"):
        clean, corrupted = (
            run_captured(model, ids)[1] for ids in (batch.clean, batch.corrupted)
        )
        parts.append(
            [
                node.double()
                for one, other, root in zip(clean, corrupted, roots, strict=True)
                for node in _rooted(one.float() - other.float(), root)[kept].unbind(1)
            ]
        )
    return [torch.cat(nodes) for nodes in zip(*parts, strict=True)]


def _aligned(prompts: Sequence[tuple[PairBatch, PairBatch]]) -> bool:
    """Return whether all prompts have equally many tokens in both models."""
    return all(a.clean.shape == b.clean.shape for a, b in prompts)


def _differing(batch: PairBatch) -> Tensor:
    """Return the positions from the first token on that differs in a pair.

    Before, nothing changes in a causal model.
    """
    return (batch.clean != batch.corrupted).cumsum(1) > 0


def _last(positions: Tensor) -> Tensor:
    """Return the last positions alone, `(batch, position)`."""
    last = torch.zeros_like(positions)
    last[:, -1] = True
    return last


def _centred_features(nodes: Sequence[Tensor]) -> tuple[list[Tensor], Tensor, Tensor]:
    """Return features, their squared lengths `(n, sample)`, and their norms `(n,)`."""
    features = [centred(each) for each in nodes]
    sizes = torch.stack([each.square().sum(1) for each in features])
    products = torch.stack([(each.T @ each).square().sum() for each in features])
    return features, sizes, root(debiased(products, sizes, sizes))


@torch.no_grad()
def node_outputs(
    model: nn.Module, prompts: Sequence[Tensor], positions: slice
) -> list[Tensor]:
    """Return every node's output to the residual stream, centred by position.

    A head's output is given in coordinates of its own, as wide as `z`, that preserve
    all inner products of outputs in the residual stream.

    Args:
        model: a model.
        prompts: token ids, each `(batch, position)`.
        positions: which of them to take.

    Returns:
        For every node float32 `(batch * position, width)`.
    """
    roots = [output_root(*site) for site in node_sites(model)]
    parts: list[list[Tensor]] = []
    for ids in progress(prompts, len(prompts), "comparing nodes on batch"):
        _, activations = run_captured(model, ids)
        parts.append(
            [
                node
                for activation, root in zip(activations, roots, strict=True)
                for node in _centred(activation[:, positions], root)
            ]
        )
    return [torch.cat(nodes) for nodes in zip(*parts, strict=True)]


def output_root(module: nn.Module, at_input: bool, n_nodes: int) -> Tensor | None:
    """Return by head a square root of its output weights' products, or None for an MLP.

    `(heads, width, width)`: with `z @ root`, products are those of the outputs.
    """
    if not at_input:
        return None
    weights = projection_weight(module).float().unflatten(1, (n_nodes, -1))
    products = torch.einsum("dha,dhb->hab", weights, weights)
    values, vectors = torch.linalg.eigh(products)
    return vectors * values.clamp(min=0).sqrt()[:, None, :]


def _rooted(outputs: Tensor, root: Tensor | None) -> Tensor:
    """Return outputs `(batch, position, nodes, width)` in coordinates of their own."""
    if root is None:
        return outputs
    return torch.einsum("bphw,hwv->bphv", outputs, root)


def _centred(activation: Tensor, root: Tensor | None) -> list[Tensor]:
    outputs = _rooted(activation.float(), root)
    outputs = outputs - outputs.mean(0, keepdim=True)
    return [node.flatten(0, 1) for node in outputs.unbind(2)]


# By correspondence, how the nodes of two models are compared for it.
COMPARISONS: dict[str, Callable[..., np.ndarray | None]] = {
    CKA: compare_nodes,
    MATCHED: compare_changes,
}
