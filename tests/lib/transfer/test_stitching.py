import numpy as np
import pytest
import reference
import torch

from circuit_transfer.circuits.attribution import attribute
from circuit_transfer.interventions import (
    answer_logits,
    captured,
    captured_stream,
)
from circuit_transfer.models.architectures import ARCHITECTURES
from circuit_transfer.models.nodes import node_names
from circuit_transfer.prompts.batches import fitting_batch_size, pair_batches
from circuit_transfer.transfer.carried_gradients import (
    carried_scores,
    carrying,
    node_products,
    stream_gradients,
)
from circuit_transfer.transfer.changes import change_scores, run_both, run_changes
from circuit_transfer.transfer.gradient_controls import (
    in_place_of,
    other_gradients,
    shuffled,
)
from circuit_transfer.transfer.shared_prompts import shorten_both, size_for_both
from circuit_transfer.transfer.stitching import stitched_alignment

FAMILIES = [(name, {}) for name in sorted(ARCHITECTURES)]
FAMILIES.append(("gpt_neox", {"use_parallel_residual": False}))


def draw(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator)


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


@pytest.fixture
def models(tiny_model):
    source = tiny_model("llama", layers=1, seed=3).requires_grad_(False)
    return source, tiny_model("llama", layers=2).requires_grad_(False)


def start_late(batches):
    """Make clean and corrupted prompts alike at first."""
    for batch in batches:
        batch.corrupted[:, :2] = batch.clean[:, :2]
    return batches


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


def plain_stitched(models, batches, ridge=1.0, node_ridge=0.01):
    """The definition, node by node in float64, from the reference's outputs."""
    streams, writes = [], []
    for model in models:
        layers = model.config.num_hidden_layers
        heads = model.config.num_attention_heads
        names = node_names(layers, heads)
        stream, written = [], {name: [] for name in names}
        for batch in batches:
            (_, clean), (_, corrupted) = (
                reference.run(model, ids) for ids in (batch.clean, batch.corrupted)
            )
            change = {name: clean[name] - corrupted[name] for name in names}
            at = reference.embed(model, batch.clean)
            at = at - reference.embed(model, batch.corrupted)
            points = []
            for layer in range(layers):
                at = at + sum(change[f"a{layer}.h{head}"] for head in range(heads))
                points.append(at)
                at = at + change[f"m{layer}"]
                points.append(at)
            stream.append(torch.stack(points).flatten(1, 2))
            for name in names:
                written[name].append(change[name].flatten(0, 1))
        streams.append(torch.cat(stream, dim=1).numpy())
        writes.append({x: torch.cat(rows).numpy() for x, rows in written.items()})

    def point(name):
        return 2 * int(name.split(".")[0][1:]) + name.startswith("m")

    matrix = np.zeros((len(writes[0]), len(writes[1])))
    for j, (target_node, target_change) in enumerate(writes[1].items()):
        x = streams[1][point(target_node)]
        strength = ridge * np.square(x).sum() / x.shape[1]
        for i, (source_node, source_change) in enumerate(writes[0].items()):
            y = streams[0][point(source_node)]
            stitch = np.linalg.solve(x.T @ x + strength * np.eye(x.shape[1]), x.T @ y)
            matrix[i, j] = np.sum(source_change * (target_change @ stitch))
    sizes = np.array([np.square(each).sum() for each in writes[0].values()])
    return matrix / (sizes + node_ridge * sizes.mean())[:, None]


@pytest.mark.parametrize("examples", [3, 12])
def test_a_stitched_alignment_follows_the_definition(models, tiny_pairs, examples):
    # Fewer and more tokens than the stream is wide.
    batches = start_late(pair_batches(tiny_pairs(examples), 4))
    prompts = shorten_both(*models, [(batch, batch) for batch in batches])
    found = stitched_alignment(*models, *run_both(*models, prompts))
    expected = plain_stitched(models, batches)
    np.testing.assert_allclose(
        found, expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max()
    )


def test_a_model_stitched_to_itself_keeps_every_node(models, tiny_pairs):
    model = models[1]
    batches = pair_batches(tiny_pairs(40), 20)
    changes = run_both(model, model, [(batch, batch) for batch in batches])
    found = stitched_alignment(model, model, *changes).numpy()
    order = np.argsort(-found, axis=1)[:, 0]
    assert (order == np.arange(len(found))).mean() > 0.7


def test_shuffled_gradients_are_of_other_examples_of_the_batch():
    gradients = [draw(2, 5, 3, 4), draw(2, 4, 6, 4, seed=1)]
    found = shuffled(gradients, seed=0)
    for one, other in zip(gradients, found, strict=True):
        assert not torch.equal(one, other)
        rows = {tuple(row.flatten().tolist()) for row in one.unbind(1)}
        assert rows == {tuple(row.flatten().tolist()) for row in other.unbind(1)}


def test_others_stand_at_the_same_distance_from_the_end():
    gradients = [torch.zeros(1, 2, 4, 1)]
    others = [
        torch.tensor([[1.0, 2.0], [3.0, 4.0]]).reshape(1, 2, 2, 1),
        torch.tensor([[7.0, 8.0, 9.0]]).reshape(1, 1, 3, 1),
    ]
    (found,) = in_place_of(gradients, others)
    last, before = (2 + 4 + 9) / 3, (1 + 3 + 8) / 3
    expected = torch.tensor([0.0, 7.0, before, last]).expand(2, 4)
    torch.testing.assert_close(found[0, ..., 0], expected)
    (shorter,) = in_place_of([torch.zeros(1, 1, 1, 1)], others)
    assert shorter.item() == pytest.approx(last)


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


def test_of_another_task_as_much_is_run_as_is_put_in_place(models, tiny_pairs):
    # Of one layer alone, only the last position would have a gradient.
    model = models[1]
    batches = pair_batches(tiny_pairs(6, shared=4), 2)
    whole = [stream_gradients(model, batch, 2) for batch in batches]
    # All of seven positions, and less than the first difference leaves.
    for needed in (7, 5, 2):
        gradients = [torch.zeros(4, 3, needed, 32)]
        (found,) = other_gradients(model, gradients, batches, 2)
        (expected,) = in_place_of(gradients, whole)
        size = expected.abs().max().item()
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * size)
