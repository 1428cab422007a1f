"""Controls: rankings of the target's nodes that a transfer has to beat.

Controls of the paper (arXiv 2604.24302): random-alignment, scrambled-source,
permuted-alignment, depth-heuristic. The others ask whether the source matters at all.
Gold scores, which some of them use, are those that attribution finds on the target
itself. Plain arithmetic on score vectors and alignment matrices; no model is needed.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from circuit_transfer.models.nodes import is_mlp, node_layers
from circuit_transfer.transfer.correspondences import same_type
from circuit_transfer.transfer.edge_maps import permutation_within
from circuit_transfer.transfer.training_sets import leaves_out

Map = TypeVar("Map")
CONTROLS = (
    "random-alignment",
    "scrambled-source",
    "permuted-alignment",
    "depth-heuristic",
    "mlps-first",
    "source-free",
    "random-source",
    "other-family",
    "mean-gold",
    "ridge",
    "node-changes",
    "self-stitched",
    "free-mask",
)
# Scores from the target's own activations on a task, without a source: how much nodes
# change (`changes.change_scores`), and the target stitched to itself (`stitching`).
TARGET_ONLY = ("node-changes", "self-stitched")
TRAINED_CONTROLS = ("source-free", "random-source")
# By what replaces the source's scores of a task, the controls that do so: of those with
# shuffled scores the main map has both, the others the second.
WITHOUT_SOURCE = {
    "a constant": ("source-free",),
    "shuffled scores": ("scrambled-source", "random-source"),
    "another family's scores": ("other-family",),
    "mean gold scores": ("mean-gold",),
}
# Controls of the control `ridge`: the same regression, given other source scores.
RIDGE_CONTROLS = {
    name: f"ridge-{name}" for name in ("scrambled-source", "other-family")
}
RIDGE_STRENGTH = 0.1


def trained_controls(training_set: str, controls: Sequence[str]) -> list[str]:
    """Return the controls that are trained in addition to the matrix of a training set.

    Only the zero-shot sets have them: the question is whether an unseen task's source
    scores are informative.
    """
    zero_shot = leaves_out(training_set)
    return [name for name in TRAINED_CONTROLS if zero_shot and name in controls]


def permuted(
    scores: np.ndarray,
    *,
    task: str,
    seed: int,
    what: str,
    kinds: np.ndarray | None = None,
) -> np.ndarray:
    """Return scores `(n,)` of nodes or edges in a random order of the task's own.

    Tasks must be permuted differently: a common permutation only renames the rows of
    the matrix, and training would not notice it.

    Args:
        scores: of nodes or edges.
        task: name of the task.
        seed: of the order, with the two names.
        what: name of the control.
        kinds: only scores of one kind change places, see `edge_maps.edge_kinds`.
    """
    if kinds is None:
        kinds = np.zeros(len(scores), int)
    return scores[permutation_within(kinds, _generator(what, task, seed))]


def columns_in_any_order(
    alignment: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """Return a matrix `(n_source, n_target)` with its columns in a random order."""
    return alignment[:, generator.permutation(alignment.shape[1])]


def permuted_columns(
    alignment: Map,
    *,
    task: str,
    seed: int,
    mix: Callable[[Map, np.random.Generator], Map] = columns_in_any_order,
) -> Map:
    """Return a map with its columns in a random order of a task's own.

    Args:
        alignment: a matrix `(n_source, n_target)`, or a map of edges.
        task: the task.
        seed: of the order.
        mix: how the columns of such a map are put in the order of a generator.
    """
    return mix(alignment, _generator("permuted-alignment", task, seed))


def control_sources(
    control: str, sources: Mapping[str, np.ndarray], *, seed: int
) -> dict[str, np.ndarray]:
    """Return the score vectors that a control is trained on instead of the real ones.

    For `source-free` one constant, whatever the task, of the real scores' magnitude
    so that training takes steps of the same size; the ranking it gives does not depend
    on the constant. For `random-source` the task's scores in a random order.

    Raises:
        ValueError: the control is not a trained one.
    """
    if control == "source-free":
        constant = np.sqrt(np.mean(np.square(list(sources.values()))))
        return {task: np.full_like(each, constant) for task, each in sources.items()}
    if control == "random-source":
        return {
            task: permuted(scores, task=task, seed=seed, what=control)
            for task, scores in sources.items()
        }
    raise ValueError(f"control {control!r} is not one of {TRAINED_CONTROLS}")


def other_task(task: str, others: Sequence[str], *, seed: int) -> str:
    """Draw the task of another family whose source scores replace a task's own."""
    return others[_generator("other-family", task, seed).integers(len(others))]


def random_scores(n_nodes: int, *, seed: int) -> np.ndarray:
    """Return scores that rank the nodes at random, `(n_nodes,)`."""
    return np.random.default_rng(seed).random(n_nodes)


def mlps_first(nodes: Sequence[str]) -> np.ndarray:
    """Return scores that rank MLPs before heads, and early layers before late ones.

    A baseline without source, training or task.
    """
    order = sorted(range(len(nodes)), key=lambda node: (not is_mlp(nodes[node]), node))
    scores = np.empty(len(nodes), np.float32)
    scores[order] = np.linspace(1, 0, len(nodes))
    return scores


def ridge(sources: np.ndarray, gold: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Predict target scores by ridge regression from source scores, in closed form.

    Both are centred by their mean over the training tasks. The penalty is a tenth of
    the mean squared length of the centred source vectors.

    Args:
        sources: `(tasks, n_source)`, of the training tasks.
        gold: `(tasks, n_target)`, the target's gold scores of the same tasks.
        scores: `(n_source,)`, of the task to predict.

    Returns:
        float32 `(n_target,)`; the mean of `gold` where there is one task alone.
    """
    mean_source, mean_gold = sources.mean(0), gold.mean(0)
    centred = (sources - mean_source).astype(np.float64)
    products = centred @ centred.T
    strength = RIDGE_STRENGTH * np.trace(products) / len(products)
    # With one task the centred scores are zero, and any strength gives the mean.
    penalty = (strength or 1.0) * np.eye(len(products))
    weights = np.linalg.solve(products + penalty, centred @ (scores - mean_source))
    return (mean_gold + weights @ (gold - mean_gold)).astype(np.float32)


def depth_heuristic(source: Sequence[str], target: Sequence[str]) -> np.ndarray:
    """Return the untrained matrix that spreads each node over equal relative depth.

    A source layer spreads over the two nearest target layers by linear interpolation of
    relative depth, heads to heads and MLP to MLP, evenly within a layer, so that every
    row sums to 1 (the paper's depth-based control). Nodes of one kind in one layer get
    equal scores and rank in the order of the nodes.

    Args:
        source: node names of the source model.
        target: node names of the target model.

    Returns:
        float32 `(n_source, n_target)`.
    """
    source_layer = np.array(node_layers(source), dtype=float)
    target_layer = np.array(node_layers(target), dtype=float)
    depth = source_layer / max(source_layer.max(), 1) * target_layer.max()
    nearness = np.maximum(0, 1 - np.abs(depth[:, None] - target_layer[None, :]))
    weights = nearness * same_type(source, target)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def _generator(*key: object) -> np.random.Generator:
    text = "/".join(map(str, key))
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    return np.random.default_rng(seed)
