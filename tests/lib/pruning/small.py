"""A small model with pairs of which circuits are learned, and planted ones."""

import numpy as np
import torch

from circuit_transfer.embedded.planted.constructions import plant
from circuit_transfer.embedded.planted.settings import GENERATORS
from circuit_transfer.generators import generate_prompts
from circuit_transfer.generators.planted import EARLY, LATE, LETTERS
from circuit_transfer.models.edges import KV_HEAD, config_graph
from circuit_transfer.prompts.batches import PairBatch

TOKENS = {word: index for index, word in enumerate((*LETTERS, EARLY, LATE))}
SIZES = (0.3, 0.15)


def section(method, sizes=SIZES, objective="kl", **own):
    """Return the section `pruning` of a configuration, of few and large steps."""
    return {"sizes": list(sizes), "objective": objective, method: own}


def planted(entry, kind, pairs=48, batch_size=8):
    """Return a planted model, batches of its pairs, its graph, and the true edges."""
    made = plant(entry, TOKENS)
    generator = GENERATORS[entry["construction"]]
    frame = generate_prompts(
        generator, None, "train", pairs, seed=0, counterfactual=kind
    )

    def ids(texts):
        return torch.tensor([[TOKENS[word] for word in text.split()] for text in texts])

    batches = [
        PairBatch(
            ids(rows["clean"]),
            ids(rows["corrupted"]),
            ids(rows["answers"].list.first()),
            ids(rows["wrong_answers"].list.first()),
        )
        for rows in frame.iter_slices(batch_size)
    ]
    graph = config_graph(made.model.config, KV_HEAD)
    true = made.circuits[kind or next(iter(made.circuits))][KV_HEAD]
    truth = np.array([name in true for name in graph.edge_names()])
    return made.model.requires_grad_(False), batches, graph, truth
