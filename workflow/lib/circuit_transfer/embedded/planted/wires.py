"""A Llama in which every node has one number as output, in a direction of its own."""

from collections.abc import Sequence

import torch
from torch import Tensor

from circuit_transfer.embedded.planted.basis import Basis, width_for
from circuit_transfer.embedded.planted.blank import (
    LINEAR,
    Planter,
    Sizes,
    blank_model,
)
from circuit_transfer.embedded.planted.heads import attend_back
from circuit_transfer.generators.planted import EARLY, LATE, letter_classes
from circuit_transfer.models.edges import KV_HEAD, Graph, edge_graph

D_MLP = 4
# Gate, what it multiplies, and the factor of the product.
Neuron = tuple[Tensor, Tensor, float]


class Wires:
    """Plants nodes in a blank model; those that are not planted write nothing.

    Heads attend to their own position and have keys of their own.

    Attributes:
        graph: of the model, by key-value head.
        wires: directions of the writers' outputs, `(width, n_writers)`.
        model: the model.
    """

    def __init__(
        self,
        layers: int,
        heads: int,
        tokens: dict[str, int],
        random: torch.Generator,
        constant: float,
    ) -> None:
        """Make the blank model.

        Args:
            layers: number of layers.
            heads: attention heads per layer.
            tokens: the vocabulary.
            random: draws the rotation.
            constant: size of the component that makes norms linear, see `basis`.
        """
        self.graph: Graph = edge_graph(layers, heads, heads, kv=KV_HEAD)
        writers = len(self.graph.writers)
        sizes = Sizes(layers, heads, heads, width_for(writers, heads), D_MLP)
        self.model = blank_model("llama", sizes, max(tokens.values()) + 1)
        basis = Basis(sizes.width, random)
        self.wires = basis.subspace(writers)
        self._tokens, self._planter = tokens, Planter(self.model, basis, constant)

    def one(self, layer: int) -> Tensor:
        """Return what reads 1 in a layer, `(width,)`."""
        return self._planter.one(2 * layer)

    def plant_input(self, early: Tensor, late: Tensor) -> None:
        """Set the numbers of the early and the late letters."""
        codes = torch.zeros_like(self.model.get_input_embeddings().weight)
        for letters, values in zip(letter_classes(), (early, late), strict=True):
            rows = [self._tokens[letter] for letter in letters]
            codes[rows] = values[:, None] * self.wires[:, 0]
        self._planter.embed(codes)

    def plant_heads(self, layer: int, reads: Tensor) -> None:
        """Let heads write what they read at their own position, `(heads, width)`."""
        heads, d_head = len(reads), self._planter.d_head
        query, key = attend_back(self.one(layer), d_head, steps=0)
        values = torch.zeros(heads, d_head, self.wires.shape[0], dtype=torch.float64)
        values[:, 0] = reads
        constant = {"q": query.repeat(heads, 1, 1), "k": key.repeat(heads, 1, 1)}
        self._planter.set_attention(layer, {**constant, "v": values})
        writes = torch.zeros_like(values).mT
        writes[:, :, 0] = self.wires[:, list(self.graph.head_writers(layer))].T
        self._planter.set_heads(layer, writes)

    def plant_mlp(self, layer: int, neurons: Sequence[Neuron]) -> None:
        """Let an MLP write the sum of `factor * max(gate, 0) * number` over neurons.

        The gate is that where it is not near 0, at which its slope rises from 0 to 1.
        """
        reads = torch.zeros(2, D_MLP, self.wires.shape[0], dtype=torch.float64)
        writes = torch.zeros(self.wires.shape[0], D_MLP, dtype=torch.float64)
        wire = self.wires[:, self.graph.mlp_writer(layer)]
        for place, (gate, number, factor) in enumerate(neurons):
            reads[0, place], reads[1, place] = LINEAR * gate, number
            writes[:, place] = wire * factor / LINEAR
        self._planter.set_mlp(layer, reads, writes)

    def plant_either(self, layer: int, heads: Sequence[int]) -> None:
        """Let an MLP write the sum of what writers write, at most 1.

        The writers are given by their numbers. If each writes 0 or 1, it is 1 as soon
        as one of them does.
        """
        # The sum less what exceeds 1.
        one, total = self.one(layer), self.wires[:, list(heads)].sum(1)
        self.plant_mlp(layer, [(total, one, 1.0), (total - one, one, -1.0)])

    def plant_logits(self, read: Tensor) -> None:
        """Let the difference of the answers' logits be what they read, `(width,)`."""
        matrix = torch.zeros_like(self.model.get_output_embeddings().weight)
        matrix[self._tokens[EARLY]], matrix[self._tokens[LATE]] = read / 2, -read / 2
        self._planter.unembed(matrix)
