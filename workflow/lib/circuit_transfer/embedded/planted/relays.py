"""Construction C: all nodes are linear, so that the effect of every edge is known.

It is the difference of the writer's output, times the edge's weight, times the sum over
all paths from the reader to the logits of the product of their weights.
"""

import numpy as np
import torch

from circuit_transfer.embedded.planted.model import Planted, circuit_names
from circuit_transfer.embedded.planted.settings import Relays
from circuit_transfer.embedded.planted.wires import Wires
from circuit_transfer.generators.planted import letter_classes
from circuit_transfer.models.edges import Graph


def plant_relays(settings: Relays, tokens: dict[str, int]) -> Planted:
    """Build a model of linear nodes, with the weights of their edges.

    Args:
        settings: see `Relays`.
        tokens: the vocabulary, with the words of the generator `planted-classes`.
    """
    random = torch.Generator().manual_seed(settings.seed)
    layers, heads = settings.layers, settings.heads
    wires = Wires(layers, heads, tokens, random, settings.constant)
    early, late = letter_classes()

    def sizes(*shape: int) -> torch.Tensor:
        return 0.5 + torch.rand(shape, generator=random, dtype=torch.float64)

    wires.plant_input(sizes(len(early)), -sizes(len(late)))
    graph = wires.graph
    signs = torch.randint(2, graph.legal.shape, generator=random) * 2 - 1
    kept = torch.rand(graph.legal.shape, generator=random) < settings.density
    # The graph has a path in any case.
    kept[0, -1] = True
    read = np.array(["<q>" not in each and "<k>" not in each for each in graph.readers])
    weights = (sizes(*graph.legal.shape) * signs * kept).numpy() * graph.legal * read
    if _total(wires, weights) < 0:  # the early letters have the higher logits
        weights[:, -1] *= -1
    plant_linear(wires, weights)
    circuit = circuit_names(wires.model, weights != 0)
    return Planted(wires.model, {"late": circuit}, weights)


def _total(wires: Wires, weights: np.ndarray) -> float:
    """Return the sum over all paths from the input to the logits."""
    outputs = np.zeros(len(weights))
    outputs[0] = 1.0
    for _ in weights:
        outputs[1:] = (wires.graph.used_by @ (weights.T @ outputs))[1:]
    return weights[:, -1] @ outputs


def plant_linear(wires: Wires, weights: np.ndarray) -> None:
    """Plant linear nodes in all places.

    Args:
        wires: the blank model.
        weights: of the edges, `(n_writers, n_readers)`.
    """
    read = (wires.wires @ torch.from_numpy(weights)).T
    for layer in range(wires.graph.layers):
        wires.plant_heads(layer, read[list(wires.graph.attention_readers(layer, "v"))])
        number = read[wires.graph.mlp_reader(layer)]
        wires.plant_mlp(layer, [(wires.one(layer), number, 1.0)])
    wires.plant_logits(read[-1])


def unread(graph: Graph, circuit: np.ndarray, random: torch.Generator) -> np.ndarray:
    """Return random weights of the values and MLPs that a circuit does not use.

    They read all writers, those of the circuit too, but nothing depends on them.

    Args:
        graph: of the model, by key-value head.
        circuit: weights of the circuit's edges, `(n_writers, n_readers)`.
        random: draws the weights.

    Returns:
        The weights of these edges, likewise.
    """
    weights = torch.randn(circuit.shape, generator=random, dtype=torch.float64)
    free = [
        not circuit[:, number].any() and not name.endswith(("<q>", "<k>"))
        for number, name in enumerate(graph.readers)
    ]
    return weights.numpy() * graph.legal * np.array(free)
