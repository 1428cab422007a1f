"""Construction C with gates: AND, OR and an inhibition, between linear relays.

All numbers are 1 on the clean prompt and 0 on the corrupted one.

- AND: an MLP writes the product of two heads. Ablating one edge removes all of it.
- OR, a backup: an MLP writes the sum of two heads, at most 1. Ablating one edge changes
  nothing, ablating both removes all of it.
- Inhibition: a head writes against the answer, with the largest effect of all.
"""

import numpy as np
import torch

from circuit_transfer.embedded.planted.model import Planted, circuit_names
from circuit_transfer.embedded.planted.relays import plant_linear
from circuit_transfer.embedded.planted.settings import Gates
from circuit_transfer.embedded.planted.wires import Wires
from circuit_transfer.generators.planted import letter_classes

LAYERS, HEADS = 3, 4
INHIBITION = -1.5
AND, OR, INHIBITOR = "m1", "m2", "a1.h0"
# By name of the edge its weight; relays carry their writer's number unchanged.
CIRCUIT = {
    **{f"input->a0.h{head}<v>": 1.0 for head in range(4)},
    **{f"a0.h{head}->{AND}": 1.0 for head in (0, 1)},
    **{f"a0.h{head}->{OR}": 1.0 for head in (2, 3)},
    f"input->{INHIBITOR}<v>": 1.0,
    f"{AND}->logits": 1.0,
    f"{OR}->logits": 1.0,
    f"{INHIBITOR}->logits": INHIBITION,
}


def plant_gates(settings: Gates, tokens: dict[str, int]) -> Planted:
    """Build a model with the three gates; its other nodes are linear and not read.

    Args:
        settings: see `Gates`.
        tokens: the vocabulary, with the words of the generator `planted-classes`.
    """
    random = torch.Generator().manual_seed(settings.seed)
    wires = Wires(LAYERS, HEADS, tokens, random, settings.constant)
    early, late = (torch.ones(len(each)).double() for each in letter_classes())
    wires.plant_input(early, 0 * late)
    graph = wires.graph
    names = np.array(graph.edge_names())
    circuit = graph.matrix(np.array([CIRCUIT.get(name, 0.0) for name in names]), 0.0)
    plant_linear(wires, circuit + _unread(graph, circuit, random))
    first, second, third, fourth = wires.wires[:, list(graph.head_writers(0))].T
    wires.plant_mlp(1, [(first, second, 1.0)])
    # The sum less what exceeds 1.
    one, both = wires.one(2), third + fourth
    wires.plant_mlp(2, [(both, one, 1.0), (both - one, one, -1.0)])
    edges = circuit_names(wires.model, circuit != 0)
    return Planted(wires.model, {"late": edges}, circuit)


def _unread(graph, circuit: np.ndarray, random: torch.Generator) -> np.ndarray:
    """Return random weights of the values and MLPs that the circuit does not use."""
    weights = torch.randn(circuit.shape, generator=random, dtype=torch.float64)
    free = [
        not circuit[:, number].any() and not name.endswith(("<q>", "<k>"))
        for number, name in enumerate(graph.readers)
    ]
    return weights.numpy() * graph.legal * np.array(free)
