"""Reading circuits from MIB, EAP-IG, auto-circuit and Edge Pruning."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from circuit_transfer.artifacts.foreign import holds_tensors, read_foreign_tensors
from circuit_transfer.artifacts.json_entries import read_json_entries
from circuit_transfer.circuits.auto_circuit import from_prune_scores, is_prune_scores
from circuit_transfer.circuits.edge_pruning import (
    from_edge_list,
    from_log_alphas,
    is_log_alphas,
)
from circuit_transfer.circuits.imported import ImportedEdges
from circuit_transfer.circuits.mib import (
    from_dense,
    from_importances,
    holds_edges,
    mapping,
)
from circuit_transfer.circuits.mib_edges import (
    INSIDE,
    SCORES,
    EdgeEntries,
    from_edge_entries,
    from_edge_tensors,
)
from circuit_transfer.models.edges import QUERY_HEAD, described_graph

Imported = np.ndarray | ImportedEdges
MIB_TENSORS = ("nodes_scores", "nodes_in_graph", SCORES, INSIDE)
EXPECTED = (
    "expected `cfg`, `nodes` and `edges` of MIB, the tensors of EAP-IG "
    "(`edges_scores`), the prune scores of auto-circuit by module "
    "(`blocks.0.hook_q_input`), the gates of Edge Pruning (`q_read_log_alphas`), or "
    "its list of edges"
)


def read_imported(path: Path | str, description: Mapping[str, Any]) -> Imported:
    """Read the nodes or the edges in a file of another project.

    Its format is recognised by its content: importances of MIB as JSON or tensors,
    prune scores of auto-circuit, gates or `edges.json` of Edge Pruning.

    Args:
        path: a JSON or safetensors file.
        description: the description of the model that it is of.

    Returns:
        The scores of the nodes, float32 `(n_nodes,)`, NaN where they are not known, or
        the edges.

    Raises:
        ValueError: the file is pickled, damaged, of no such format, or of another
            model.
    """
    try:
        if holds_tensors(path):
            return _of_tensors(read_foreign_tensors(path, _is_of_circuit), description)
        graph = described_graph(description, QUERY_HEAD)
        content = read_json_entries(path, {"edges": partial(EdgeEntries, graph)})
        return _of_json(content, description)
    except ValueError as error:
        where = "" if str(error).startswith(str(path)) else f"{path}: "
        raise ValueError(f"{where}{error}") from error


def _is_of_circuit(name: str) -> bool:
    """Return whether a tensor is read: a checkpoint has others too."""
    return name in MIB_TENSORS or is_prune_scores([name]) or is_log_alphas([name])


def _of_tensors(
    tensors: Mapping[str, np.ndarray], description: Mapping[str, Any]
) -> Imported:
    if is_prune_scores(tensors):
        return from_prune_scores(tensors, description)
    if is_log_alphas(tensors):
        return from_log_alphas(tensors, description)
    ranks_nodes = not np.isnan(tensors.get("nodes_scores", np.nan)).all()
    if not ranks_nodes and {SCORES, INSIDE} & {*tensors}:
        return from_edge_tensors(tensors, description)
    if tensors:
        return from_dense(tensors, description)
    raise ValueError(f"no tensor of a circuit; {EXPECTED}")


def _of_json(content: Any, description: Mapping[str, Any]) -> Imported:
    if isinstance(content, list):
        return from_edge_list(content, description)
    if isinstance(content, dict) and is_prune_scores(content):
        return from_prune_scores(content, description)
    if isinstance(content, dict) and is_log_alphas(content):
        return from_log_alphas(content, description)
    if not isinstance(content, dict) or "cfg" not in content:
        raise ValueError(f"no circuit; {EXPECTED}")
    if isinstance(content.get("edges"), EdgeEntries) and holds_edges(content):
        return from_edge_entries(mapping(content, "cfg"), content["edges"])
    return from_importances(content, description["nodes"])
