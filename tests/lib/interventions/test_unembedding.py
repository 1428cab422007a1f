"""Logits of models in half precision: exact where their own logits are rounded."""

import copy

import pytest
import torch

from circuit_transfer.interventions import answer_logits, captured
from circuit_transfer.interventions import unembedding as module
from circuit_transfer.models.architectures import ARCHITECTURES
from circuit_transfer.models.loading import load_model

IDS = torch.tensor([[5, 9, 12, 7, 30], [6, 8, 8, 25, 30]])
HALVES = [torch.bfloat16, torch.float16]
# Logits of trained models are of this size, and multiples of 1/8 in bfloat16.
LARGE = 20


@pytest.fixture(params=sorted(ARCHITECTURES))
def family(request):
    return request.param


@pytest.fixture(params=HALVES, ids=str)
def model(tiny_model, family, request):
    """A model in half precision, with logits as large as its soft cap lets them be."""
    caps = {"final_logit_softcapping": 1.5 * LARGE} if "gemma" in family else {}
    model = tiny_model(family, dtype=request.param, **caps).requires_grad_(False)
    plain = model(IDS).logits[:, -1].abs().max()
    if family in ("gemma2", "gemma3_text"):
        plain = plain / 3
    weight = torch.nn.Parameter(model.get_output_embeddings().weight * (LARGE / plain))
    model.get_output_embeddings().weight = weight.requires_grad_(False)
    return model


def hidden_states(model, ids):
    """Return what the unembedding of a plain pass reads at the last position."""
    found = []
    hook = model.get_output_embeddings().register_forward_pre_hook(
        lambda _module, inputs: found.append(inputs[0][:, -1])
    )
    model(ids)
    hook.remove()
    return found[0]


def unembedded(model, hidden):
    """Return the logits of hidden states in float64, by hand."""
    logits = hidden.double() @ model.get_output_embeddings().weight.double().T
    cap = getattr(model.config, "final_logit_softcapping", None)
    return cap * torch.tanh(logits / cap) if cap else logits


def differences(logits):
    """Return the differences of all pairs of logits."""
    return (logits[:, :, None] - logits[:, None]).double()


def test_differences_of_logits_are_those_of_exact_ones(model):
    exact = differences(unembedded(model, hidden_states(model, IDS)))
    own = differences(model(IDS).logits[:, -1])
    logits = answer_logits(model, IDS)
    assert logits.dtype == torch.float32
    assert logits.abs().max() > LARGE / 2
    error = (differences(logits) - exact).abs().max()
    assert error < 1e-4 < 0.01 < (own - exact).abs().max()


def test_gradients_are_those_of_exact_logits(model):
    (dtype,) = {each.dtype for each in model.parameters()}
    head = model.get_output_embeddings()
    start = model.get_input_embeddings()(IDS).requires_grad_()
    with captured(model) as sites:
        logits = answer_logits(model, embeddings=start)
    found = torch.autograd.grad((logits[:, 7] - logits[:, 9]).sum(), sites)
    # The same, but the head is a layer of float64 of its own.
    exact = copy.deepcopy(head).double()
    head.forward = lambda hidden: exact(hidden.double())
    with captured(model) as sites:
        logits = model(inputs_embeds=start).logits[:, -1]
    expected = torch.autograd.grad((logits[:, 7] - logits[:, 9]).sum(), sites)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == dtype
        scale = other.abs().max().double()
        # Both round the gradient of the hidden state to half precision.
        assert (one.double() - other.double()).abs().max() <= 0.02 * scale


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_model_in_full_precision_stays_as_it_is(tiny_model, family, dtype):
    model = tiny_model(family, dtype=dtype)
    own = model(input_ids=IDS, logits_to_keep=1, use_cache=False).logits[:, -1]
    assert torch.equal(answer_logits(model, IDS), own.float())


def test_the_vocabulary_is_unembedded_in_parts(tiny_model, monkeypatch):
    model = tiny_model("llama", dtype=torch.bfloat16).requires_grad_(False)
    start = model.get_input_embeddings()(IDS).requires_grad_()

    def run():
        logits = answer_logits(model, embeddings=start)
        return logits, torch.autograd.grad(logits.square().sum(), start)[0]

    whole = run()
    monkeypatch.setattr(module, "CHUNK", 7 * model.config.hidden_size)
    for one, other in zip(run(), whole, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-2, atol=1e-5)


def test_no_copy_of_the_matrix_is_kept_for_the_backward_pass(tiny_model):
    model = tiny_model("llama", dtype=torch.bfloat16).requires_grad_(False)
    start = model.get_input_embeddings()(IDS).requires_grad_()
    size = model.get_output_embeddings().weight.numel()
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor
    ):
        answer_logits(model, embeddings=start)
    of_matrix = [each for each in kept if each.numel() == size]
    assert [each.dtype for each in of_matrix] == [torch.bfloat16]


def test_an_unembedding_on_disk_is_read_for_the_pass(tiny_model, tiny_checkpoint):
    folder = tiny_checkpoint("llama", dtype=torch.bfloat16)
    whole = load_model(folder, dtype="bfloat16", device="cpu")
    spread = {"model": "cpu", "lm_head": "disk"}
    offloaded = load_model(folder, dtype="bfloat16", device_map=spread)
    assert offloaded.get_output_embeddings().weight.is_meta
    assert torch.equal(answer_logits(offloaded, IDS), answer_logits(whole, IDS))
    assert offloaded.get_output_embeddings().weight.is_meta
