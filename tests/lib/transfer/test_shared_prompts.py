import polars as pl
import pytest
import torch
from rope_types import settings
from two_models import FAMILIES

from circuit_transfer.prompts.batches import fitting_batch_size, pair_batches
from circuit_transfer.transfer.carried_gradients import (
    node_products,
    stream_gradients,
)
from circuit_transfer.transfer.changes import run_changes
from circuit_transfer.transfer.shared_prompts import (
    shared_batches,
    shorten_both,
    size_for_both,
)


@pytest.mark.parametrize(("family", "settings"), FAMILIES)
def test_shortened_prompts_are_the_ends_of_whole_ones(
    tiny_model, tiny_pairs, family, settings
):
    model = tiny_model(family, **settings).requires_grad_(False)
    other = tiny_model("llama", layers=1, seed=3).requires_grad_(False)
    batches = pair_batches(tiny_pairs(4, shared=3), 4)
    prompts = shorten_both(other, model, [(batch, batch) for batch in batches])
    whole, rest = batches[1], prompts[1][1]
    assert rest.clean.shape == (2, 4)
    assert prompts[0] == (batches[0], batches[0])
    near = {"rtol": 0, "atol": 1e-5}
    expected, found = run_changes(model, whole), run_changes(model, rest)
    torch.testing.assert_close(found.stream, expected.stream[:, :, 3:], **near)
    for site, one in zip(found.sites, expected.sites, strict=True):
        torch.testing.assert_close(site, one[:, 3:], **near)
    for steps in (1, 3):
        expected = stream_gradients(model, whole, steps)[:, :, 3:]
        gradients = stream_gradients(model, rest, steps)
        size = expected.abs().max().item()
        torch.testing.assert_close(gradients, expected, rtol=0, atol=1e-5 * size)
    (products,) = node_products(model, rest, found.sites, [gradients])
    padded = torch.nn.functional.pad(gradients, (0, 0, 3, 0))
    sites = run_changes(model, whole).sites
    (expected,) = node_products(model, whole, sites, [padded])
    size = expected.abs().max().item()
    torch.testing.assert_close(products, expected, rtol=0, atol=1e-5 * size)


def test_a_batch_for_both_models_is_one_that_both_can_run(models, tiny_pairs):
    pairs = tiny_pairs(12), tiny_pairs(8)
    alone = [fitting_batch_size(*each) for each in zip(models, pairs, strict=True)]
    assert alone == [6, 4]
    assert size_for_both(models, pairs, "auto") == 4
    assert size_for_both(models, pairs, 5) == 5


def test_both_models_leave_out_as_many_tokens(models, tiny_pairs):
    (one,) = pair_batches(tiny_pairs(4, shared=4)[1::2], 4)
    (other,) = pair_batches(tiny_pairs(4, shared=2)[1::2], 4)
    for prompts in ((one, other), (other, one)):
        (rest,) = shorten_both(*models, [prompts])
        for before, after in zip(prompts, rest, strict=True):
            assert torch.equal(after.clean, before.clean[:, 2:])
            assert torch.equal(after.corrupted, before.corrupted[:, 2:])


@pytest.mark.parametrize("first", [True, False])
def test_both_models_run_whole_prompts_if_one_must(tiny_model, tiny_pairs, first):
    ordinary = tiny_model("llama").requires_grad_(False)
    other = tiny_model("phi3", **settings("phi3", "longrope")).requires_grad_(False)
    models = (other, ordinary) if first else (ordinary, other)
    batches = pair_batches(tiny_pairs(4, shared=3), 4)
    prompts = [(batch, batch) for batch in batches]
    assert shorten_both(*models, prompts) == prompts
    (rest,) = shorten_both(ordinary, ordinary, prompts[1:])
    assert rest[0].clean.shape == (2, 4)


def test_batches_hold_the_prompts_that_both_have(tiny_pairs):
    source, target = tiny_pairs(9), tiny_pairs(9)
    target = target.filter(pl.col("row") != 4).sample(fraction=1, shuffle=True, seed=0)
    batches = shared_batches(source[1:], target, 2, "cpu")
    rows = sum(len(one) for one, _ in batches)
    assert rows == 7
    for one, other in batches:
        assert torch.equal(one.clean, other.clean)
