"""Construction A: every writer has a subspace, every reader reads its parents' only.

Attention and MLPs stay random and nonlinear. An edge that was not planted carries
nothing, although its writer's output differs between the prompts and its reader is
used: what is read has no component in the writer's subspace.
"""

import numpy as np
import torch
from torch import Tensor

from circuit_transfer.embedded.planted.basis import Basis, width_for
from circuit_transfer.embedded.planted.blank import (
    Planter,
    Sizes,
    blank_model,
    has_grouped_queries,
)
from circuit_transfer.embedded.planted.model import Planted, circuit_names
from circuit_transfer.embedded.planted.settings import Subspaces
from circuit_transfer.generators.planted import (
    EARLY,
    LATE,
    LETTERS_OF_A_PROMPT,
    letter_classes,
)
from circuit_transfer.models.edges import KV_HEAD, config_graph

INPUT_DIMENSIONS, DIMENSIONS = 16, 4
# Scales of random weights that keep all signals near 1 and attention selective.
GAINS = {"q": 1.5, "k": 1.5, "v": 1.0}
LOGIT_DIFFERENCE = 4.0
PROMPTS = 64


def plant_subspaces(
    settings: Subspaces, tokens: dict[str, int], **configuration
) -> Planted:
    """Build a model whose readers read the subspaces of their parents only.

    Every reader has at least one parent, so that every writer depends on the prompt.
    The circuit is what is on a path from the input to the logits; the other planted
    edges carry something that nothing uses.

    Args:
        settings: see `Subspaces`.
        tokens: the vocabulary, with the words of the generator `planted-classes`.
        configuration: further settings of the family's configuration.

    Raises:
        ValueError: the family cannot have so few keys.
    """
    writers = 1 + settings.layers * (settings.heads + 1)
    dimensions = INPUT_DIMENSIONS + DIMENSIONS * (writers - 1)
    width = width_for(dimensions, settings.heads)
    sizes = Sizes(
        settings.layers, settings.heads, _keys(settings), width, d_mlp=width + 8
    )
    model = blank_model(
        settings.family, sizes, max(tokens.values()) + 1, **configuration
    )
    drawn = _Drawn(settings, model, tokens)
    drawn.plant()
    drawn.separate_classes()
    circuit = circuit_names(model, drawn.edges)
    return Planted(model, {"late": circuit})


def _keys(settings: Subspaces) -> int:
    grouped = has_grouped_queries(settings.family)
    wanted = settings.kv_heads
    if wanted is None:
        return max(1, settings.heads // 2) if grouped else settings.heads
    if not grouped and wanted != settings.heads:
        raise ValueError(
            f"kv_heads {wanted}: every head of {settings.family} has a key of its own; "
            f"expected {settings.heads}, or no kv_heads"
        )
    return wanted


class _Drawn:
    """The random edges and weights of a model."""

    def __init__(self, settings: Subspaces, model, tokens: dict[str, int]) -> None:
        self.tokens = tokens
        self.model, self.graph = model, config_graph(model.config, KV_HEAD)
        self._random = torch.Generator().manual_seed(settings.seed)
        self.edges = self._draw_edges(settings.density)
        basis = Basis(model.config.hidden_size, self._random)
        self.planter = Planter(model, basis, settings.constant)
        sizes = [INPUT_DIMENSIONS] + [DIMENSIONS] * (len(self.graph.writers) - 1)
        self.subspaces = [basis.subspace(size) for size in sizes]

    def _draw_edges(self, density: float) -> np.ndarray:
        legal = self.graph.legal
        drawn = torch.rand(legal.shape, generator=self._random).numpy()
        lowest = np.where(legal, drawn, np.inf).argmin(0)
        edges = legal & (drawn < density)
        edges[lowest, np.arange(legal.shape[1])] = True
        return edges

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self._random, dtype=torch.float64)

    def parents(self, reader: int) -> Tensor:
        """Return the directions that a reader reads, `(width, directions)`."""
        numbers = np.flatnonzero(self.edges[:, reader])
        return torch.cat([self.subspaces[number] for number in numbers], dim=1)

    def reads(self, reader: int, rows: int, gain: float = 1.0) -> Tensor:
        """Draw what a reader reads, `(rows, width)`."""
        read = self.parents(reader)
        return self.normal(rows, read.shape[1]) @ read.T * gain / read.shape[1] ** 0.5

    def writes(self, writer: int, columns: int) -> Tensor:
        """Draw what a writer writes, `(width, columns)`."""
        drawn = self.normal(DIMENSIONS, columns) / columns**0.5
        return self.subspaces[writer] @ drawn

    def plant(self) -> None:
        """Draw all weights but the unembedding."""
        codes = self.normal(max(self.tokens.values()) + 1, INPUT_DIMENSIONS)
        shift = self.normal(INPUT_DIMENSIONS)
        for letters, sign in zip(letter_classes(), (1, -1), strict=True):
            codes[[self.tokens[letter] for letter in letters]] += sign * shift
        self.planter.embed(codes @ self.subspaces[0].T)
        for layer in range(self.graph.layers):
            self._plant_layer(layer)

    def _plant_layer(self, layer: int) -> None:
        planter, graph = self.planter, self.graph
        reads = {
            kind: torch.stack(
                [
                    self.reads(reader, planter.d_head, gain)
                    for reader in graph.attention_readers(layer, kind)
                ]
            )
            for kind, gain in GAINS.items()
        }
        planter.set_attention(layer, reads)
        heads = graph.head_writers(layer)
        writes = [self.writes(each, planter.d_head) for each in heads]
        planter.set_heads(layer, torch.stack(writes))
        scales = [self._scale(each, constants=2 * layer + 1) for each in heads]
        writes = [each / scale for each, scale in zip(writes, scales, strict=True)]
        planter.set_heads(layer, torch.stack(writes))
        reader, writer = graph.mlp_reader(layer), graph.mlp_writer(layer)
        reads = [self.reads(reader, planter.d_mlp) for _ in range(planter.mlp_reads)]
        reads, writes = torch.stack(reads), self.writes(writer, planter.d_mlp)
        planter.set_mlp(layer, reads, writes)
        scale = self._scale(writer, constants=2 * layer + 2)
        planter.set_mlp(layer, reads, writes / scale)

    def _scale(self, writer: int, constants: int) -> float:
        """Return the standard deviation of what a writer writes, over many prompts.

        Later layers are still blank, so that the final norm reads it.
        """
        stream = self._stream("".join(letter_classes()), constants)
        return (stream @ self.subspaces[writer]).flatten(0, 1).std(0).mean().item()

    def _stream(self, letters: str, constants: int) -> Tensor:
        """Return the stream before the final norm on prompts of some letters.

        Args:
            letters: to draw the prompts from.
            constants: see `Planter.scale`.

        Returns:
            `(prompt, position, width)`.
        """
        shape = (PROMPTS, LETTERS_OF_A_PROMPT)
        drawn = torch.randint(len(letters), shape, generator=self._random)
        ids = torch.tensor([self.tokens[letter] for letter in letters])[drawn]
        normed = self.model.base_model(ids).last_hidden_state
        return normed / self.planter.scale(constants, normed=True)

    def separate_classes(self) -> None:
        """Let the logits of the answers tell the two classes of prompts apart.

        Every parent of the logits has an equal share in the direction between the means
        of the classes, and half of the difference is the limit between them.
        """
        constants = 2 * self.graph.layers
        early, late = (
            self._stream(letters, constants)[:, -1].mean(0)
            for letters in letter_classes()
        )
        directions = []
        for number in np.flatnonzero(self.edges[:, -1]):
            between = self.subspaces[number].T @ (early - late)
            directions.append(self.subspaces[number] @ between / between.norm())
        direction = torch.stack(directions).sum(0)
        spread = direction @ (early - late)
        middle = direction @ (early + late) / 2
        matrix = torch.zeros_like(self.model.get_output_embeddings().weight)
        limit = middle * self.planter.one(constants)
        row = (direction - limit) * LOGIT_DIFFERENCE / spread / 2
        matrix[self.tokens[EARLY]], matrix[self.tokens[LATE]] = row, -row
        self.planter.unembed(matrix)
