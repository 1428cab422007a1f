import subprocess
import sys

import polars as pl
import pytest
import torch

from circuit_transfer.prompts.batches import (
    LOGITS,
    PairBatch,
    fitting_batches,
    pair_batches,
    prompt_numbers,
)


def test_batches_contain_every_pair_once_without_padding(tiny_pairs):
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
    # The most likely token is a wrong answer in row 1 and no answer in row 2.
    assert batch.correct(logits).tolist() == [False, False]
    assert batch.correct(-logits).tolist() == [True, True]


def test_the_shared_prefix_ends_at_the_first_difference(tiny_pairs):
    clean = torch.tensor([[5, 6, 7, 8, 9], [5, 6, 7, 8, 9]])
    corrupted = torch.tensor([[5, 6, 7, 1, 9], [5, 1, 7, 8, 9]])
    none = torch.empty(2, 0)
    assert PairBatch(clean, corrupted, none, none).shared() == 1
    assert PairBatch(clean[:1], corrupted[:1], none, none).shared() == 3
    corrupted[0, 0] = 1
    assert PairBatch(clean, corrupted, none, none).shared() == 0


def test_the_automatic_batch_size_is_bounded_on_a_cpu(tiny_model, tiny_pairs, caplog):
    caplog.set_level("INFO")
    model = tiny_model("llama").requires_grad_(False)
    # Seven prompts of one length and six of the other.
    found = fitting_batches(model, tiny_pairs(13), "auto")
    assert [len(batch) for batch in found] == [7, 6]
    assert "batch_size auto: 7 pairs" in caplog.text
    assert [len(batch) for batch in fitting_batches(model, tiny_pairs(13), 4)] == [
        *(4, 3),
        *(4, 2),
    ]
    assert fitting_batches(model, tiny_pairs(1).head(0), "auto") == []
    # So many logits that a pass should have two rows only.
    model.config.vocab_size = LOGITS // 2
    assert max(map(len, fitting_batches(model, tiny_pairs(13), "auto"))) == 2


OUT_OF_MEMORY = """
import resource, sys
import polars as pl, torch
from transformers import LlamaConfig, LlamaForCausalLM
from circuit_transfer.prompts.batches import fitting_batch_size

torch.set_num_threads(1)
width = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4}
config = LlamaConfig(num_hidden_layers=2, vocab_size=50, **width)
model = LlamaForCausalLM(config).requires_grad_(False)
# A vocabulary that the bound on logits does not know of makes every prompt large.
config.vocab_size = 50
model.lm_head = torch.nn.Linear(64, 2_000_000, bias=False)
row = {"clean_ids": [5, 6, 7], "corrupted_ids": [8, 6, 7]}
row |= {"answer_ids": [3], "wrong_answer_ids": [4]}
pairs = pl.DataFrame([row] * 64)
# Once without a limit: threads start when they are first needed.
fitting_batch_size(model, pairs.head(1))
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
limit = used + int(sys.argv[1]) * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
print(fitting_batch_size(model, pairs))
"""


@pytest.mark.parametrize(("megabytes", "least", "most"), [(800, 2, 32), (5, 0, 0)])
def test_a_batch_that_does_not_fit_is_halved(megabytes, least, most):
    # A process of its own, whose memory is limited: 8 MB of logits a prompt.
    command = [sys.executable, "-c", OUT_OF_MEMORY, str(megabytes)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    if most:
        assert least <= int(found.stdout) <= most, found.stderr
    else:
        assert "two prompts of 3 tokens" in found.stderr


def test_equal_pairs_of_prompts_have_one_number(tiny_pairs):
    pairs = tiny_pairs(4)
    copies = pl.concat([pairs, pairs[1:3], pairs[:1]])
    numbers = prompt_numbers(pair_batches(copies, 2))
    rows = [
        (tuple(clean), tuple(corrupted))
        for batch in pair_batches(copies, 2)
        for clean, corrupted in zip(
            batch.clean.tolist(), batch.corrupted.tolist(), strict=True
        )
    ]
    for number, row in zip(numbers, rows, strict=True):
        assert [n for n, other in zip(numbers, rows, strict=True) if other == row] == (
            [number] * rows.count(row)
        )
    assert sorted(set(numbers)) == [0, 1, 2, 3]
    # A shared clean prompt alone is no copy.
    swapped = pairs.with_columns(corrupted_ids=pairs["corrupted_ids"].reverse())
    both = pair_batches(pl.concat([pairs[:1], swapped[:1]]), 2)
    assert prompt_numbers(both) == [0, 1]
