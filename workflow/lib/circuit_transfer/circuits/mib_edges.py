"""Edges in the format of the MIB benchmark's circuit track, out and in.

MIB (arXiv 2504.13151) takes what EAP-IG's `Graph.to_json` writes: `cfg`, `nodes` with
`in_graph`, and `edges` by name with `score` and `in_graph`; and as tensors what its
`Graph.to_pt` writes. Its edges and their order are those of `models.edges`, with a key
and a value for each query head.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from circuit_transfer.circuits.imported import (
    LARGEST,
    ImportedEdges,
    arrays_of,
    first_edges,
)
from circuit_transfer.circuits.mib import check_shape, mib_config
from circuit_transfer.messages import quoted, some
from circuit_transfer.models.edges import LOGITS, QUERY_HEAD, Graph, described_graph

SCORES, INSIDE = "edges_scores", "edges_in_graph"
# Readers of which several query heads may share one.
SHARED = ("<k>", "<v>")
# Of an edge in a file: it is not there, or there without a valid `in_graph`.
MISSING, UNCLEAR = -1, 2


def query_head_scores(
    scores: np.ndarray,
    graph: Graph,
    description: Mapping[str, Any],
    *,
    divided: bool = True,
) -> tuple[np.ndarray, Graph]:
    """Return edge scores on the graph of MIB, where every query head has its own key.

    The score of a key or value that several query heads share is divided evenly among
    them: their sum is the score (gradients add up), the single ones are not known.
    Scores that rank and no more are the same for all of them.

    Args:
        scores: float32 `(n_writers, n_readers)`.
        graph: the edges that they are of.
        description: the description of the model.
        divided: whether scores are divided.

    Returns:
        The scores float32 `(n_edges,)` of the graph of query heads, and this graph.
    """
    to = described_graph(description, QUERY_HEAD)
    group = to.kv_readers // graph.kv_readers
    numbers = {name: number for number, name in enumerate(graph.readers)}
    columns, shares = np.arange(len(to.readers)), np.ones(len(to.readers), np.float32)
    for number, reader in enumerate(to.readers):
        columns[number] = numbers[_shared(reader, group)]
        if divided and reader.endswith(SHARED):
            shares[number] = group
    return to.flat(scores[:, columns] / shares), to


def _shared(reader: str, group: int) -> str:
    """Return the reader whose key or value the reader of a query head shares."""
    if not reader.endswith(SHARED):
        return reader
    layer, _, head = reader[:-3].partition(".h")
    return f"{layer}.h{int(head) // group}{reader[-3:]}"


def edge_importances(
    scores: np.ndarray, graph: Graph, description: Mapping[str, Any]
) -> Iterator[str]:
    """Yield edge scores as a graph of MIB in JSON, a part for every reader.

    Unknown scores (NaN, for lack of usable pairs) become null, where MIB stops.

    Args:
        scores: float32 `(n_edges,)`, higher supports the answer more.
        graph: the edges, with a key and a value for each query head.
        description: the description of the model.
    """
    known = np.isfinite(scores).all()
    names = [*graph.writers, LOGITS]
    nodes = {name: {"in_graph": True} for name in names}
    head = {"cfg": mib_config(description), "nodes": nodes}
    yield f'{json.dumps(head)[:-1]}, "edges": {{'
    first = 0
    for reader, count in zip(graph.readers, graph.before, strict=True):
        values = scores[first : first + count].tolist() if known else ["null"] * count
        entries = zip(graph.writers[:count], values, strict=True)
        text = ", ".join(
            f'"{writer}->{reader}": {{"score": {value}, "in_graph": true}}'
            for writer, value in entries
        )
        yield f"{', ' if first else ''}{text}"
        first += count
    yield "}}\n"


def edge_tensors(
    scores: np.ndarray, graph: Graph, description: Mapping[str, Any]
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return edge scores as the tensors of EAP-IG's binary format, with metadata.

    `edges_scores` float32 `(n_writers, n_readers)`, minus infinity where there is no
    edge, `edges_in_graph` bool of the same shape, `nodes_in_graph` bool `(n_writers,)`;
    `cfg`, `src_nodes` and `dst_nodes` name what they are of.
    """
    tensors = {
        SCORES: graph.matrix(scores.astype(np.float32), outside=-np.inf),
        INSIDE: graph.legal,
        "nodes_in_graph": np.ones(len(graph.writers), bool),
    }
    metadata = {"cfg": mib_config(description), "kv": graph.kv}
    names = {"src_nodes": list(graph.writers), "dst_nodes": list(graph.readers)}
    return tensors, metadata | names


class EdgeEntries:
    """What a graph of MIB has on the edges of a model, without an object for each.

    Attributes:
        graph: the edges of the model.
        scores: float64 `(n_edges,)`, NaN where there is none.
        inside: int8 `(n_edges,)`: 1 or 0 as `in_graph`, `MISSING` or `UNCLEAR`.
        foreign: names that are no edges of the model.
        fault: what is wrong with the first malformed entry, if anything.
        are_scored: whether any entry has a `score`, be it null.
    """

    def __init__(self, graph: Graph, entries: Iterable[tuple[str, Any]] = ()) -> None:
        """Take the entries of a file, by the names of edges."""
        self.graph = graph
        self.scores = np.full(graph.n_edges, np.nan)
        self.inside = np.full(graph.n_edges, MISSING, np.int8)
        self.foreign: list[str] = []
        self.fault: str | None = None
        self.are_scored = False
        for name, entry in entries:
            number = graph.number(name)
            if number is None:
                self.foreign.append(name)
            elif fault := self._take(number, entry):
                self.fault = self.fault or f"edge {name}: {fault}"

    def __bool__(self) -> bool:
        """Return whether there is any entry."""
        return bool(self.foreign) or bool((self.inside != MISSING).any())

    def _take(self, number: int, entry: Any) -> str | None:
        """Keep the entry of an edge; return what is wrong with it, if anything."""
        if not isinstance(entry, dict):
            return f"{quoted(repr(entry))}, expected a mapping with `score`"
        if self.inside[number] != MISSING:
            return "it is there twice"
        inside = entry.get("in_graph")
        self.inside[number] = inside if isinstance(inside, bool) else UNCLEAR
        self.are_scored |= "score" in entry
        score = entry.get("score")
        if score is None:
            return None
        if isinstance(score, bool) or not isinstance(score, int | float):
            return f"score {quoted(repr(score))} is not a number"
        if abs(score) > LARGEST:
            return f"score {quoted(score)} is not finite in float32"
        self.scores[number] = score
        return None


def from_edge_entries(cfg: Mapping[str, Any], edges: EdgeEntries) -> ImportedEdges:
    """Return the ranking or the circuit of the edges in a graph of MIB.

    Without scores, or where all are the same, as EAP-IG writes them for a circuit, the
    edges with `in_graph` are one circuit, and edges that are missing are outside.

    Args:
        cfg: the shape of the model, as in the file.
        edges: the entries of the file.

    Raises:
        ValueError: they are of another model; only some edges have a score; a score is
            not a finite number; neither `score` nor `in_graph` is valid.
    """
    graph = edges.graph
    check_shape(cfg, graph.writers[1:])
    parallel = graph.before[graph.mlp_reader(0)] == 1
    if cfg.get("parallel_attn_mlp", parallel) is not parallel:
        raise ValueError(
            f"cfg.parallel_attn_mlp is {quoted(cfg['parallel_attn_mlp'])}, expected "
            f"{parallel} as in the model"
        )
    if edges.foreign:
        raise ValueError(f"this model has no edges {some(edges.foreign)}")
    if edges.fault:
        raise ValueError(edges.fault)
    unscored = np.isnan(edges.scores)
    if unscored.all() and edges.are_scored:
        return ImportedEdges(graph, edges.scores.astype(np.float32))
    if unscored.all() or _is_circuit(edges):
        return _circuit(edges)
    if unscored.any():
        raise ValueError(
            f"no score for {first_edges(graph, unscored)}, while other edges have one: "
            "expected a number for every edge, since all of them are ranked; or for "
            "one circuit only `in_graph`, of the edges within it"
        )
    return ImportedEdges(graph, edges.scores.astype(np.float32))


def _is_circuit(edges: EdgeEntries) -> bool:
    scores = edges.scores[~np.isnan(edges.scores)]
    return (scores == scores[0]).all() and not (edges.inside == 1).all()


def _circuit(edges: EdgeEntries) -> ImportedEdges:
    if (unclear := edges.inside == UNCLEAR).any():
        raise ValueError(
            f"no `in_graph` for {first_edges(edges.graph, unclear)}: expected true or "
            "false where there are no scores"
        )
    return ImportedEdges(edges.graph, circuit=edges.inside == 1)


def from_edge_tensors(
    tensors: Mapping[str, np.ndarray], description: Mapping[str, Any]
) -> ImportedEdges:
    """Return the ranking or the circuit in the tensors of EAP-IG's binary format.

    Args:
        tensors: `edges_scores` and, for a circuit, `edges_in_graph`, as `edge_tensors`
            returns them; what is no edge may hold anything.
        description: the description of the model.

    Raises:
        ValueError: they have another shape; a score is not a finite number, while not
            all of them are unknown.
    """
    graph = described_graph(description, QUERY_HEAD)
    legal = graph.legal
    found = {
        name: np.where(legal, tensor, 0) if tensor.shape == legal.shape else tensor
        for name, tensor in tensors.items()
        if name in (SCORES, INSIDE)
    }
    if SCORES in found and np.isnan(found[SCORES]).sum() == graph.n_edges:
        return ImportedEdges(graph, np.full(graph.n_edges, np.nan, np.float32))
    arrays = arrays_of(found, dict.fromkeys(found, legal.shape))
    edges = EdgeEntries(graph)
    if SCORES in arrays:
        edges.scores = graph.flat(arrays[SCORES])
    inside = graph.flat(arrays.get(INSIDE, legal))
    edges.inside = np.where(np.isin(inside, (0, 1)), inside, UNCLEAR)
    return from_edge_entries(mib_config(description), edges)
