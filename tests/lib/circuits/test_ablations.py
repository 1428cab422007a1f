"""Every ablation against plain forward passes in which nodes write something else."""

import polars as pl
import pytest
import reference
import torch

from circuit_transfer.circuits.ablations import ABLATIONS, ablation_of, mean_activations
from circuit_transfer.circuits.runs import run_circuits
from circuit_transfer.interventions import mixing
from circuit_transfer.models.architectures import ARCHITECTURES, node_sites
from circuit_transfer.models.nodes import node_names
from circuit_transfer.prompts.batches import pair_batches

FAMILIES = sorted(ARCHITECTURES)
NODES = node_names(2, 4)
N = len(NODES)


def plain_zero_logits(model, ids):
    """Return the answer logits where hooks of this test's own zero every site."""
    handles = []
    for module, at_input, _ in node_sites(model):
        if at_input:
            hook = module.register_forward_pre_hook(lambda _, x: (x[0] * 0, *x[1:]))
        else:
            hook = module.register_forward_hook(lambda _, _x, y: y * 0)
        handles.append(hook)
    with torch.no_grad():
        logits = model(ids).logits[:, -1]
    for handle in handles:
        handle.remove()
    return logits


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_is_written_under_zero(tiny_model, tiny_pairs, family):
    model = tiny_model(family)
    batches = pair_batches(tiny_pairs(6), 2)
    metrics = run_circuits(model, batches, torch.zeros(1, N), ablation="zero")
    plain = [
        batch.logit_diff(plain_zero_logits(model, batch.clean)) for batch in batches
    ]
    torch.testing.assert_close(
        metrics.logit_diff[0], torch.cat(plain), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("ablation", ABLATIONS)
@pytest.mark.parametrize("family", FAMILIES)
def test_circuits_equal_plain_replacing(tiny_model, tiny_pairs, family, ablation):
    model, pairs = tiny_model(family), tiny_pairs(4)
    generator = torch.Generator().manual_seed(0)
    masks = torch.randint(0, 2, (3, N), generator=generator).float()
    masks = torch.cat([masks, torch.zeros(1, N)])
    alone = pair_batches(pairs, 1)
    found = run_circuits(model, pair_batches(pairs, 2), masks, ablation=ablation)
    for example, pair in enumerate(alone):
        outside = reference.ablated_outputs(model, alone, pair, ablation)
        for circuit, mask in enumerate(masks):
            left_out = {
                name: outside[name]
                for name, inside in zip(NODES, mask, strict=True)
                if not inside
            }
            edit = reference.replaced(left_out)
            logits, _ = reference.run(model, pair.clean, edit=edit)
            expected = reference.logit_diff(logits, pair.answers, pair.wrong_answers)
            assert found.logit_diff[circuit, example].item() == pytest.approx(
                expected.item(), rel=1e-4, abs=1e-5
            )


@pytest.mark.parametrize("ablation", ABLATIONS)
def test_the_run_with_everything_ablated(tiny_model, tiny_pairs, ablation):
    model, pairs = tiny_model("gpt2"), tiny_pairs(4)
    if ablation != "counterfactual":
        # Another last token: the embeddings are those of the clean prompt.
        pairs = pairs.with_columns(pl.col("corrupted_ids").list.reverse())
    batches = pair_batches(pairs, 2)
    ablated = ablation_of(model, batches, ablation)
    empty = run_circuits(model, batches, torch.zeros(1, N), ablation=ablation)
    runs = [ablated.run(batch) for batch in batches]
    diffs = [b.logit_diff(run[0]) for b, run in zip(batches, runs, strict=True)]
    torch.testing.assert_close(torch.cat(diffs), empty.logit_diff[0])
    for batch, (_, writes) in zip(batches, runs, strict=True):
        alone = ablated.outputs(batch)
        assert all(map(torch.equal, writes, alone))
        assert [site.shape[-2] for site in alone] == [4, 1, 4, 1]


def test_the_mean_is_over_examples_and_positions(tiny_model, tiny_pairs):
    model = tiny_model("llama")
    pairs = tiny_pairs(5)
    means = [mean_activations(model, pair_batches(pairs, size)) for size in (1, 2, 5)]
    assert [tuple(site.shape) for site in means[0]] == [(1, 1, 4, 8), (1, 1, 1, 32)] * 2
    # Of the first MLP, straight from the module; prompts have 5 and 7 tokens.
    written = []
    hook = lambda _, _x, y: written.append(y[0])  # noqa: E731
    handle = model.model.layers[0].mlp.register_forward_hook(hook)
    for ids in pairs["clean_ids"].to_list():
        model(torch.tensor([ids]))
    handle.remove()
    expected = torch.cat(written).mean(0)
    for mean in means:
        torch.testing.assert_close(mean[1].flatten(), expected)


@pytest.mark.parametrize("ablation", ABLATIONS)
def test_a_half_precision_model_stays_one(tiny_model, tiny_pairs, ablation):
    model = tiny_model("llama", dtype=torch.bfloat16)
    (batch,) = pair_batches(tiny_pairs(1), 1)
    writes = ablation_of(model, [batch], ablation).outputs(batch)
    with mixing(model, torch.zeros(N), writes):
        assert model(batch.clean).logits.dtype == torch.bfloat16


def test_an_unknown_kind_is_named(tiny_model):
    message = "'noise' is not one of counterfactual, zero, mean"
    with pytest.raises(ValueError, match=message):
        ablation_of(tiny_model("llama", layers=1), [], "noise")
