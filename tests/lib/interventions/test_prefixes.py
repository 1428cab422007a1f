import copy
import logging

import pytest
import torch
from rope_types import VARIANTS, plain, settings

from circuit_transfer.interventions import (
    answer_logits,
    counting,
    reusable_prefix,
    run_prefix,
)
from circuit_transfer.prompts.batches import cacheable, pair_batches, shortened

SIZES = [(4, 2), (5, 3), (7, 3), (7, 6), (12, 4), (12, 9)]
IDS = torch.randint(4, 44, (2, 12), generator=torch.Generator().manual_seed(0))


@pytest.fixture(params=VARIANTS, ids="-".join)
def model(tiny_model, request):
    family, rope = request.param
    return tiny_model(family, **settings(family, rope)).requires_grad_(False)


@pytest.mark.parametrize(("family", "rope"), VARIANTS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_prefix_may_be_reused_if_it_is_that_of_the_whole_prompt(
    tiny_model, family, rope, dtype
):
    made = settings(family, rope)
    exact = tiny_model(family, dtype=torch.float64, **made).requires_grad_(False)
    model = tiny_model(family, dtype=dtype, **made).requires_grad_(False)
    for positions, length in SIZES:
        ids = IDS[:1, :positions]
        whole = plain(exact, ids, output_hidden_states=True).hidden_states
        alone = plain(exact, ids[:, :length], output_hidden_states=True).hidden_states
        same = all(
            torch.allclose(one[:, :length], other, rtol=0, atol=1e-5)
            for one, other in zip(whole, alone, strict=True)
        )
        assert reusable_prefix(model, positions, length) == (length if same else 0)


def test_only_angles_that_depend_on_the_length_forbid_a_prefix(model, request):
    rope = request.node.callspec.id.rsplit("-", 1)[1]
    found = [reusable_prefix(model, *size) for size in SIZES]
    expected = {
        # Longer prompts have other angles: all others, or one other set.
        "dynamic": [2, 3, 0, 0, 0, 0],
        "longrope": [2, 3, 0, 6, 0, 9],
    }
    assert found == expected.get(rope, [2, 3, 3, 6, 4, 9])


@pytest.mark.parametrize("lengths", [(5, 6, 7, 12), (12, 7, 6, 5), (7, 12, 6, 7)])
def test_no_prompt_changes_the_logits_of_a_later_one(model, lengths):
    fresh = {length: plain(model, IDS[:, :length]) for length in lengths}
    for length in lengths:
        ids = IDS[:, :length]
        expected = fresh[length].logits[:, -1]
        torch.testing.assert_close(answer_logits(model, ids), expected)
        run_prefix(model, IDS)
        embeddings = model.get_input_embeddings()(ids)
        found = answer_logits(model, embeddings=embeddings)
        torch.testing.assert_close(found, expected)


def test_the_rest_after_a_prefix_that_may_be_reused_is_exact(model):
    unused = copy.deepcopy(model)
    for positions, length in SIZES:
        if not reusable_prefix(model, positions, length):
            continue
        ids = IDS[:, :positions]
        expected = plain(unused, ids).logits[:, -1]
        prefix = run_prefix(model, ids[:, :length])
        answer_logits(model, IDS)
        rest = ids[:, length:].repeat(3, 1)
        found = answer_logits(model, rest, after=prefix)
        torch.testing.assert_close(found, expected.repeat(3, 1))


def test_tokens_of_a_prefix_run_once_unless_the_angles_forbid_it(
    model, tiny_pairs, request
):
    batch = pair_batches(tiny_pairs(4, shared=3), 2)[1]
    length = cacheable(model, batch, batch.shared())
    with counting(model) as passes:
        rest = shortened(model, batch, length)
        for _ in range(4):
            answer_logits(model, rest.clean, after=rest.prefix)
    whole = request.node.callspec.id.endswith(("-dynamic", "-longrope"))
    assert passes.summary()["tokens"] == 2 * (4 * 7 if whole else 3 + 4 * 4)


def test_trials_run_on_no_weights_of_the_model_and_change_no_random_number(model):
    state = torch.get_rng_state()
    with counting(model) as passes:
        reusable_prefix(model, 7, 3)
    assert passes.forwards == 0
    assert torch.equal(torch.get_rng_state(), state)


def test_trials_in_inference_mode_serve_later_ones(tiny_model):
    model = tiny_model("phi3", **settings("phi3", "longrope")).requires_grad_(False)
    with torch.inference_mode():
        assert reusable_prefix(model, 7, 3) == 0
    assert reusable_prefix(model, 5, 3) == 3


def test_that_whole_prompts_run_is_logged_once(tiny_model, caplog):
    caplog.set_level(logging.INFO)
    model = tiny_model("llama", **settings("llama", "dynamic"))
    for size in (*SIZES, *SIZES):
        reusable_prefix(model, *size)
    (message,) = [each.getMessage() for each in caplog.records]
    assert "llama runs whole prompts: of 7 tokens, the first 3" in message
    ordinary = tiny_model("llama")
    for size in SIZES:
        reusable_prefix(ordinary, *size)
    assert len(caplog.records) == 1
