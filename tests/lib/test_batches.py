import polars as pl
import torch

from circuit_transfer.batches import PairBatch, pair_batches


def test_batches_hold_every_pair_once_and_are_never_padded(tiny_pairs):
    pairs = tiny_pairs(7)
    batches = pair_batches(pairs, 2)
    assert [len(batch) for batch in batches] == [2, 2, 2, 1]
    assert [batch.clean.shape[1] for batch in batches] == [5, 5, 7, 7]
    by_length = pairs.sort(pl.col("clean_ids").list.len(), maintain_order=True)
    for name in ("clean", "corrupted"):
        rows = [row for batch in batches for row in getattr(batch, name).tolist()]
        assert rows == by_length[f"{name}_ids"].to_list()
    for name in ("answer", "wrong_answer"):
        ids = torch.cat([getattr(batch, f"{name}s") for batch in batches]).tolist()
        assert ids == by_length[f"{name}_ids"].to_list()


def test_the_logit_difference_is_answer_minus_wrong_answer():
    none = torch.empty(2, 0)
    batch = PairBatch(none, none, torch.tensor([[0], [2]]), torch.tensor([[1], [0]]))
    logits = torch.tensor([[5.0, 2.0, 0.0], [1.0, 0.0, -3.0]])
    assert batch.logit_diff(logits).tolist() == [3.0, -4.0]
    assert batch.correct(logits).tolist() == [True, False]


def test_with_several_answers_it_is_the_difference_of_their_means(tiny_pairs):
    pairs = tiny_pairs(2).with_columns(
        clean_ids=pl.Series([[5, 6], [7, 8]]),
        corrupted_ids=pl.Series([[6, 6], [8, 8]]),
        answer_ids=pl.Series([[0, 1, 3], [2]]),
        wrong_answer_ids=pl.Series([[2], [0, 1]]),
    )
    (batch,) = pair_batches(pairs, 2)
    logits = torch.tensor([[1.0, 2.0, 9.0, 6.0], [0.5, 1.5, -2.0, 4.0]])
    assert batch.logit_diff(logits).tolist() == [3.0 - 9.0, -2.0 - 1.0]
    # The likeliest token of all is wrong in the first row and no answer in the second.
    assert batch.correct(logits).tolist() == [False, False]
    assert batch.correct(-logits).tolist() == [True, True]
