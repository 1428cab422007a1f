"""Training sets, and what a transfer has to beat: the controls.

Plain arithmetic on score vectors and alignment matrices; the models are not needed.
Controls of the paper (arXiv 2604.24302): random-alignment, scrambled-source,
permuted-alignment, depth-heuristic. The others ask whether the source matters at all.
"""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from circuit_transfer.nodes import is_mlp, node_layers

CONTROLS = (
    "random-alignment",
    "scrambled-source",
    "permuted-alignment",
    "depth-heuristic",
    "source-free",
    "random-source",
    "free-mask",
)
TRAINED_CONTROLS = ("source-free", "random-source")


def training_sets(tasks: Sequence[str]) -> list[str]:
    """Return the names of all training sets of a study.

    One task alone, all but one (not with a single task, which would leave none), all.
    """
    without = [f"without-{task}" for task in tasks] if len(tasks) > 1 else []
    return [*(f"only-{task}" for task in tasks), *without, "all"]


def training_tasks(training_set: str, tasks: Sequence[str]) -> list[str]:
    """Return the tasks of a training set, in the study's order.

    Raises:
        ValueError: the name is none of `training_sets`.
    """
    if training_set not in training_sets(tasks):
        raise ValueError(f"training set {training_set!r} is none of this study's")
    if training_set == "all":
        return list(tasks)
    kind, task = training_set.split("-", 1)
    return [each for each in tasks if (each == task) == (kind == "only")]


def evaluated_training_sets(task: str, tasks: Sequence[str]) -> list[str]:
    """Return the training sets whose circuits are measured on a task.

    All but the zero-shot sets of other tasks.
    """
    others = {f"without-{each}" for each in tasks if each != task}
    return [each for each in training_sets(tasks) if each not in others]


def trained_controls(training_set: str, controls: Sequence[str]) -> list[str]:
    """Return the controls that are trained beside the matrix of a training set.

    They belong to the zero-shot sets: the question is whether an unseen task's source
    scores say anything.
    """
    zero_shot = training_set.startswith("without-")
    return [name for name in TRAINED_CONTROLS if zero_shot and name in controls]


def scaled(scores: np.ndarray) -> np.ndarray:
    """Return scores `(n_nodes,)` divided by their largest magnitude.

    One learning rate then suits every method and task. All zeros stay zeros.
    """
    largest = np.abs(scores).max()
    return scores / largest if largest > 0 else scores


def permuted(scores: np.ndarray, *, task: str, seed: int, what: str) -> np.ndarray:
    """Return scores `(n_nodes,)` in a random order of the task's own.

    Tasks must be permuted differently: a common permutation only renames the rows of
    the matrix, and training would not notice it.
    """
    return scores[_generator(what, task, seed).permutation(len(scores))]


def permuted_columns(alignment: np.ndarray, *, task: str, seed: int) -> np.ndarray:
    """Return a matrix `(n_source, n_target)` with its columns in a random order."""
    generator = _generator("permuted-alignment", task, seed)
    return alignment[:, generator.permutation(alignment.shape[1])]


def control_sources(
    control: str, sources: Mapping[str, np.ndarray], *, seed: int
) -> dict[str, np.ndarray]:
    """Return the score vectors that a trained control sees instead of the real ones.

    `source-free` sees one constant, whatever the task, of the real scores' magnitude
    so that training takes steps of the same size; the ranking it gives does not depend
    on the constant. `random-source` sees the task's scores in a random order.

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
    same_kind = np.equal.outer(
        [is_mlp(name) for name in source], [is_mlp(name) for name in target]
    )
    weights = nearness * same_kind
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def _generator(*key: object) -> np.random.Generator:
    text = "/".join(map(str, key))
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    return np.random.default_rng(seed)
