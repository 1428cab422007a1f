"""Edges in auto-circuit's prune scores (Miller et al., arXiv 2407.08734).

Its `PruneScores` have a tensor for every module that reads from the residual stream, of
TransformerLens, with a score for every head of the module and every node before it:

| module | shape | readers here |
|---|---|---|
| `blocks.{l}.hook_q_input` and those of `k`, `v` | heads, nodes before | q, k, v |
| `blocks.{l}.hook_mlp_in` | nodes before | the MLP of the layer |
| `blocks.{last}.hook_resid_post` | nodes before | `logits` |

Its nodes are in the order of the writers here: `Resid Start` is `input`, then the heads
and the MLP of every layer. Circuits are the edges with the largest magnitudes. As of
release 1.0.1.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from circuit_transfer.circuits.imported import (
    ImportedEdges,
    arrays_of,
    check_names,
)
from circuit_transfer.messages import quoted
from circuit_transfer.models.edges import KINDS, QUERY_HEAD, Graph, described_graph

MODULE = re.compile(r"blocks\.\d+\.hook_([qkv]_input|attn_in|mlp_in|resid_post)")


def is_prune_scores(names: Iterable[str]) -> bool:
    """Return whether names are those of modules that auto-circuit scores."""
    return any(MODULE.fullmatch(name) for name in names)


def from_prune_scores(
    scores: Mapping[str, Any], description: Mapping[str, Any]
) -> ImportedEdges:
    """Return the ranking or the circuit of the edges in prune scores.

    Scores that are true or false are a circuit.

    Args:
        scores: by module, arrays or nested lists.
        description: the description of the model, in which every query head has its
            own key and value.

    Raises:
        ValueError: they are of another model, or of single positions, or of heads as a
            whole; one is not a finite number.
    """
    graph = described_graph(description, QUERY_HEAD)
    modules = _modules(graph)
    if whole := [name for name in scores if name.endswith("hook_attn_in")]:
        raise ValueError(
            f"{quoted(whole[0])}: scores of edges to heads as a whole; expected those "
            "of queries, keys and values, as with `separate_qkv=True`"
        )
    check_names([*scores], [*modules], "modules")
    shapes = {}
    for name, readers in modules.items():
        heads = (len(readers),) if name.endswith("_input") else ()
        shapes[name] = (*heads, graph.before[readers[0]])
    arrays = arrays_of(
        scores, shapes, "; scores of single positions need to be summed over them"
    )
    matrix = np.zeros(graph.legal.shape)
    for name, readers in modules.items():
        block = arrays[name].reshape(len(readers), -1)
        matrix[: block.shape[1], readers] = block.T
    flat = graph.flat(matrix)
    if all(np.asarray(scores[name]).dtype == bool for name in modules):
        return ImportedEdges(graph, circuit=flat.astype(bool))
    return ImportedEdges(graph, flat.astype(np.float32))


def _modules(graph: Graph) -> dict[str, list[int]]:
    """Return the numbers of the readers of every module, by its name."""
    modules = {}
    for layer in range(graph.layers):
        for kind in KINDS:
            readers = [*graph.attention_readers(layer, kind)]
            modules[f"blocks.{layer}.hook_{kind}_input"] = readers
        modules[f"blocks.{layer}.hook_mlp_in"] = [graph.mlp_reader(layer)]
    last = len(graph.readers) - 1
    return modules | {f"blocks.{graph.layers - 1}.hook_resid_post": [last]}
