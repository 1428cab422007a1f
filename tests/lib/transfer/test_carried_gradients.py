import numpy as np
import pytest
import torch
from two_models import FAMILIES, draw, start_late

from circuit_transfer.circuits.attribution import attribute
from circuit_transfer.interventions import (
    answer_logits,
    captured_stream,
)
from circuit_transfer.prompts.batches import pair_batches
from circuit_transfer.transfer.carried_gradients import (
    carried_scores,
    carrying,
    node_products,
    stream_gradients,
)
from circuit_transfer.transfer.changes import run_both, run_changes
from circuit_transfer.transfer.gradient_controls import (
    shuffled,
)
from circuit_transfer.transfer.shared_prompts import shorten_both


@pytest.mark.parametrize(("family", "settings"), FAMILIES)
def test_with_its_own_gradients_a_model_s_scores_are_those_of_nap(
    tiny_model, tiny_pairs, family, settings
):
    model = tiny_model(family, **settings).requires_grad_(False)
    for batch in pair_batches(tiny_pairs(4), 2):
        gradients = stream_gradients(model, batch, steps=1)
        changes = run_changes(model, batch).sites
        (found,) = node_products(model, batch, changes, [gradients])
        expected = attribute(model, [batch], method="nap").nodes
        torch.testing.assert_close(
            found, expected, rtol=0, atol=1e-5 * expected.abs().max()
        )


def test_gradients_are_averaged_from_corrupted_to_clean(tiny_model, tiny_pairs):
    model = tiny_model("llama").requires_grad_(False)
    (batch,) = pair_batches(tiny_pairs(2)[::2], 2)
    embed = model.get_input_embeddings()
    clean, corrupted = embed(batch.clean), embed(batch.corrupted)
    total = 0
    for share in (0.25, 0.5, 0.75, 1.0):
        inputs = (corrupted + share * (clean - corrupted)).requires_grad_()
        with captured_stream(model) as stream:
            logits = answer_logits(model, embeddings=inputs)
        gradients = torch.autograd.grad(batch.logit_diff(logits).sum(), stream)
        total = total + torch.stack(gradients) / 4
    found = stream_gradients(model, batch, steps=4)
    torch.testing.assert_close(found, total, rtol=1e-4, atol=1e-6)


def plain_carried(source, gradients, target, ridge):
    """The definition: one least-squares problem for every point and token."""
    points, tokens, width = target.shape
    carried = np.zeros(target.shape)
    for point in range(points):
        strength = ridge * np.square(target[point]).sum() / width
        rows = np.vstack([target[point], np.sqrt(strength) * np.eye(width)])
        for token in range(tokens):
            values = np.mean(
                [x @ g[token] for x, g in zip(source, gradients, strict=True)], axis=0
            )
            values = np.concatenate([values, np.zeros(width)])
            carried[point, token] = np.linalg.lstsq(rows, values)[0]
    return carried


@pytest.mark.parametrize("tokens", [4, 9, 30])
def test_gradients_are_carried_by_ridge_regression(tokens):
    # Fewer tokens than either stream is wide, than that of the source at all points,
    # and more.
    source, gradients = draw(2, tokens, 5), draw(2, tokens, 5, seed=1)
    target = draw(3, tokens, 8, seed=2)
    found = carrying(source, target, ridge=0.1)(gradients)
    expected = plain_carried(*(x.numpy() for x in (source, gradients, target)), 0.1)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("tokens", [4, 30])
def test_gradients_of_some_tokens_are_carried_as_with_all(tokens):
    gradients = draw(2, tokens, 5, seed=1)
    carry = carrying(draw(2, tokens, 5), draw(3, tokens, 8, seed=2))
    some = carry(gradients[:, 1:3])
    torch.testing.assert_close(some, carry(gradients)[:, 1:3], rtol=1e-4, atol=1e-5)


def test_gradients_follow_a_rotation_of_the_stream():
    stream, gradients = draw(1, 40, 6), draw(1, 40, 6, seed=1)
    rotation = torch.linalg.qr(draw(6, 6, seed=2)).Q
    found = carrying(stream, stream @ rotation, ridge=1e-9)(gradients)
    torch.testing.assert_close(found, gradients @ rotation, rtol=1e-3, atol=1e-4)


def streams(changes):
    return [each.stream for each in changes]


def tokens(parts):
    return torch.cat([part.flatten(1, 2) for part in parts], dim=1)


def test_scores_are_carried_gradients_times_changes(models, tiny_pairs):
    source, target = models
    batches = start_late(pair_batches(tiny_pairs(6), 2))
    prompts = shorten_both(*models, [(batch, batch) for batch in batches])
    changes = run_both(source, target, prompts)
    gradients = [stream_gradients(source, batch, 2) for batch, _ in prompts]
    rest = [batch for _, batch in prompts]
    (found,) = carried_scores(target, rest, *changes, [gradients])
    # Without leaving anything out: positions that do not change count for nothing.
    whole = [[run_changes(m, batch) for batch in batches] for m in models]
    gradients = [stream_gradients(source, batch, 2) for batch in batches]
    carried = plain_carried(
        *(tokens(part).double().numpy() for part in (streams(whole[0]), gradients)),
        tokens(streams(whole[1])).double().numpy(),
        ridge=0.01,
    )
    start, rows = 0, []
    for batch, part in zip(batches, whole[1], strict=True):
        shape = part.stream.shape
        count = shape[1] * shape[2]
        each = torch.tensor(carried[:, start : start + count]).reshape(shape)
        rows.append(node_products(target, batch, part.sites, [each])[0])
        start += count
    expected = torch.cat(rows).mean(0)
    torch.testing.assert_close(
        found, expected, rtol=1e-2, atol=1e-3 * expected.abs().max()
    )


@pytest.mark.parametrize("examples", [4, 12])
def test_several_sets_of_gradients_at_once_are_those_one_by_one(
    models, tiny_pairs, examples
):
    source, target = models
    batches = pair_batches(tiny_pairs(examples), 4)
    prompts = shorten_both(*models, [(batch, batch) for batch in batches])
    changes = run_both(source, target, prompts)
    own = [stream_gradients(source, batch, 1) for batch, _ in prompts]
    sets = [own, [-2 * each for each in own], shuffled(own, 0), shuffled(own, 1)]
    rest = [batch for _, batch in prompts]
    found = carried_scores(target, rest, *changes, sets)
    for one, row in zip(sets, found, strict=True):
        (alone,) = carried_scores(target, rest, *changes, [one])
        assert torch.equal(row, alone)
    torch.testing.assert_close(found[1], -2 * found[0])
