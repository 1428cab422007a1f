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
from circuit_transfer.embedded.planted.relays import plant_linear, unread
from circuit_transfer.embedded.planted.settings import Gates
from circuit_transfer.embedded.planted.wires import Wires
from circuit_transfer.generators.planted import letter_classes
from circuit_transfer.models.edges import KV

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
# The edges of the two heads of the OR, of which either suffices.
BACKUP = tuple((f"input->a0.h{head}<v>", f"a0.h{head}->{OR}") for head in (2, 3))


def plant_gates(settings: Gates, tokens: dict[str, int]) -> Planted:
    """Build a model with the three gates; its other nodes are linear and not read.

    Args:
        settings: see `Gates`.
        tokens: the vocabulary, with the words of the generator `planted-classes`.
    """
    random = torch.Generator().manual_seed(settings.seed)
    wires = Wires(settings.layers, settings.heads, tokens, random, settings.constant)
    early, late = (torch.ones(len(each)).double() for each in letter_classes())
    wires.plant_input(early, 0 * late)
    graph = wires.graph
    names = np.array(graph.edge_names())
    circuit = graph.matrix(np.array([CIRCUIT.get(name, 0.0) for name in names]), 0.0)
    plant_linear(wires, circuit + unread(graph, circuit, random))
    first, second, *of_or = graph.head_writers(0)
    wires.plant_mlp(1, [(wires.wires[:, first], wires.wires[:, second], 1.0)])
    wires.plant_either(2, of_or)
    edges = circuit_names(wires.model, circuit != 0)
    alternatives = dict.fromkeys(KV, (BACKUP,))
    return Planted(wires.model, {"late": edges}, circuit, {"late": alternatives})
