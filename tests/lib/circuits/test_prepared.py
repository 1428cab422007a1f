import pytest
import torch

from circuit_transfer.circuits.masked_runs import masked_logits
from circuit_transfer.circuits.prepared import prepare
from circuit_transfer.prompts.batches import pair_batches

N = 10


@pytest.fixture
def model(tiny_model):
    return tiny_model("llama").requires_grad_(False)


def test_an_unknown_ablation_is_named(model, tiny_pairs):
    with pytest.raises(ValueError, match="ablation 'noise' is not one of"):
        prepare(model, {"a": pair_batches(tiny_pairs(2), 2)}, "noise")


def test_what_does_not_fit_is_on_the_host_or_run_again(model, tiny_pairs, caplog):
    batches = {"a": pair_batches(tiny_pairs(8), 2)}
    whole = prepare(model, batches)
    size = max(each.bytes() for each in whole)
    caplog.set_level("INFO")
    for here, on_host in ((0, 0), (0, 10 * size), (2 * size, 0), (size, size)):
        short = prepare(model, batches, budget=0)
        short.fill_cache(here, on_host)
        kept = (len(short._on_device), len(short._on_host))
        assert kept == (here // size, min(4 - here // size, on_host // size))
        for found, expected in zip(short, whole, strict=True):
            assert torch.equal(found.full, expected.full)
            assert torch.equal(found.empty, expected.empty)
            assert all(map(torch.equal, found.clean, expected.clean))
            assert all(map(torch.equal, found.corrupted, expected.corrupted))
            mask = torch.full((N,), 0.5)
            logits = (
                masked_logits(model, e, mask, "circuit") for e in (found, expected)
            )
            assert torch.equal(*logits)
    assert "2 of 4 prepared batches fit" in caplog.text


def test_what_a_step_will_run_is_known_before_it_is_prepared(model, tiny_pairs):
    batches = pair_batches(tiny_pairs(8), 2)
    for ablation in ("counterfactual", "zero"):
        prepared = prepare(model, {"a": batches}, ablation)
        for rest, each in zip(prepared.rests, prepared, strict=True):
            assert torch.equal(rest.clean, each.batch.clean)
            assert torch.equal(rest.corrupted, each.batch.corrupted)


def test_an_intervention_keeps_only_what_it_needs(model, tiny_pairs):
    batches = {"a": pair_batches(tiny_pairs(4), 2)}
    for each, all_of_it in zip(
        prepare(model, batches, intervention="circuit"),
        prepare(model, batches),
        strict=True,
    ):
        assert each.clean == []
        mask = torch.full((N,), 0.5)
        logits = (masked_logits(model, e, mask, "circuit") for e in (each, all_of_it))
        assert torch.equal(*logits)
    assert prepare(model, batches, intervention="release")[0].clean
