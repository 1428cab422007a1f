"""Stitched alignments: node scores mapped through both models' residual streams.

Two models are stitched when a ridge regression, fitted on a task's own prompts, maps
the changes (clean minus corrupted) of the target's residual stream to those of the
source's. A target node then gets the score of a source node in proportion to how far
its change, so mapped, is along the source node's change. That takes forward passes of
both models; no gradients, no labels and no other task. The target stitched to itself is
a control: the same matrix with the target in place of the source.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from circuit_transfer.jobs.progress import progress
from circuit_transfer.transfer.changes import (
    Changes,
    site_changes,
    stream_changes,
    stream_products,
)
from circuit_transfer.transfer.regression import ridge_regression

# Penalty of the regression, as a share of the mean squared change of a stream's
# coordinate: a coarse stitch suits scores (gradients need a fine one).
RIDGE = 1.0
# Added to the size of a source node's change, as a share of the mean of all: a node
# that hardly changes would otherwise get a large coefficient.
NODE_RIDGE = 0.01


@torch.inference_mode()
def stitched_alignment(
    source: nn.Module,
    target: nn.Module,
    source_changes: Sequence[Changes],
    target_changes: Sequence[Changes],
) -> Tensor:
    """Return the matrix that maps node scores, float32 `(n_source, n_target)`.

    An entry is the coefficient of a target node's change, mapped to the source's
    stream, on a source node's change: `<change_i, mapped change_j> / <change_i,
    change_i>`, over all tokens.

    Args:
        source: the model that the scores are of.
        target: the model that they are mapped to.
        source_changes: by batch, see `changes.run_both`.
        target_changes: on the same prompts in the target.
    """
    source_stream = stream_changes(source_changes)
    target_stream = stream_changes(target_changes)
    of_source = site_changes(source, source_changes)
    of_target = site_changes(target, target_changes)
    columns = []
    points = zip(target_stream, of_target, strict=True)
    for changes, nodes in progress(points, len(of_target), "stitching point"):
        # From this point of the target's stream to any point of the source's.
        stitches = ridge_regression(changes, RIDGE)
        found = [
            stream_products(own, nodes, stitches(stream))
            for own, stream in zip(of_source, source_stream, strict=True)
        ]
        columns.append(torch.cat(found))
    sizes = torch.cat([each.sizes() for each in of_source])
    products = torch.cat(columns, dim=1)
    return (products / (sizes + NODE_RIDGE * sizes.mean())[:, None]).cpu()
