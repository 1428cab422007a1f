"""Masks of single weights: which weights they are, how they are applied and stored.

A mask has one number for every number of the matrices of the layers: the projections of
attention and MLP. A key or value that several heads share is masked once. Norms,
biases, embeddings and the unembedding have no mask.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from circuit_transfer.messages import some
from circuit_transfer.models.architectures import layer_matrices

# In an artefact: what the names of masks and of their logits begin with, and the entry
# of the metadata that has the shapes of the masks.
PREFIX, LOGITS, SHAPES = "weights/", "weight-logits/", "weight_shapes"


def maskable_weights(model: nn.Module) -> dict[str, Tensor]:
    """Return the weights that a mask is over, by the names of their parameters.

    Raises:
        ValueError: some are not loaded, since the model is offloaded.
    """
    weights = {
        f"{name}.weight": module.weight.detach()
        for name, module in layer_matrices(model).items()
    }
    if unloaded := [name for name, weight in weights.items() if weight.is_meta]:
        raise ValueError(
            f"masks of weights need all weights in memory, but {len(unloaded)} are "
            f"offloaded ({some(unloaded)}): use a device with more memory, or masks of "
            "edges alone (pruning.discogp.masks: edges)"
        )
    return weights


def masked_weights(
    weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return masks times weights, of the weights' type; nothing is changed in place.

    Args:
        weights: by name.
        masks: of the same names and shapes.
    """
    return {
        name: mask.to(weights[name]) * weights[name] for name, mask in masks.items()
    }


def complement(masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the masks of all weights that masks leave out."""
    return {name: 1 - mask.float() for name, mask in masks.items()}


def density(masks: Mapping[str, Tensor]) -> float:
    """Return the share of all weights that masks keep."""
    kept = sum(int(mask.count_nonzero()) for mask in masks.values())
    return kept / sum(mask.numel() for mask in masks.values())


def pack_masks(masks: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """Return masks with eight weights in a byte, uint8, by `weights/NAME`."""
    return {
        PREFIX + name: np.packbits((mask > 0).cpu().numpy().ravel())
        for name, mask in masks.items()
    }


def unpack_masks(
    packed: Mapping[str, np.ndarray], shapes: Mapping[str, Sequence[int]]
) -> dict[str, Tensor]:
    """Return packed masks as bool tensors by name, the inverse of `pack_masks`.

    Args:
        packed: tensors of an artefact; those that are not masks of weights are ignored.
        shapes: of every mask, by name.

    Raises:
        ValueError: a mask is missing, or does not have as many bits as its shape.
    """
    masks = {}
    for name, shape in shapes.items():
        bits, count = packed.get(PREFIX + name), int(np.prod(shape))
        if bits is None or len(bits) != -(-count // 8):
            found = "is missing" if bits is None else f"has {len(bits)} bytes"
            raise ValueError(
                f"{PREFIX}{name} {found}; expected {-(-count // 8)} bytes for a mask "
                f"of {' x '.join(map(str, shape))} weights: learn it again"
            )
        unpacked = np.unpackbits(bits, count=count).reshape(tuple(shape))
        masks[name] = torch.from_numpy(unpacked.astype(bool))
    return masks
