"""The edges of a model: what writes to the residual stream, and what reads from it.

Writers are the token embeddings (`input`), every attention head and every MLP; readers
are the queries, keys and values of every head, every MLP, and the final norm with the
unembedding (`logits`). An edge leads from a writer to a reader that is computed later.
Names and order are those of MIB (arXiv 2504.13151): `input->a0.h1<q>`, `a0.h1->m3`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from circuit_transfer.messages import quoted
from circuit_transfer.models.architectures import couples_heads, has_parallel_mlp
from circuit_transfer.models.nodes import node_names

INPUT, LOGITS = "input", "logits"
# Whether a key or value that several queries share is one reader for each of them (MIB)
# or one in all.
QUERY_HEAD, KV_HEAD = "query-head", "kv-head"
KV = (QUERY_HEAD, KV_HEAD)
KINDS = ("q", "k", "v")


@dataclass(frozen=True)
class Graph:
    """Writers and readers in order of computation, and the edges between them.

    The writers that a reader can have are always the first ones, since the residual
    stream only ever grows. Edges are in the order of their readers, then writers.

    Attributes:
        writers: names, `input` first.
        readers: names, `logits` last.
        before: of every reader, how many writers are computed before it.
        kv: `query-head` or `kv-head`, see `edge_graph`.
        layers: number of layers.
        heads: attention heads per layer.
        kv_readers: readers of keys per layer, and as many of values.
        coupled: whether a norm over the queries (and one over the keys) of all heads of
            a layer lets every head depend on all of them, as in OLMo 2.
    """

    writers: tuple[str, ...]
    readers: tuple[str, ...]
    before: tuple[int, ...]
    kv: str
    layers: int
    heads: int
    kv_readers: int
    coupled: bool = False

    @property
    def n_edges(self) -> int:
        """The number of edges."""
        return sum(self.before)

    @cached_property
    def legal(self) -> np.ndarray:
        """Where there is an edge, bool `(n_writers, n_readers)`."""
        return np.arange(len(self.writers))[:, None] < np.array(self.before)

    def description(self) -> dict[str, Any]:
        """Return what an artefact of the edges names them by."""
        parts = {"writers": self.writers, "readers": self.readers}
        return {**parts, "legal": self.legal, "kv": self.kv}

    @cached_property
    def ends(self) -> tuple[np.ndarray, np.ndarray]:
        """The numbers of the writer and of the reader of every edge, in order."""
        readers, writers = np.nonzero(self.legal.T)
        return writers, readers

    def edge_names(self) -> list[str]:
        """Return `writer->reader` of every edge; long for a large model."""
        pairs = zip(*self.ends, strict=True)
        return [f"{self.writers[u]}->{self.readers[v]}" for u, v in pairs]

    @cached_property
    def _numbers(self) -> tuple[dict[str, int], dict[str, tuple[int, int]]]:
        firsts = np.cumsum([0, *self.before]).tolist()
        first_and_count = zip(firsts, self.before, strict=False)
        readers = dict(zip(self.readers, first_and_count, strict=True))
        return {name: number for number, name in enumerate(self.writers)}, readers

    def number(self, edge: str) -> int | None:
        """Return the number of the edge of a name, None if there is no such edge."""
        writers, readers = self._numbers
        writer, _, reader = edge.partition("->")
        number = writers.get(writer)
        first, count = readers.get(reader, (0, 0))
        return None if number is None or number >= count else first + number

    def flat(self, matrix: np.ndarray) -> np.ndarray:
        """Return the entries of edges of `(..., n_writers, n_readers)` in order.

        Returns:
            `(..., n_edges)`.
        """
        writers, readers = self.ends
        return matrix[..., writers, readers]

    def matrix(self, values: np.ndarray, outside: float = np.nan) -> np.ndarray:
        """Return values of the edges `(..., n_edges)` as a matrix.

        Args:
            values: one per edge, in order.
            outside: where there is no edge.

        Returns:
            `(..., n_writers, n_readers)`, of the type of the values.
        """
        shape = (*values.shape[:-1], len(self.writers), len(self.readers))
        matrix = np.full(shape, outside, values.dtype)
        writers, readers = self.ends
        matrix[..., writers, readers] = values
        return matrix

    def attention_readers(self, layer: int, kind: str) -> range:
        """Return the numbers of the readers of a layer's queries, keys or values.

        Args:
            layer: number of the layer.
            kind: `q`, `k` or `v`.
        """
        start = layer * (self.heads + 2 * self.kv_readers + 1)
        sizes = (self.heads, self.kv_readers, self.kv_readers)
        first = start + sum(sizes[: KINDS.index(kind)])
        return range(first, first + sizes[KINDS.index(kind)])

    def mlp_reader(self, layer: int) -> int:
        """Return the number of the reader of a layer's MLP."""
        return (layer + 1) * (self.heads + 2 * self.kv_readers + 1) - 1

    def head_writers(self, layer: int) -> range:
        """Return the numbers of the writers that are the heads of a layer."""
        first = 1 + layer * (self.heads + 1)
        return range(first, first + self.heads)

    def mlp_writer(self, layer: int) -> int:
        """Return the number of the writer that is the MLP of a layer."""
        return (layer + 1) * (self.heads + 1)

    @cached_property
    def used_by(self) -> np.ndarray:
        """Which readers a writer is computed from, bool `(n_writers, n_readers)`."""
        uses = np.zeros((len(self.writers), len(self.readers)), bool)
        group = self.heads // self.kv_readers
        for layer in range(self.layers):
            for head, writer in enumerate(self.head_writers(layer)):
                own = (head, head // group, head // group)
                for kind, number in zip(KINDS, own, strict=True):
                    readers = np.asarray(self.attention_readers(layer, kind))
                    joint = self.coupled and kind in "qk"
                    uses[writer, readers if joint else readers[number]] = True
            uses[self.mlp_writer(layer), self.mlp_reader(layer)] = True
        return uses


def edge_graph(
    layers: int,
    heads: int,
    kv_heads: int,
    *,
    kv: str = QUERY_HEAD,
    parallel_mlp: bool = False,
    coupled: bool = False,
) -> Graph:
    """Return the graph of a model of given sizes.

    Args:
        layers: number of layers.
        heads: attention heads per layer.
        kv_heads: keys and values per layer, of which a group of heads shares one.
        kv: `query-head`: every head has readers of its own for key and value, though
            the weights are shared, as in MIB; `kv-head`: one reader for each key and
            value, numbered by them.
        parallel_mlp: whether the MLP of a layer reads what its heads read.
        coupled: see `Graph`.

    Raises:
        ValueError: `kv` is neither.
    """
    if kv not in KV:
        raise ValueError(f"kv {quoted(kv)}: expected {' or '.join(KV)}")
    kv_readers = heads if kv == QUERY_HEAD else kv_heads
    readers, before = [], []
    for layer in range(layers):
        seen = 1 + layer * (heads + 1)
        numbers = zip(KINDS, (heads, kv_readers, kv_readers), strict=True)
        own = [f"a{layer}.h{n}<{kind}>" for kind, size in numbers for n in range(size)]
        readers += [*own, f"m{layer}"]
        before += [seen] * len(own)
        before.append(seen if parallel_mlp else seen + heads)
    writers = (INPUT, *node_names(layers, heads))
    return Graph(
        writers,
        readers=(*readers, LOGITS),
        before=(*before, len(writers)),
        kv=kv,
        layers=layers,
        heads=heads,
        kv_readers=kv_readers,
        coupled=coupled,
    )


def described_graph(description: Mapping[str, Any], kv: str = QUERY_HEAD) -> Graph:
    """Return the graph of a described model, see `description.describe_model`."""
    return edge_graph(
        *(description[key] for key in ("layers", "heads", "kv_heads")),
        kv=kv,
        parallel_mlp=description["parallel_mlp"],
        coupled=couples_heads(description["architecture"]),
    )


def config_graph(config, kv: str = QUERY_HEAD) -> Graph:
    """Return the graph of a model by its configuration of `transformers`."""
    heads = config.num_attention_heads
    return edge_graph(
        config.num_hidden_layers,
        heads,
        getattr(config, "num_key_value_heads", None) or heads,
        kv=kv,
        parallel_mlp=has_parallel_mlp(config),
        coupled=couples_heads(config.model_type),
    )
