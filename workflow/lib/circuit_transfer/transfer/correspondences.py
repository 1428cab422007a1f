"""Correspondences: which node of the target a node of the source is like.

A matrix `(n_source, n_target)` of weights: by type and relative depth, by the
similarity of the nodes' outputs, as recorded when one model was made from the other, or
one to one by the similarity of what changes in them between clean and corrupted
prompts.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import scipy  # its `optimize` only where it is used: every start of a run reads this

from circuit_transfer.models.lineage import nodes_in_ancestors
from circuit_transfer.models.nodes import is_mlp, node_layers
from circuit_transfer.transfer.maps import CKA, DEPTH, LINEAGE, MAPS, MATCHED


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
    known: Mapping[str, np.ndarray | None],
    *,
    depth_width: float,
    temperature: float,
    correspondence: str = CKA,
    threshold: float | None = None,
) -> dict[str, np.ndarray]:
    """Return the matrix of every map that has one before any training, by map.

    A map whose correspondence is not known has none.

    Args:
        maps: names of maps.
        source: node names of the source model.
        target: node names of the target model.
        known: by correspondence `(n_source, n_target)` or None: by `cka` and `matched`
            similarities of nodes, by `lineage` the recorded correspondence.
        depth_width: of the kernels by depth, see `node_prior`.
        temperature: of the similarity, see `node_prior`.
        correspondence: that of the maps whose training begins with one.
        threshold: of the matching, see `matched_nodes`.
    """
    kernel = {"depth_width": depth_width, "temperature": temperature}
    made: dict[str, Callable[[np.ndarray | None], np.ndarray]] = {
        DEPTH: lambda _: node_prior(source, target, depth_width=depth_width),
        CKA: lambda found: node_prior(source, target, similarity=found, **kernel),
        MATCHED: lambda found: matched_nodes(source, target, found, threshold),
        LINEAGE: lambda found: found,
    }
    wanted = {name: MAPS[name].known_by(correspondence) for name in maps}
    matrices = {
        each: made[each](known.get(each))
        for each in dict.fromkeys(wanted.values())
        if each == DEPTH or known.get(each) is not None
    }
    return {name: matrices[each] for name, each in wanted.items() if each in matrices}


def same_type(source: Sequence[str], target: Sequence[str]) -> np.ndarray:
    """Return where both nodes are heads or both MLPs, `(n_source, n_target)`."""
    types = ([is_mlp(name) for name in names] for names in (source, target))
    return np.equal.outer(*types)


def recorded_nodes(
    source: Mapping[str, Any], target: Mapping[str, Any]
) -> np.ndarray | None:
    """Return which node of the target is which node of the source, as recorded.

    Of a model and another one that was made from it, or of two that were made from a
    third one: nodes that are the same node there.

    Args:
        source: description of the source model: `model`, its name, `nodes`, and
            `lineage` if it was made from another one, see `models.lineage`.
        target: the same of the target.

    Returns:
        float32 `(n_source, n_target)` of 0 and 1; None if no node has a counterpart.

    Raises:
        ValueError: a recorded ancestor has the name of the other model, but not its
            nodes.
    """
    of_source, of_target = _places(source), _places(target)
    common = next((each for each in of_source if each in of_target), None)
    if common is None:
        return None
    _check_ancestor(common, of_source[common], source, target)
    _check_ancestor(common, of_target[common], target, source)
    by_place = {place: name for name, place in of_target[common].items()}
    columns = {name: number for number, name in enumerate(target["nodes"])}
    matrix = np.zeros((len(source["nodes"]), len(columns)), np.float32)
    for row, name in enumerate(source["nodes"]):
        counterpart = by_place.get(of_source[common][name])
        if counterpart is not None:
            matrix[row, columns[counterpart]] = 1
    return matrix if matrix.any() else None


def _places(model: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Return by model, itself and its ancestors, what its nodes are there."""
    itself = {model["model"]: {name: name for name in model["nodes"]}}
    return itself | nodes_in_ancestors(model["nodes"], model.get("lineage"))


def _check_ancestor(
    common: str,
    places: Mapping[str, str],
    descendant: Mapping[str, Any],
    ancestor: Mapping[str, Any],
) -> None:
    if common != ancestor["model"]:
        return
    unknown = [place for place in places.values() if place not in ancestor["nodes"]]
    if unknown:
        raise ValueError(
            f"{descendant['model']}: its lineage has node {unknown[0]} of {common}, "
            f"which the model of that name lacks; expected the {common} that it was "
            "made from"
        )


def matched_nodes(
    source: Sequence[str],
    target: Sequence[str],
    similarity: np.ndarray,
    threshold: float | None = None,
) -> np.ndarray:
    """Match nodes one to one so that the sum of their similarities is the largest.

    Heads to heads, and MLPs to MLPs; where one model has more of them, the others have
    no counterpart.

    Args:
        source: node names of the source model.
        target: node names of the target model.
        similarity: `(n_source, n_target)`, see `cka.compare_changes`.
        threshold: pairs that are less similar are not matched; None for all.

    Returns:
        float32 `(n_source, n_target)` of 0 and 1.
    """
    matrix = np.zeros(similarity.shape, np.float32)
    kinds = [np.array([is_mlp(name) for name in names]) for names in (source, target)]
    for kind in (False, True):
        own, other = (np.flatnonzero(each == kind) for each in kinds)
        pairs = scipy.optimize.linear_sum_assignment(
            similarity[np.ix_(own, other)], maximize=True
        )
        matrix[own[pairs[0]], other[pairs[1]]] = 1
    if threshold is not None:
        matrix[similarity < threshold] = 0
    return matrix


def _relative_depth(names: Sequence[str]) -> np.ndarray:
    layers = np.array(node_layers(names), dtype=float)
    return layers / max(layers.max(), 1)
