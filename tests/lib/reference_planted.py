"""Planted models on some prompts, and what the oracle of edges says of them."""

import numpy as np
import torch
from reference_edges import ablated_outputs, edge_scores, run_edges

from circuit_transfer.embedded.planted.constructions import plant
from circuit_transfer.embedded.planted.settings import GENERATORS
from circuit_transfer.generators import generate_prompts
from circuit_transfer.generators.planted import EARLY, LATE, LETTERS
from circuit_transfer.models.edges import QUERY_HEAD, config_graph
from circuit_transfer.prompts.batches import PairBatch

TOKENS = {word: index for index, word in enumerate((*LETTERS, EARLY, LATE))}
# Large, so that the norm is linear to 1e-7: what is left is the construction's own.
CONSTANT = 1e4


class Case:
    """A planted model on some prompts, run by the oracle with any edges of a graph."""

    def __init__(self, entry, count, kv=QUERY_HEAD, kinds=(None,)):
        entry = {"constant": CONSTANT} | entry
        self.planted = plant(entry, TOKENS)
        self.model, self.kv = self.planted.model, kv
        generator = GENERATORS[entry["construction"]]
        pairs = [
            row
            for kind in kinds
            for row in generate_prompts(
                generator, None, "train", count, seed=0, counterfactual=kind
            ).iter_rows(named=True)
        ]

        def ids(texts):
            return torch.tensor([[TOKENS[each] for each in x.split()] for x in texts])

        self.batch = PairBatch(
            ids(pair["clean"] for pair in pairs),
            ids(pair["corrupted"] for pair in pairs),
            ids(pair["answers"][0] for pair in pairs),
            ids(pair["wrong_answers"][0] for pair in pairs),
        )
        self.clean = self.batch.clean
        self.ablated = ablated_outputs(self.model, self.batch.corrupted)
        self.graph = config_graph(self.model.config, kv)
        self.names = self.graph.edge_names()

    def truth(self, kind):
        kept = set(self.planted.circuits[kind][self.kv])
        assert kept <= set(self.names)
        return np.array([name in kept for name in self.names])

    def run(self, edges):
        """Return the metric `(prompt,)` with these edges, one number for each."""
        mask = torch.from_numpy(self.graph.matrix(np.asarray(edges, float), 0.0))
        logits, _ = run_edges(self.model, self.clean, self.ablated, mask, self.kv)
        return self.batch.logit_diff(logits)

    def exact(self, chosen=None):
        """Return the drop of the metric by edge, `(edge, prompt)`."""
        ones = np.ones(len(self.names))
        whole = self.run(ones)
        chosen = range(len(ones)) if chosen is None else chosen
        return torch.stack(
            [whole - self.run(ones - np.eye(len(ones))[each]) for each in chosen]
        ).numpy()

    def gradients(self, steps=1):
        """Return EAP, or with several steps EAP-IG of the inputs, by edge."""
        places = np.arange(1, steps + 1) / steps
        scores = edge_scores(self.model, self.batch, self.kv, places)
        return self.graph.flat(scores.numpy()) / len(self.batch)
