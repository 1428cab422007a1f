import pytest
import reference
import torch

from circuit_transfer.interventions import PathRuns, path_logits, run_captured
from circuit_transfer.models.architectures import ARCHITECTURES
from circuit_transfer.models.nodes import node_names
from circuit_transfer.prompts.batches import pair_batches


@pytest.mark.parametrize("family", sorted(ARCHITECTURES))
def test_a_head_is_patched_at_one_position_with_all_others_frozen(
    tiny_model, tiny_pairs, family
):
    model = tiny_model(family).requires_grad_(False)
    (batch,) = pair_batches(tiny_pairs(6, shared=0)[1::2], 4)
    _, clean = run_captured(model, batch.clean)
    _, corrupted = run_captured(model, batch.corrupted)
    positions, senders = torch.tensor([1, 6, 4]), [(0, 3), (1, 0), (0, 1)]
    runs = PathRuns(batch.clean, clean, corrupted, positions)
    found = path_logits(model, runs, senders).unflatten(0, (3, -1))
    _, before = reference.run(model, batch.clean)
    _, other = reference.run(model, batch.corrupted)
    for (layer, head), logits in zip(senders, found, strict=True):
        heads = {name: before[name] for name in node_names(2, 4) if name[0] == "a"}
        name, rows = f"a{layer}.h{head}", torch.arange(3)
        heads[name] = heads[name].clone()
        heads[name][rows, positions] = other[name][rows, positions]
        wanted, _ = reference.run(model, batch.clean, edit=reference.replaced(heads))
        torch.testing.assert_close(logits.double(), wanted[:, -1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", sorted(ARCHITECTURES))
@pytest.mark.parametrize("kind", ["q", "k", "v"])
def test_readers_above_a_head_alone_change_and_only_by_its_path(
    tiny_model, tiny_pairs, family, kind
):
    model = tiny_model(family).requires_grad_(False)
    (batch,) = pair_batches(tiny_pairs(6, shared=0)[1::2], 4)
    logits, clean = run_captured(model, batch.clean)
    _, corrupted = run_captured(model, batch.corrupted)
    last = torch.full((3,), 6)
    runs = PathRuns(batch.clean, clean, corrupted, last)
    senders = [(0, 3), (1, 0)]
    found = path_logits(model, runs, senders, [(1, 2), (1, 3)], kind).unflatten(
        0, (2, -1)
    )
    assert (found[0] - logits).abs().amax(1).min() > 1e-5
    # A head of the same layer is not read by another one.
    torch.testing.assert_close(found[1], logits)
    same = path_logits(
        model, PathRuns(batch.clean, clean, clean, last), senders[:1], [(1, 2)], kind
    )
    torch.testing.assert_close(same, logits)
