"""Heads that stand in for each other: of two pairs of heads, one of either suffices.

All numbers are 1 on the clean prompt and 0 on the corrupted one; three parts of equal
size make up the logit difference.

- Either: an MLP writes the sum of two heads, at most 1. Ablating one head changes
  nothing, ablating both removes all of it.
- Repair: likewise, but the second head reads the input less what the first one writes:
  it writes 0 until the first one is ablated, and then all that is missing.
- Chain: a head reads another one, which reads the input. It has no backup.

No head can make up for another part by writing too much, since sums are at most 1.
Linear nodes that nothing reads take up all other places.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch

from circuit_transfer.embedded.planted.model import Groups, Planted, circuit_names
from circuit_transfer.embedded.planted.relays import plant_linear, unread
from circuit_transfer.embedded.planted.settings import Backup
from circuit_transfer.embedded.planted.wires import Wires
from circuit_transfer.generators.planted import letter_classes
from circuit_transfer.models.edges import KV

# Of the logit difference, the share of every part.
EFFECT = 3.0


@dataclass(frozen=True)
class Places:
    """Where the parts are, by the names of the nodes.

    Attributes:
        either: the two heads of which either suffices.
        repair: two heads, of which the second one repairs the first.
        limits: of both pairs, the MLP that writes their sum, at most 1.
        chain: two heads, of which the second one reads the first.
    """

    either: tuple[str, str]
    repair: tuple[str, str]
    limits: tuple[str, str]
    chain: tuple[str, str]

    @property
    def weights(self) -> dict[str, float]:
        """The weight of every edge of the circuit, by name."""
        (main, backup), (first, second) = self.repair, self.chain
        limits = dict.fromkeys(self.either, self.limits[0])
        limits |= dict.fromkeys(self.repair, self.limits[1])
        return {
            **{f"input->{head}<v>": 1.0 for head in (*limits, first)},
            **{f"{head}->{mlp}": 1.0 for head, mlp in limits.items()},
            f"{main}->{backup}<v>": -1.0,
            f"{first}->{second}<v>": 1.0,
            **{f"{node}->logits": EFFECT for node in (*self.limits, second)},
        }

    @property
    def alternatives(self) -> Groups:
        """The sets of edges of which one suffices, see `Planted`.

        With both heads of the repair, the edge between them may be there too.
        """
        either, repair = (
            tuple((f"input->{head}<v>", f"{head}->{mlp}") for head in heads)
            for heads, mlp in zip((self.either, self.repair), self.limits, strict=True)
        )
        main, backup = self.repair
        both = (*repair[0], *repair[1], f"{main}->{backup}<v>")
        return either, (*repair, both)


def plant_backup(settings: Backup, tokens: dict[str, int]) -> Planted:
    """Build the model.

    Args:
        settings: see `Backup`.
        tokens: the vocabulary, with the words of the generator `planted-classes`.
    """
    random = torch.Generator().manual_seed(settings.seed)
    places = draw_places(settings, random)
    wires = Wires(settings.layers, settings.heads, tokens, random, settings.constant)
    early, late = (torch.ones(len(each)).double() for each in letter_classes())
    wires.plant_input(early, 0 * late)
    graph = wires.graph
    by_edge = [places.weights.get(name, 0.0) for name in graph.edge_names()]
    circuit = graph.matrix(np.array(by_edge), 0.0)
    plant_linear(wires, circuit + unread(graph, circuit, random))
    for heads, mlp in zip((places.either, places.repair), places.limits, strict=True):
        layer = int(mlp.removeprefix("m"))
        wires.plant_either(layer, [graph.writers.index(head) for head in heads])
    edges = circuit_names(wires.model, circuit != 0)
    alternatives = dict.fromkeys(KV, places.alternatives)
    return Planted(wires.model, {"late": edges}, circuit, {"late": alternatives})


def draw_places(settings: Backup, random: torch.Generator) -> Places:
    """Draw the places of all parts.

    Args:
        settings: see `Backup`.
        random: draws them.
    """
    heads = [*product(range(settings.layers), range(settings.heads))]
    used = _draw([each for each in heads if each[0] < settings.layers - 1], 4, random)
    lowest = max(layer for layer, _ in used[:2])
    for layer, _ in used[2:]:
        later = [each for each in heads if each[0] > layer and each not in used]
        used += _draw(later, 1, random)
    (of_repair,) = _draw(range(used[4][0], settings.layers), 1, random)
    free = [each for each in range(lowest, settings.layers) if each != of_repair]
    limits = f"m{_draw(free, 1, random)[0]}", f"m{of_repair}"
    first, second, main, start, backup, end = (f"a{at}.h{head}" for at, head in used)
    return Places((first, second), (main, backup), limits, (start, end))


def _draw(places: Sequence, count: int, random: torch.Generator) -> list:
    order = torch.randperm(len(places), generator=random)
    return [places[number] for number in order[:count]]
