import pytest
import reference
import torch
from reference_masks import reference_logits

from circuit_transfer.circuits.masked_runs import masked_logits
from circuit_transfer.circuits.metrics import answer_divergence
from circuit_transfer.circuits.prepared import prepare
from circuit_transfer.circuits.runs import run_circuits
from circuit_transfer.interventions import answer_logits
from circuit_transfer.models.nodes import node_names
from circuit_transfer.prompts.batches import pair_batches

FAMILIES = ("llama", "qwen2", "gpt2")
INTERVENTIONS = ("circuit", "interpolation", "release")
NODES = node_names(2, 4)
N = len(NODES)


@pytest.fixture
def model(tiny_model):
    return tiny_model("llama").requires_grad_(False)


@pytest.fixture
def batches(tiny_pairs):
    return {
        task: pair_batches(tiny_pairs(4, seed=seed), 2)
        for seed, task in enumerate(("a", "b"))
    }


@pytest.fixture
def prepared(model, batches):
    return prepare(model, batches)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_binary_mask_in_training_is_the_circuit_of_the_evaluation(
    tiny_model, tiny_pairs, family
):
    model = tiny_model(family).requires_grad_(False)
    batches = pair_batches(tiny_pairs(4), 2)
    generator = torch.Generator().manual_seed(0)
    masks = torch.randint(0, 2, (3, N), generator=generator).float()
    masks = torch.cat([masks, torch.zeros(1, N), torch.ones(1, N)])
    evaluated = run_circuits(model, batches, masks)
    for circuit, mask in enumerate(masks):
        diffs, divergences = [], []
        for each in prepare(model, {"a": batches}):
            logits = masked_logits(model, each, mask, "circuit")
            diffs.append(each.batch.logit_diff(logits))
            divergences.append(answer_divergence(each.full, logits))
        assert torch.equal(torch.cat(diffs), evaluated.logit_diff[circuit])
        assert torch.equal(torch.cat(divergences), evaluated.kl[circuit])


@pytest.mark.parametrize("intervention", ["circuit", "interpolation"])
@pytest.mark.parametrize("ablation", ["zero", "mean"])
def test_training_ablates_as_the_evaluation_does(
    tiny_model, tiny_pairs, ablation, intervention
):
    model = tiny_model("llama").requires_grad_(False)
    batches = pair_batches(tiny_pairs(4), 2)
    mask = torch.tensor([0.0, 0.7, 1.0, 0.2, 0.5] * 2)
    # A node's mean is over all examples and positions of all batches.
    clean = [reference.run(model, batch.clean)[1] for batch in batches]
    count = sum(batch.clean.numel() for batch in batches)
    for each, own in zip(prepare(model, {"a": batches}, ablation), clean, strict=True):
        written = {
            node: sum(run[node].sum((0, 1)) for run in clean) / count for node in NODES
        }
        if ablation == "zero":
            written = {node: torch.zeros_like(value) for node, value in written.items()}
        edit = reference.mixed(
            dict(zip(NODES, mask.double(), strict=True)),
            {node: value.expand_as(own[node]) for node, value in written.items()},
            *([own] if intervention == "interpolation" else []),
        )
        expected = reference.run(model, each.batch.clean, edit=edit)[0][:, -1]
        found = masked_logits(model, each, mask, intervention)
        torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("intervention", INTERVENTIONS)
@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_masked_logits_follow_the_definition(
    model, prepared, batches, intervention, value
):
    mask = torch.full((N,), value)
    mask[::3] = 1 - value
    for constant in (mask, torch.full((N,), value)):
        for each, batch in zip(prepared, sum(batches.values(), []), strict=True):
            found = masked_logits(model, each, constant, intervention)
            expected = reference_logits(model, batch, constant, intervention)
            torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("intervention", INTERVENTIONS)
def test_a_mask_of_ones_is_clean_and_of_zeros_corrupted(model, prepared, intervention):
    for each in prepared:
        ones = masked_logits(model, each, torch.ones(N), intervention)
        zeros = masked_logits(model, each, torch.zeros(N), intervention)
        batch = each.batch
        corrupted = answer_logits(model, batch.corrupted, after=batch.prefix)
        torch.testing.assert_close(ones, each.full, rtol=0, atol=1e-5)
        torch.testing.assert_close(zeros, corrupted, rtol=0, atol=1e-5)


def test_an_unknown_intervention_is_named(model, prepared):
    with pytest.raises(ValueError, match="'noise' is not one of circuit, interp"):
        masked_logits(model, prepared[0], torch.ones(N), "noise")
