import pytest
import torch
from two_models import draw

from circuit_transfer.prompts.batches import pair_batches
from circuit_transfer.transfer.carried_gradients import (
    stream_gradients,
)
from circuit_transfer.transfer.gradient_controls import (
    in_place_of,
    other_gradients,
    shuffled,
)


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
