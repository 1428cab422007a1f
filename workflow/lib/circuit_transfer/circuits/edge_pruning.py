"""Edges in the checkpoints of Edge Pruning (Bhaskar et al., arXiv 2406.16778).

Its models keep the log alphas of their gates among the weights, here without the prefix
(`transformer.h.{l}.` of GPT-2, `model.layers.{l}.` of Llama):

| parameter | shape | of |
|---|---|---|
| `q_read_log_alphas` | writers, heads | edges to queries |
| those of `k`, `v` | writers, key-value heads | edges to keys and values |
| `mlp_read_log_alphas` | writers | edges to the MLP |
| `final_read_log_alphas` | writers | edges to `logits`; of the model |
| `attn_write_log_alphas`, `mlp_write_log_alphas` | heads; 1 | edges of a writer |
| `token_write_log_alpha` | 1 | edges of the token embeddings; of the model |

Its writers are the token embeddings, for GPT-2 the position embeddings, then the heads
and the MLP of every layer. Entries of writers that are not computed before a reader are
padding. Position embeddings are the same in both prompts and no writer here; without
`with_embedding_nodes` the embeddings are always read, and their edges rank first.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from circuit_transfer.circuits.imported import (
    LARGEST,
    SIGNED,
    ImportedEdges,
    arrays_of,
    check_names,
)
from circuit_transfer.messages import quoted, some
from circuit_transfer.models.edges import (
    INPUT,
    KINDS,
    KV_HEAD,
    LOGITS,
    Graph,
    described_graph,
)

OF_LAYER = re.compile(
    r"(?:.*\.)?(?:h|layers)\.(\d+)\."
    r"((?:q_read|k_read|v_read|mlp_read|attn_write|mlp_write)_log_alphas)"
)
FINAL, TOKEN = "final_read_log_alphas", "token_write_log_alpha"
OF_MODEL = re.compile(rf"(?:.*\.)?({FINAL}|{TOKEN})")
# Gates are sigmoid(FACTOR log alpha) when they are not sampled: 0.8 / (2 / 3).
FACTOR = 1.2
# Names of the embeddings among the writers of `edges.json`.
TOKENS, POSITIONS = ("tok_embeds", "embeds"), "pos_embeds"
READER = re.compile(r"(a\d+\.h\d+)\.([qkv])")


def is_log_alphas(names: Iterable[str]) -> bool:
    """Return whether names are those of a checkpoint with gates of Edge Pruning."""
    return any(_gate(name) for name in names)


def from_log_alphas(
    tensors: Mapping[str, Any], description: Mapping[str, Any]
) -> ImportedEdges:
    """Return the ranking of the edges by the gates of a checkpoint.

    An edge is open if its own gate and that of its writer are. Its score is the log
    odds of the product of both.

    Args:
        tensors: by parameter, arrays or nested lists; what is no gate is ignored.
        description: the description of the model.

    Raises:
        ValueError: a gate is missing, or the gates are of another model.
    """
    graph = described_graph(description, KV_HEAD)
    gates = {_gate(name): value for name, value in tensors.items() if _gate(name)}
    embeddings = _embeddings(gates, graph)
    shapes = _shapes(graph, embeddings)
    check_names([*gates], [*shapes], "gates")
    gates = {n: FACTOR * each for n, each in arrays_of(gates, shapes).items()}
    own = _of_edges(gates, graph, embeddings)
    writers = _of_writers(gates, graph)[:, None]
    closed = np.logaddexp(np.logaddexp(-own, -writers), -own - writers)
    scores = np.clip(-graph.flat(closed), -LARGEST, LARGEST)
    return ImportedEdges(graph, scores.astype(np.float32), rankings=(SIGNED,))


def _gate(name: str) -> str | None:
    """Return the name of a gate without what is before its layer, else None."""
    if found := OF_LAYER.fullmatch(name):
        return f"{int(found[1])}.{found[2]}"
    found = OF_MODEL.fullmatch(name)
    return found and found[1]


def _embeddings(gates: Mapping[str, Any], graph: Graph) -> int:
    """Return how many writers are embeddings: none, tokens, or tokens and positions."""
    others, final = len(graph.writers) - 1, gates.get(FINAL)
    found = len(final) - others if isinstance(final, list | np.ndarray) else -1
    if found not in (0, 1, 2):
        raise ValueError(
            f"{FINAL}: {others + found if found >= 0 else 'no'} writers, expected the "
            f"{others} heads and MLPs of this model and at most two embeddings"
        )
    return found


def _shapes(graph: Graph, embeddings: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of all gates of a model, by name."""
    writers = embeddings + len(graph.writers) - 1
    sizes = dict(zip(KINDS, (graph.heads, *2 * [graph.kv_readers]), strict=True))
    shapes = {FINAL: (writers,)} | ({TOKEN: (1,)} if embeddings else {})
    for layer in range(graph.layers):
        for kind, size in sizes.items():
            shapes[f"{layer}.{kind}_read_log_alphas"] = (writers, size)
        shapes[f"{layer}.mlp_read_log_alphas"] = (writers,)
        shapes[f"{layer}.attn_write_log_alphas"] = (graph.heads,)
        shapes[f"{layer}.mlp_write_log_alphas"] = (1,)
    return shapes


def _of_edges(
    gates: Mapping[str, np.ndarray], graph: Graph, embeddings: int
) -> np.ndarray:
    """Return the gates of the edges, `(n_writers, n_readers)`."""
    blocks = []
    for layer in range(graph.layers):
        blocks += [gates[f"{layer}.{kind}_read_log_alphas"] for kind in KINDS]
        blocks.append(gates[f"{layer}.mlp_read_log_alphas"][:, None])
    read = np.concatenate([*blocks, gates[FINAL][:, None]], axis=1)
    # Embeddings without gates are always read.
    tokens = read[:1] if embeddings else np.full_like(read[:1], np.inf)
    return np.concatenate([tokens, read[embeddings:]])


def _of_writers(gates: Mapping[str, np.ndarray], graph: Graph) -> np.ndarray:
    """Return the gates of the writers, `(n_writers,)`."""
    parts = [gates.get(TOKEN, np.array([np.inf]))]
    for layer in range(graph.layers):
        parts += [gates[f"{layer}.{each}_write_log_alphas"] for each in ("attn", "mlp")]
    return np.concatenate(parts)


def from_edge_list(pairs: list, description: Mapping[str, Any]) -> ImportedEdges:
    """Return the circuit in a list of edges, as `edges.json` of Edge Pruning has it.

    Its names are `[["tok_embeds", "a0.h1.q"], ["a0.h1", "resid_post"]]`; `embeds` are
    the token embeddings of a Llama. Without any edge of embeddings these are read by
    all, as without `with_embedding_nodes`.

    Args:
        pairs: names of a writer and of a reader, as read from JSON.
        description: the description of the model.

    Raises:
        ValueError: they are no such pairs, or not edges of this model.
    """
    if not pairs:
        raise ValueError("an empty list of edges; expected those of a circuit")
    graph = described_graph(description, KV_HEAD)
    circuit, foreign, embeddings = np.zeros(graph.n_edges, bool), [], False
    for pair in pairs:
        if not _is_pair(pair):
            raise ValueError(
                f"edge {quoted(repr(pair))}: expected the names of a writer and of a "
                'reader, such as ["a0.h1", "m2"]'
            )
        writer, reader = pair
        embeddings |= writer in (*TOKENS, POSITIONS)
        if writer == POSITIONS:
            continue
        number = graph.number(_edge(writer, reader))
        if number is None:
            foreign.append(f"{writer}->{reader}")
        else:
            circuit[number] = True
    if foreign:
        raise ValueError(f"this model has no edges {some(foreign)}")
    if not embeddings:
        circuit |= graph.ends[0] == 0
    return ImportedEdges(graph, circuit=circuit)


def _is_pair(pair: Any) -> bool:
    names = pair if isinstance(pair, list) else []
    return len(names) == 2 and all(isinstance(name, str) for name in names)


def _edge(writer: str, reader: str) -> str:
    """Return the name here of an edge that Edge Pruning names otherwise."""
    if head := READER.fullmatch(reader):
        reader = f"{head[1]}<{head[2]}>"
    ends = {**dict.fromkeys(TOKENS, INPUT), "resid_post": LOGITS}
    return f"{ends.get(writer, writer)}->{ends.get(reader, reader)}"
