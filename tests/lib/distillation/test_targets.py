"""Features of former batches, and those of a teacher that fit nothing."""

import pytest
import torch
from students import MATCHED, lesson, settings, taught

from circuit_transfer.distillation.targets import Queue, Targets, shuffled


def rows(number, count=4, heads=2, width=3):
    """Return features whose values say which batch and row they are of."""
    own = 100 * number + torch.arange(count).float()
    own = own[None, :, None].expand(heads, count, width)
    return own, own + 0.5


def first(features):
    return features[0, :, 0].tolist()


def test_a_queue_keeps_the_latest_rows_each_once():
    queue = Queue(8)
    for number in (0, 1, 2, 1):
        queue.add(number, *rows(number))
    assert queue.rows == 8
    own, other = queue.joined(5, *rows(5))
    assert first(own) == [*range(500, 504), *range(200, 204), *range(100, 104)]
    assert torch.equal(other, own + 0.5)
    # Of the batch itself, the rows of now.
    newer = rows(1)[0] + 0.25
    own, _ = queue.joined(1, newer, newer)
    assert first(own) == [100.25, 101.25, 102.25, 103.25, *range(200, 204)]


def test_a_queue_never_has_fewer_rows_than_asked_once_it_had_them():
    queue, seen = Queue(10), 0
    for number, count in enumerate((4, 3, 5, 1, 6, 2, 9)):
        queue.add(number, *rows(number, count))
        seen += count
        assert queue.rows >= min(10, seen)
    assert queue.rows == 11
    queue = Queue(0)
    queue.add(0, *rows(0))
    assert queue.rows == 0


def test_only_the_current_batch_has_a_gradient():
    queue = Queue(8)
    old, new = (rows(number)[0].clone().requires_grad_() for number in (0, 1))
    queue.add(0, old, rows(0)[1])
    queue.joined(1, new, rows(1)[1])[0].sum().backward()
    assert old.grad is None and (new.grad == 1).all()


def test_a_restored_queue_is_the_same():
    queue, again = Queue(64), Queue(64)
    for number in (3, 11, 2):
        queue.add(number, *rows(number))
    again.restore(queue.tensors(), torch.device("cpu"))
    own, other = queue.joined(7, *rows(7))
    own_again, other_again = again.joined(7, *rows(7))
    assert torch.equal(own, own_again) and torch.equal(other, other_again)


def test_shuffled_rows_are_the_same_rows_over_all_batches_and_for_all_heads():
    features = [rows(number, count)[0] for number, count in enumerate((4, 3, 5))]
    whole = torch.cat(features, dim=1)
    found = [shuffled(features, 0, epoch) for epoch in (0, 0, 1)]
    assert [each.shape for each in found[0]] == [each.shape for each in features]
    joined = [torch.cat(each, dim=1) for each in found]
    assert torch.equal(joined[0], joined[1]) and not torch.equal(joined[0], joined[2])
    assert sorted(first(joined[0])) == sorted(first(whole))
    assert (joined[0] == joined[0][:1, :, :1]).all()
    assert not torch.equal(joined[0], torch.cat(shuffled(features, 1, 0), dim=1))


def test_the_first_step_has_a_full_queue(tiny_model, tiny_pairs):
    models = tiny_model("llama"), tiny_model("llama", seed=1)
    _, found = taught(*models, tiny_pairs(320))
    assert found.steps["features"].min() >= 128
    # All that there are, and every example once.
    _, found = taught(*models, tiny_pairs(40), steps=12)
    assert found.steps["features"].to_list() == [40] * 12
    _, found = taught(*models, tiny_pairs(32), estimator="biased", queue=0)
    assert found.steps["features"].to_list() == [8] * 3


def test_few_pairs_are_mentioned(tiny_model, tiny_pairs, caplog):
    teacher = tiny_model("llama")
    given = lesson(teacher, teacher, tiny_pairs(40))
    batches = [each for _, each in given.batches]
    Targets(teacher, batches, MATCHED, settings())
    assert "40 features, all that there are" in caplog.text


def test_a_batch_of_one_pair_has_no_cka_of_its_own(tiny_model, tiny_pairs):
    model = tiny_model("llama")
    with pytest.raises(ValueError, match=r"another distillation.batch_size than 4"):
        taught(model, model, tiny_pairs(9), estimator="biased", queue=0, batch_size=4)


def test_all_positions_need_prompts_of_equal_length(tiny_model, tiny_pairs):
    model = tiny_model("llama")
    given = lesson(model, model, tiny_pairs(8))
    (short, _), (long, _) = given.batches[0], given.batches[-1]
    unequal = {"batches": [(short, long)], "held_out": [(short, long)]}
    for positions, expected in (("answer", None), ("all", "5 in the student and 7")):
        own = vars(given) | unequal | {"settings": settings(positions=positions)}
        if expected is None:
            type(given)(**own)
            continue
        with pytest.raises(ValueError, match=expected):
            type(given)(**own)
