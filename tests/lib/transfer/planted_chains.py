"""Planted models whose tasks use chains of heads: the same ones in other places."""

from dataclasses import dataclass

import numpy as np
import torch

from circuit_transfer.embedded.planted.relays import plant_linear
from circuit_transfer.embedded.planted.wires import Wires
from circuit_transfer.generators.planted import EARLY, LATE, LETTERS
from circuit_transfer.models.edges import KV_HEAD, config_graph
from circuit_transfer.prompts.batches import PairBatch

TOKENS = {word: index for index, word in enumerate((*LETTERS, EARLY, LATE))}
CHAINS, EFFECT = 4, 2.0
# The chains that a task uses, by its name; every chain is in one of each half.
TRAINED = {"01": (0, 1), "12": (1, 2), "23": (2, 3), "03": (0, 3)}
UNSEEN = {"02": (0, 2), "13": (1, 3)}
TASKS = TRAINED | UNSEEN


@dataclass(frozen=True)
class Chains:
    """A model in which each of some chains of two heads reads a number of its own.

    A task's prompts end with a letter that has the numbers of two chains; on the
    corrupted ones it has none. So which writers and readers matter tells which chains
    are used, but not who reads whom: that is the chains' own.

    Attributes:
        model: the model.
        heads: of every chain, the first and the second head.
    """

    model: torch.nn.Module
    heads: list[tuple[str, str]]

    @property
    def graph(self):
        return config_graph(self.model.config, KV_HEAD)

    def edges(self, task):
        """Return the edges of a task's circuit, bool `(n_edges,)`."""
        kept = set()
        for chain in TASKS[task]:
            first, second = self.heads[chain]
            kept |= {f"input->{first}<v>", f"{first}->{second}<v>", f"{second}->logits"}
        return np.isin(self.graph.edge_names(), [*kept])


def plant_chains(layers, heads, places, seed):
    """Plant the chains in two layers; all other heads and MLPs write what is not read.

    The heads of the last layer are left out: their wires carry the chains' numbers.

    Args:
        layers: number of layers.
        heads: heads per layer.
        places: the two layers.
        seed: which heads are the chains'.
    """
    random, order = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
    wires = Wires(layers, heads, TOKENS, random, constant=2e3)
    none = torch.zeros(len(LETTERS) // 2, dtype=torch.float64)
    wires.plant_input(none, none)
    graph = wires.graph
    chosen = [order.permutation(heads)[:CHAINS] for _ in places]
    names = [
        [f"a{layer}.h{head}" for head in own]
        for layer, own in zip(places, chosen, strict=True)
    ]
    numbers = list(graph.head_writers(layers - 1))[:CHAINS]
    weights = np.zeros(graph.legal.shape)
    for number, first, second in zip(numbers, *names, strict=True):
        weights[number, graph.readers.index(f"{first}<v>")] = 1
        writers = [graph.writers.index(each) for each in (first, second)]
        weights[writers[0], graph.readers.index(f"{second}<v>")] = 1
        weights[writers[1], -1] = EFFECT
    # Decoys read the chains, but nothing reads them.
    for place, reader in enumerate(graph.readers[:-1]):
        layer = int(reader[1 : reader.find(".")] if "." in reader else reader[1:])
        free = not weights[:, place].any() and layer < layers - 1
        if free and not reader.endswith(("<q>", "<k>")):
            noise = order.normal(size=len(weights)) * graph.legal[:, place]
            weights[:, place] = noise
    plant_linear(wires, weights)
    model = wires.model
    with torch.no_grad():
        embedding = model.get_input_embeddings().weight
        for letter, used in zip(LETTERS, TASKS.values(), strict=False):
            direction = wires.wires[:, [numbers[chain] for chain in used]].sum(1)
            embedding[TOKENS[letter]] += direction
    model = model.float().eval().requires_grad_(False)
    return Chains(model, [*zip(*names, strict=True)])


def chain_batch(task):
    """Return two pairs of a task."""
    letter, blank = LETTERS[[*TASKS].index(task)], LETTERS[len(TASKS)]
    starts = [TOKENS[blank], TOKENS[LETTERS[len(TASKS) + 1]]]
    clean, corrupted = (
        torch.tensor([[start, TOKENS[last]] for start in starts])
        for last in (letter, blank)
    )
    answers = (torch.full((2, 1), TOKENS[each]) for each in (EARLY, LATE))
    return PairBatch(clean, corrupted, *answers)
