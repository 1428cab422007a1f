"""Circuits in the format of the MIB benchmark's circuit track, out and in.

MIB (arXiv 2504.13151) exchanges a graph per model and task: `cfg`, the model's shape,
from which it builds all nodes and edges, and what it is to know of `nodes` and `edges`
by name. Its names and its order of the nodes are ours; it has `input` and `logits`
among them. A node with a score is ranked, one without is in every circuit.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from circuit_transfer.messages import quoted
from circuit_transfer.models.nodes import is_mlp

ENDS = ("input", "logits")
LARGEST = float(np.finfo(np.float32).max)


def to_importances(
    scores: np.ndarray, nodes: Sequence[str], model: Mapping[str, Any]
) -> dict[str, Any]:
    """Return node scores as a graph of MIB, ready for JSON and exact in it.

    Scores that are not known (NaN, for lack of usable pairs) become null: JSON has no
    NaN, and MIB stops at a null where it would take a missing score for a node that
    belongs to every circuit.

    Args:
        scores: float32 `(n_nodes,)`, higher supports the answer more.
        nodes: the names that the scores are of, in order.
        model: the description of the model: `layers`, `heads`, `d_model`, `nodes`, and
            `parallel_mlp` where its MLPs read what the heads of their layer read.

    Raises:
        ValueError: the scores are not of the nodes of this model.
    """
    if list(nodes) != list(model["nodes"]) or scores.shape != (len(nodes),):
        raise ValueError(
            f"scores {scores.shape} of {_some(nodes)} are not of this model: expected "
            f"one score for each of {_some(model['nodes'])}"
        )
    known = np.isfinite(scores).all()
    values = scores.astype(np.float32).tolist() if known else [None] * len(nodes)
    ranked = zip(nodes, values, strict=True)
    return {
        "cfg": mib_config(model),
        # The input has no score, so that MIB always includes it and does not count it:
        # ranked among the nodes it would be missing in most circuits, and a circuit
        # that reads the corrupted prompt is worthless, regardless of its nodes.
        "nodes": {
            "input": {"in_graph": True},
            **{name: {"in_graph": True, "score": value} for name, value in ranked},
            "logits": {"in_graph": True},
        },
        # At node level MIB turns on the edges of the nodes that it includes. Naming
        # them would add nothing, in 100 MB for a model of 8 billion parameters.
        "edges": {},
    }


def mib_config(model: Mapping[str, Any]) -> dict[str, Any]:
    """Return the shape of a described model as MIB's `cfg`."""
    return {
        "n_layers": model["layers"],
        "n_heads": model["heads"],
        "parallel_attn_mlp": model["parallel_mlp"],
        "d_model": model["d_model"],
    }


def to_dense(
    importances: Mapping[str, Any],
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the nodes of a graph as the tensors of MIB's binary format, with metadata.

    `nodes_scores` float32 and `nodes_in_graph` bool, each `(1 + n_nodes,)`: the input
    first, then the nodes in order, as `src_nodes` in the metadata names them next to
    `cfg`. What has no score is NaN.
    """
    nodes = dict(importances["nodes"])
    nodes.pop("logits")
    scores = [node.get("score") for node in nodes.values()]
    tensors = {
        "nodes_scores": np.array(
            [math.nan if score is None else score for score in scores], np.float32
        ),
        "nodes_in_graph": np.array([node["in_graph"] for node in nodes.values()]),
    }
    return tensors, {"cfg": importances["cfg"], "src_nodes": list(nodes)}


def from_importances(importances: Any, node_names: Sequence[str]) -> np.ndarray:
    """Return the scores of a model's nodes in a graph of MIB, float32 `(n_nodes,)`.

    A graph without any score is a circuit: its nodes (`in_graph`) score 1, all others
    0. Scores that are all null or NaN are not known: NaN. `input` and `logits` are left
    aside, they belong to every circuit.

    Args:
        importances: what the JSON file holds.
        node_names: the names of the model's nodes in order.

    Raises:
        ValueError: it is no graph, or of another model; it scores neurons, or only
            some of the nodes; a score is not a finite number.
    """
    nodes = _nodes(importances, node_names)
    scores = {name: _score(name, node) for name, node in nodes.items()}
    unscored = [name for name, score in scores.items() if score is None]
    if not unscored:
        return np.array(list(scores.values()), np.float32)
    if len(unscored) < len(nodes):
        raise ValueError(
            f"no score for {_some(unscored)}, while other nodes have one: expected a "
            "number for every node, since all of them are ranked"
        )
    if any("neurons" in node for node in nodes.values()):
        raise ValueError(
            "neuron scores only; this project evaluates nodes and edges: expected a "
            "`score` for every node or edge, or `in_graph` for every one of them"
        )
    if any("score" in node for node in nodes.values()):
        return np.full(len(nodes), np.nan, np.float32)
    inside = [_is_inside(name, node) for name, node in nodes.items()]
    return np.array(inside, np.float32)


def from_dense(
    tensors: Mapping[str, np.ndarray], description: Mapping[str, Any]
) -> np.ndarray:
    """Return the scores of a model's nodes in tensors as `to_dense` returns them.

    Args:
        tensors: `nodes_scores` or `nodes_in_graph`, or both.
        description: the description of the model.

    Raises:
        ValueError: as `from_importances`; or they have another shape.
    """
    names = ("input", *description["nodes"])
    nodes: dict[str, dict[str, Any]] = {name: {} for name in names}
    for tensor, key in (("nodes_scores", "score"), ("nodes_in_graph", "in_graph")):
        if tensor in tensors:
            if tensors[tensor].shape != (len(names),):
                raise ValueError(
                    f"tensor {tensor}: shape {tensors[tensor].shape}, expected "
                    f"{(len(names),)}: the input and the nodes of this model"
                )
            for name, value in zip(names, tensors[tensor].tolist(), strict=True):
                nodes[name][key] = value
    graph = {"cfg": mib_config(description), "nodes": nodes}
    return from_importances(graph, description["nodes"])


def _nodes(importances: Any, node_names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the entries of a model's nodes in order; `input` and `logits` are none."""
    check_shape(mapping(importances, "cfg"), node_names)
    entries = mapping(importances, "nodes")
    found = {k: node for k, node in entries.items() if k not in ENDS}
    if foreign := [name for name in found if name not in node_names]:
        raise ValueError(f"this model has no nodes {_some(foreign)}")
    if missing := [name for name in node_names if name not in found]:
        raise ValueError(f"no entry for the nodes {_some(missing)} of this model")
    for name, node in found.items():
        if not isinstance(node, dict):
            raise ValueError(
                f"node {name}: {quoted(repr(node))}, expected a mapping with `score` "
                "or `in_graph`"
            )
    return {name: found[name] for name in node_names}


def holds_edges(importances: Mapping[str, Any]) -> bool:
    """Return whether a graph ranks or selects edges: it has some, and no other score.

    A graph of nodes may have edges too, for which EAP-IG writes 0.
    """
    nodes = importances.get("nodes")
    entries = nodes.items() if isinstance(nodes, dict) else ()
    others = (node for name, node in entries if name not in ENDS)
    return bool(importances.get("edges")) and not any(map(_is_ranked, others))


def _is_ranked(node: Any) -> bool:
    """Return whether the entry of a node has a score, or has neurons."""
    score = node.get("score") if isinstance(node, dict) else None
    is_unknown = score is None or (isinstance(score, float) and math.isnan(score))
    return not is_unknown or (isinstance(node, dict) and "neurons" in node)


def mapping(importances: Any, key: str) -> dict[str, Any]:
    """Return the mapping that a graph has under a key.

    Raises:
        ValueError: it has none.
    """
    if not isinstance(importances, dict) or type(importances.get(key)) is not dict:
        raise ValueError(f"no mapping {key!r}: expected a graph with cfg and nodes")
    return importances[key]


def check_shape(cfg: Mapping[str, Any], node_names: Sequence[str]) -> None:
    """Check that MIB's `cfg` has the numbers of layers and heads of a model.

    Raises:
        ValueError: it has others.
    """
    layers = sum(is_mlp(name) for name in node_names)
    shape = {"n_layers": layers, "n_heads": len(node_names) // layers - 1}
    for key, expected in shape.items():
        if cfg.get(key) != expected:
            raise ValueError(
                f"cfg.{key} is {quoted(cfg.get(key))}, expected {expected} as in the "
                "model"
            )


def _score(name: str, node: Mapping[str, Any]) -> float | None:
    """Return the score of a node, none where it has none: it is missing, null, NaN."""
    score = node.get("score")
    if score is None:
        return None
    if isinstance(score, bool) or not isinstance(score, int | float):
        raise ValueError(f"node {name}: score {quoted(repr(score))} is not a number")
    if abs(score) > LARGEST:
        raise ValueError(f"node {name}: score {score} is not finite in float32")
    return None if math.isnan(score) else float(score)


def _is_inside(name: str, node: Mapping[str, Any]) -> bool:
    inside = node.get("in_graph")
    if not isinstance(inside, bool):
        raise ValueError(
            f"node {name}: in_graph is {quoted(repr(inside))}, expected true or false "
            "where there are no scores"
        )
    return inside


def _some(names: Sequence[str]) -> str:
    """Name the first few of many."""
    shown = quoted(", ".join(map(str, names[:5])))
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"
