import pytest
import reference
import torch
from two_models import FAMILIES

from circuit_transfer.interventions import (
    captured,
    captured_stream,
)
from circuit_transfer.models.nodes import node_names
from circuit_transfer.prompts.batches import pair_batches
from circuit_transfer.transfer.changes import change_scores, run_changes


@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen2"])
def test_the_stream_is_the_embedding_and_all_that_was_written(
    tiny_model, tiny_pairs, family
):
    model = tiny_model(family).requires_grad_(False)
    (batch,) = pair_batches(tiny_pairs(2)[::2], 2)
    heads = model.config.num_attention_heads
    streams = []
    for ids in (batch.clean, batch.corrupted):
        _, outputs = reference.run(model, ids)
        stream = reference.embed(model, ids)
        points = []
        for names in zip(*[iter(node_names(2, heads))] * (heads + 1), strict=True):
            for written in (names[:-1], names[-1:]):
                stream = stream + sum(outputs[name] for name in written)
                points.append(stream)
        streams.append(torch.stack(points))
    expected = streams[0] - streams[1]
    found = run_changes(model, batch).stream.double()
    torch.testing.assert_close(
        found, expected, rtol=0, atol=1e-5 * expected.abs().max()
    )


@pytest.mark.parametrize(("family", "settings"), FAMILIES)
def test_an_mlp_s_output_is_all_that_comes_between_its_points(
    tiny_model, tiny_pairs, family, settings
):
    model = tiny_model(family, **settings).requires_grad_(False)
    ids = pair_batches(tiny_pairs(2), 2)[0].clean
    with captured(model) as sites, captured_stream(model) as stream:
        hidden = model(ids, output_hidden_states=True).hidden_states
    for layer, (heads, mlp) in enumerate(zip(stream[::2], stream[1::2], strict=True)):
        written = sites[2 * layer + 1][:, :, 0]
        if family == "gpt_neox" and not settings:
            # Heads and MLP write at once.
            assert torch.equal(heads, mlp)
        else:
            torch.testing.assert_close(mlp - heads, written, rtol=1e-4, atol=1e-5)
        if layer + 1 < len(stream) // 2:
            torch.testing.assert_close(mlp, hidden[layer + 1])


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_change_scores_are_what_nodes_write_otherwise(tiny_model, tiny_pairs, family):
    model = tiny_model(family).requires_grad_(False)
    batches = pair_batches(tiny_pairs(4), 2)
    found = change_scores(model, [run_changes(model, batch) for batch in batches])
    rows = []
    for batch in batches:
        (_, clean), (_, corrupted) = (
            reference.run(model, ids) for ids in (batch.clean, batch.corrupted)
        )
        squares = [(clean[x] - corrupted[x]).square().sum((1, 2)) for x in clean]
        rows.append(torch.stack(squares, dim=1))
        names = tuple(clean)
    assert sorted(names) == sorted(node_names(2, model.config.num_attention_heads))
    order = [names.index(x) for x in node_names(2, model.config.num_attention_heads)]
    expected = torch.cat(rows).mean(0)[order]
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-6)
