"""Alignment maps: how the scores of a source model become scores of a target model.

Every map is a matrix `(n_source, n_target)`, and for some a bias `(n_target,)`, on
transformed source scores. `free` is the paper's: a matrix of which every entry is
learned (arXiv 2604.24302, Section 3). The others begin with what is known of a node
before any training: its type and depth, and what it represents.
"""

from collections.abc import Callable, Sequence

import numpy as np
import scipy  # its `stats` only where it is used: every start of a run reads this file

from circuit_transfer.models.nodes import is_mlp, node_layers
from circuit_transfer.transfer.training_sets import leaves_out

MAPS = ("free", "depth-prior", "cka-prior", "prior-residual")
TRAINED_MAPS = ("free", "prior-residual")
SIMILARITY_MAPS = ("cka-prior", "prior-residual")
# Compared with the maps, and computed for every task from runs of both models on its
# prompts (`stitching`): of scores, and of gradients, by methods whose gradients are of
# whole runs, so that the residual stream has them too.
STITCHED, CARRIED = "stitched", "carried-gradients"


def _largest(scores: np.ndarray) -> float:
    largest = np.abs(scores).max()
    return largest if largest > 0 else 1.0


def _total(scores: np.ndarray) -> float:
    total = np.abs(scores).sum()
    return total if total > 0 else 1.0


TRANSFORMS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "sum": lambda scores: scores / _total(scores),
    "raw": lambda scores: scores,
    "max": lambda scores: scores / _largest(scores),
    "signed-sqrt": lambda scores: (
        np.sign(scores) * np.sqrt(np.abs(scores) / _largest(scores))
    ),
    "rank": lambda scores: (scipy.stats.rankdata(scores) - 1) / max(len(scores) - 1, 1),
}


def transformed(scores: np.ndarray, transform: str) -> np.ndarray:
    """Return the scores `(n_nodes,)` as a map sees them, float32.

    `sum` divides by the sum of the magnitudes: one step of Adam then moves a projected
    score by at most the learning rate, however many nodes the source has. `max` divides
    by the largest magnitude; `signed-sqrt` then takes the root of the magnitudes;
    `rank` puts the ranks on a scale from 0 to 1, the highest score at 1; `raw` leaves
    them. Unknown scores (NaN) stay unknown.

    Raises:
        ValueError: the transform is unknown.
    """
    if transform not in TRANSFORMS:
        known = ", ".join(TRANSFORMS)
        raise ValueError(f"transform {transform!r} is not one of {known}")
    if not np.isfinite(scores).all():
        return np.full_like(scores, np.nan, dtype=np.float32)
    return TRANSFORMS[transform](scores).astype(np.float32)


def node_prior(
    source: Sequence[str],
    target: Sequence[str],
    *,
    depth_width: float,
    similarity: np.ndarray | None = None,
    temperature: float = 1.0,
) -> np.ndarray:
    """Return how likely each target node is to do what each source node does.

    Nodes of one type, heads or MLPs, are matched by relative depth (layer over last
    layer) with a Gaussian kernel and, if given, by the similarity of their outputs:
    `exp(-(depth difference)^2 / (2 depth_width^2)) * exp(similarity / temperature)`.

    Args:
        source: node names of the source model.
        target: node names of the target model.
        depth_width: of the kernel, as a share of the whole depth.
        similarity: `(n_source, n_target)`, see `cka.node_similarity`.
        temperature: of the similarity; lower is sharper.

    Returns:
        float32 `(n_source, n_target)`, each row sums to 1.
    """
    source_depth, target_depth = _relative_depth(source), _relative_depth(target)
    distance = source_depth[:, None] - target_depth[None, :]
    exponent = -np.square(distance) / (2 * depth_width**2)
    if similarity is not None:
        exponent = exponent + similarity / temperature
    exponent = np.where(same_type(source, target), exponent, -np.inf)
    weights = np.exp(exponent - exponent.max(axis=1, keepdims=True))
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def node_priors(
    maps: Sequence[str],
    source: Sequence[str],
    target: Sequence[str],
    similarity: np.ndarray | None,
    *,
    depth_width: float,
    temperature: float,
) -> dict[str, np.ndarray]:
    """Return the prior of every map that has one, by map; see `node_prior`.

    A map whose prior needs the similarity has none while that is unknown.
    """
    by_depth = node_prior(source, target, depth_width=depth_width)
    priors = {"depth-prior": by_depth}
    if similarity is not None:
        by_similarity = node_prior(
            source,
            target,
            depth_width=depth_width,
            similarity=similarity,
            temperature=temperature,
        )
        priors |= dict.fromkeys(SIMILARITY_MAPS, by_similarity)
    return {name: matrix for name, matrix in priors.items() if name in maps}


def same_type(source: Sequence[str], target: Sequence[str]) -> np.ndarray:
    """Return where both nodes are heads or both MLPs, `(n_source, n_target)`."""
    types = ([is_mlp(name) for name in names] for names in (source, target))
    return np.equal.outer(*types)


def fitted_maps(training_set: str, main: str, compared: Sequence[str]) -> list[str]:
    """Return the maps that are fitted on a training set, the main one first.

    Those that it is compared with belong to the zero-shot sets, as the controls do.
    """
    others = [name for name in compared if name not in (main, STITCHED, CARRIED)]
    return [main, *(others if leaves_out(training_set) else [])]


def fits(maps: Sequence[str], controls: Sequence[str]) -> list[tuple[str, str]]:
    """Return every fit of a job: a map and `none`, or the control trained instead.

    An untrained map has no trained controls.
    """
    return [
        (name, control)
        for name in maps
        for control in ("none", *(controls if name in TRAINED_MAPS else ()))
    ]


def _relative_depth(names: Sequence[str]) -> np.ndarray:
    layers = np.array(node_layers(names), dtype=float)
    return layers / max(layers.max(), 1)
