import numpy as np
import pytest
import reference
import torch
from two_models import start_late

from circuit_transfer.models.nodes import node_names
from circuit_transfer.prompts.batches import pair_batches
from circuit_transfer.transfer.changes import run_both
from circuit_transfer.transfer.shared_prompts import shorten_both
from circuit_transfer.transfer.stitching import stitched_alignment


def plain_stitched(models, batches, ridge=1.0, node_ridge=0.01):
    """The definition, node by node in float64, from the reference's outputs."""
    streams, writes = [], []
    for model in models:
        layers = model.config.num_hidden_layers
        heads = model.config.num_attention_heads
        names = node_names(layers, heads)
        stream, written = [], {name: [] for name in names}
        for batch in batches:
            (_, clean), (_, corrupted) = (
                reference.run(model, ids) for ids in (batch.clean, batch.corrupted)
            )
            change = {name: clean[name] - corrupted[name] for name in names}
            at = reference.embed(model, batch.clean)
            at = at - reference.embed(model, batch.corrupted)
            points = []
            for layer in range(layers):
                at = at + sum(change[f"a{layer}.h{head}"] for head in range(heads))
                points.append(at)
                at = at + change[f"m{layer}"]
                points.append(at)
            stream.append(torch.stack(points).flatten(1, 2))
            for name in names:
                written[name].append(change[name].flatten(0, 1))
        streams.append(torch.cat(stream, dim=1).numpy())
        writes.append({x: torch.cat(rows).numpy() for x, rows in written.items()})

    def point(name):
        return 2 * int(name.split(".")[0][1:]) + name.startswith("m")

    matrix = np.zeros((len(writes[0]), len(writes[1])))
    for j, (target_node, target_change) in enumerate(writes[1].items()):
        x = streams[1][point(target_node)]
        strength = ridge * np.square(x).sum() / x.shape[1]
        for i, (source_node, source_change) in enumerate(writes[0].items()):
            y = streams[0][point(source_node)]
            stitch = np.linalg.solve(x.T @ x + strength * np.eye(x.shape[1]), x.T @ y)
            matrix[i, j] = np.sum(source_change * (target_change @ stitch))
    sizes = np.array([np.square(each).sum() for each in writes[0].values()])
    return matrix / (sizes + node_ridge * sizes.mean())[:, None]


@pytest.mark.parametrize("examples", [3, 12])
def test_a_stitched_alignment_follows_the_definition(models, tiny_pairs, examples):
    # Fewer and more tokens than the stream is wide.
    batches = start_late(pair_batches(tiny_pairs(examples), 4))
    prompts = shorten_both(*models, [(batch, batch) for batch in batches])
    found = stitched_alignment(*models, *run_both(*models, prompts))
    expected = plain_stitched(models, batches)
    np.testing.assert_allclose(
        found, expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max()
    )


def test_a_model_stitched_to_itself_keeps_every_node(models, tiny_pairs):
    model = models[1]
    batches = pair_batches(tiny_pairs(40), 20)
    changes = run_both(model, model, [(batch, batch) for batch in batches])
    found = stitched_alignment(model, model, *changes).numpy()
    order = np.argsort(-found, axis=1)[:, 0]
    assert (order == np.arange(len(found))).mean() > 0.7
