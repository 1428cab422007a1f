"""Scores and circuits of every family and rope type beside plain transformers passes.

A plain pass runs one whole prompt, in a copy of the model that has run nothing.
"""

import copy

import polars as pl
import pytest
import torch
from rope_types import VARIANTS, settings
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, Phi3Config

from circuit_transfer.circuits.attribution import attribute
from circuit_transfer.circuits.runs import run_circuits
from circuit_transfer.interventions import captured, mixing
from circuit_transfer.prompts.batches import pair_batches

# Nothing, everything, and three circuits between.
MASKS = torch.tensor(
    [[0] * 10, [1] * 10, [1, 0, 0, 1, 1, 0, 1, 1, 0, 1], [1] * 9 + [0], [1] + [0] * 9]
).float()


def plain_run(model, ids, context=None):
    """Return the logits at the last position, with the outputs of all nodes."""
    fresh = copy.deepcopy(model)
    with captured(fresh) as sites:
        if context is None:
            logits = fresh(input_ids=ids).logits
        else:
            with mixing(fresh, *context):
                logits = fresh(input_ids=ids).logits
    return logits[:, -1], sites


def plain_scores(model, pair):
    """Score the nodes of one pair by `nap`, and return the effect."""
    empty, there = plain_run(model, pair.corrupted)
    fresh = copy.deepcopy(model)
    embeddings = fresh.get_input_embeddings()(pair.clean).requires_grad_()
    with captured(fresh) as here:
        full = fresh(inputs_embeds=embeddings).logits[:, -1]
    gradients = torch.autograd.grad(pair.logit_diff(full).sum(), here)
    scores = [
        ((one - other) * gradient).sum((1, 3))[0]
        for one, other, gradient in zip(here, there, gradients, strict=True)
    ]
    return torch.cat(scores), pair.logit_diff(full) - pair.logit_diff(empty)


@pytest.mark.parametrize(("family", "rope"), VARIANTS)
def test_scores_and_circuits_equal_plain_passes_of_whole_prompts(
    tiny_model, tiny_pairs, family, rope
):
    unused = tiny_model(family, **settings(family, rope)).requires_grad_(False)
    model = copy.deepcopy(unused)
    batches = pair_batches(tiny_pairs(6, shared=3), 2)
    # Short prompts, long ones, short ones again.
    for order in ([0, 2, 1, 3], [2, 0, 3, 1]):
        some = [batches[index] for index in order]
        pairs = [one for batch in some for one in alone(batch)]
        found = attribute(model, some, method="nap")
        scores, effects = zip(
            *(plain_scores(unused, pair) for pair in pairs), strict=True
        )
        assert_near(found.nodes, torch.stack(scores))
        assert_near(found.effect, torch.cat(effects))
        metrics = run_circuits(model, some, MASKS, rows=4)
        expected = torch.stack([plain_diffs(unused, pair) for pair in pairs], dim=1)
        assert_near(metrics.logit_diff, expected)


def plain_diffs(model, pair):
    _, there = plain_run(model, pair.corrupted)
    diffs = [
        pair.logit_diff(plain_run(model, pair.clean, (mask, there))[0])
        for mask in MASKS
    ]
    return torch.cat(diffs)


def alone(batch):
    """Split a batch into pairs."""
    for row in range(len(batch)):
        parts = {
            name: getattr(batch, name)[row : row + 1]
            for name in ("clean", "corrupted", "answers", "wrong_answers")
        }
        yield type(batch)(**parts)


def assert_near(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


NAMES = [
    *("Anna", "Ben", "Clara", "Daniel", "Emma"),
    *("Felix", "Grace", "Henry", "Iris", "James"),
    *("Karen", "Liam", "Mona", "Nils", "Olga"),
    *("Paul", "Quinn", "Rosa", "Sven", "Tina"),
]


def given(examples, prefix=""):
    """Yield clean and corrupted prompts of two names, with right and wrong answer."""
    for row in range(examples):
        one, other = NAMES[row % 20], NAMES[(7 * row + 1) % 20]
        if one == other:
            other = NAMES[(7 * row + 2) % 20]
        start = f"{prefix}When {one} and {other} went to the park,"
        clean, corrupted = (f"{start} {name} gave a book to" for name in (other, one))
        yield clean, corrupted, f" {one}", f" {other}"


def byte_pairs():
    """Train a tokenizer on the prompts."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    prompts = [text for row in given(40) for text in row[:2]] * 20
    tokenizer.train_from_iterator(
        [*prompts, *[f" {name}" for name in NAMES] * 20, *NAMES * 20],
        trainers.BpeTrainer(
            vocab_size=600,
            special_tokens=["<|endoftext|>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return tokenizer


def random_phi3(vocabulary):
    """Make a Phi-3 with longrope, for which 31 tokens are many."""
    original = {"original_max_position_embeddings": 30}
    rope = {
        "rope_type": "longrope",
        "rope_theta": 10000.0,
        "short_factor": [1.0] * 8,
        "long_factor": [1.1, 1.3, 1.7, 2.5, 4.0, 6.0, 10.0, 16.0],
    }
    config = Phi3Config(
        vocab_size=vocabulary,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=128,
        max_position_embeddings=256,
        pad_token_id=0,
        rope_parameters=rope | original,
        **original,
    )
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.mul_(8)
    return model


def test_long_prompts_of_a_phi3_give_what_plain_passes_gave_once():
    tokenizer = byte_pairs()
    model = random_phi3(tokenizer.get_vocab_size())
    prefix = "Then, at the park, Anna and Ben gave a book to Karen. "
    rows = [
        [tokenizer.encode(text).ids for text in row] for row in given(12, prefix=prefix)
    ]
    columns = ["clean_ids", "corrupted_ids", "answer_ids", "wrong_answer_ids"]
    pairs = pl.DataFrame(rows, schema=columns, orient="row")
    train, test = (pair_batches(pairs[start::2], 8) for start in (0, 1))
    assert train[0].clean.shape == (6, 33)
    assert train[0].shared() == 28
    effect = attribute(model, train, method="nap").summary()["effect"]
    assert effect == pytest.approx(0.0783, abs=5e-5)
    full = run_circuits(model, test, torch.ones(1, 10)).logit_diff.mean().item()
    assert full == pytest.approx(-0.0337, abs=5e-5)
