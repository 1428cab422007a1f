"""Similarity of node outputs of two models on the same prompts: linear CKA."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from circuit_transfer.interventions import run_captured
from circuit_transfer.jobs.progress import progress
from circuit_transfer.models.architectures import node_sites, projection_weight
from circuit_transfer.prompts.batches import PairBatch


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
    aligned = all(a.clean.shape == b.clean.shape for a, b in prompts)
    positions = slice(None) if aligned else slice(-1, None)
    return node_similarity(
        node_outputs(source, [a.clean for a, _ in prompts], positions),
        node_outputs(target, [b.clean for _, b in prompts], positions),
    )


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


def _centred(activation: Tensor, root: Tensor | None) -> list[Tensor]:
    outputs = activation.float()
    if root is not None:
        outputs = torch.einsum("bphw,hwv->bphv", outputs, root)
    outputs = outputs - outputs.mean(0, keepdim=True)
    return [node.flatten(0, 1) for node in outputs.unbind(2)]
