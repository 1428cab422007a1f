import numpy as np
import polars as pl
import pytest
import torch

from circuit_transfer.interventions import run_captured
from circuit_transfer.models.architectures import node_sites
from circuit_transfer.prompts.batches import pair_batches
from circuit_transfer.transfer.cka import compare_nodes, node_outputs, node_similarity
from circuit_transfer.transfer.shared_prompts import shared_batches


def plain_cka(x, y):
    """Linear CKA by the similarities of samples, as it is usually written."""
    centring = np.eye(len(x)) - 1 / len(x)
    k, m = (centring @ each @ each.T @ centring for each in (x, y))
    return np.trace(k @ m) / np.sqrt(np.trace(k @ k) * np.trace(m @ m))


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def centred(outputs):
    return outputs - outputs.mean(0)


def test_similarity_is_linear_cka():
    source = [draw(20, 3), draw(20, 5, seed=1)]
    target = [draw(20, 4, seed=2), source[1] @ draw(5, 5, seed=3), source[0]]
    found = node_similarity(
        *([centred(x) for x in nodes] for nodes in (source, target))
    )
    expected = [[plain_cka(x.numpy(), y.numpy()) for y in target] for x in source]
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert found[0, 2] == pytest.approx(1)
    assert found.dtype == np.float32


def test_rotation_and_scale_of_the_outputs_do_not_matter():
    outputs = centred(draw(20, 4))
    rotation = torch.linalg.qr(draw(4, 4, seed=1)).Q
    assert node_similarity([outputs], [3 * outputs @ rotation]) == pytest.approx(1)


def test_a_node_that_always_writes_the_same_is_like_no_other():
    assert node_similarity([torch.zeros(9, 2)], [draw(9, 2)]).tolist() == [[0]]


def test_other_samples_are_an_error():
    with pytest.raises(ValueError, match="expected outputs on the same samples"):
        node_similarity([draw(9, 2)], [draw(8, 2)])


@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen2"])
def test_products_of_outputs_are_those_in_the_residual_stream(
    tiny_model, tiny_pairs, family
):
    model = tiny_model(family).requires_grad_(False)
    ids = pair_batches(tiny_pairs(8)[::2], 8)[0].clean
    found = node_outputs(model, [ids], slice(None))
    _, activations = run_captured(model, ids)
    expected = []
    for (module, at_input, heads), each in zip(
        node_sites(model), activations, strict=True
    ):
        for head in range(heads):
            alone = torch.zeros_like(each)
            alone[:, :, head] = each[:, :, head]
            output = each[:, :, head]
            if at_input:
                # What the projection makes of this head alone, without its bias.
                flat = alone.flatten(-2)
                output = module(flat) - module(torch.zeros_like(flat))
            expected.append(centred(output).flatten(0, 1))
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        products = other @ other.T
        torch.testing.assert_close(
            one @ one.T, products, rtol=0, atol=1e-4 * products.abs().max()
        )


def test_a_model_s_nodes_are_most_like_themselves(tiny_model, tiny_pairs):
    model = tiny_model("llama").requires_grad_(False)
    pairs = tiny_pairs(9)
    found = compare_nodes(model, model, shared_batches(pairs, pairs, 4, "cpu"))
    np.testing.assert_allclose(np.diag(found), 1, rtol=1e-4)
    np.testing.assert_allclose(found, found.T, atol=1e-5)


def test_prompts_of_other_lengths_are_compared_at_the_answer(tiny_model, tiny_pairs):
    model = tiny_model("llama").requires_grad_(False)
    source = tiny_pairs(6)[::2]
    longer = pl.concat_list(pl.lit(7, pl.Int64), "clean_ids")
    target = source.with_columns(clean_ids=longer, corrupted_ids=longer)
    (batch,) = shared_batches(source, target, 8, "cpu")
    found = compare_nodes(model, model, [batch])
    last = [node_outputs(model, [each.clean], slice(-1, None)) for each in batch]
    np.testing.assert_allclose(found, node_similarity(*last), rtol=1e-5)
