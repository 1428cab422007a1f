import math
from dataclasses import replace

import pytest
import torch

from circuit_transfer.embedded.curriculum import LEVELS, PASSED, Curriculum, Texts
from circuit_transfer.embedded.model import (
    DEFAULT_GENERATORS,
    TrainingSettings,
    build_model,
)
from circuit_transfer.embedded.objective import accuracy, training_loss
from circuit_transfer.embedded.training import (
    CYCLE_PART,
    CYCLE_PEAK,
    FLOOR,
    Training,
    train,
)
from circuit_transfer.embedded.vocabulary import build_tokenizer
from circuit_transfer.generators import read_words
from circuit_transfer.jobs.resume import Resume

SETTINGS = TrainingSettings(
    architecture="llama",
    layers=1,
    heads=2,
    kv_heads=1,
    d_model=16,
    d_mlp=16,
    learning_rate=3e-3,
    batch_size=8,
    warmup_steps=4,
    decay_steps=10,
    max_steps=30,
    probe_every=5,
    required_accuracy=0.0,
    generators=("ioi", "mcqa"),
)


@pytest.fixture(scope="module")
def words():
    torch.set_num_threads(1)
    return read_words("data/words.yaml", "data/facts.csv")


@pytest.fixture(scope="module")
def tokenizer(words):
    return build_tokenizer(words, architecture="llama", generators=SETTINGS.generators)


def weights(model):
    return torch.cat([value.flatten() for value in model.state_dict().values()])


def test_interrupted_training_ends_with_the_same_weights(words, tmp_path):
    def kept():
        return Resume(tmp_path, seconds=0)

    model, _, record = train(SETTINGS, words)
    interrupted = Training(SETTINGS, words, kept())
    interrupted.advance()
    interrupted.advance()
    assert interrupted.progress.step == 10
    again = Training(SETTINGS, words, kept())
    assert again.progress.step == 10
    resumed, _, resumed_record = train(SETTINGS, words, kept())
    assert torch.equal(weights(model), weights(resumed))
    assert record["history"] == resumed_record["history"]
    assert record["accuracy"] == resumed_record["accuracy"]


def test_other_settings_or_words_start_from_scratch(words, tmp_path):
    Training(SETTINGS, words, Resume(tmp_path, seconds=0)).advance()
    other = replace(SETTINGS, learning_rate=1e-3)
    assert Training(other, words, Resume(tmp_path)).progress.step == 0
    more = replace(words, names=words.names[1:])
    assert Training(SETTINGS, more, Resume(tmp_path)).progress.step == 0
    assert Training(SETTINGS, words, Resume(tmp_path)).progress.step == 5


def test_training_learns(words, tmp_path):
    longer = replace(SETTINGS, max_steps=150, decay_steps=50, probe_every=50)
    training = Training(longer, words)
    batch = training.curriculum.batch(1000, 0, 64)
    before = training_loss(training.model, batch).item()
    while not training.finished:
        training.advance()
    assert training_loss(training.model, batch).item() < before - 2


def test_a_budget_that_is_too_small_fails_with_the_accuracies(words, tmp_path):
    with pytest.raises(
        ValueError, match=r"after 30 steps .* 0.98 .*: ioi 0\.\d+, mcqa"
    ):
        train(replace(SETTINGS, required_accuracy=0.98), words)


def test_the_decay_is_whole_and_in_the_budget(words, tmp_path):
    training = Training(SETTINGS, words)
    rates = []
    while not training.finished:
        rates.append(training._learning_rate())
        training.advance()
    assert training.progress.decay_start == 20
    assert training.progress.step == SETTINGS.max_steps
    assert training._learning_rate() == pytest.approx(FLOOR * SETTINGS.learning_rate)
    assert rates == sorted(rates[:1]) + sorted(rates[1:], reverse=True)


def test_a_task_that_is_missed_gets_smaller_cycles_while_the_budget_lasts(
    words, tmp_path
):
    # The first decay starts at the second probe, the latest that the budget allows.
    settings = replace(SETTINGS, max_steps=25, warmup_steps=2)
    training = Training(settings, words)
    while not training.finished:
        training.advance()
    assert (training.progress.decay_start, training.progress.step) == (15, 25)
    assert not training.start_cycle()
    training.settings = replace(settings, max_steps=30)
    assert training.start_cycle()
    rates = []
    while not training.finished:
        rates.append(training._learning_rate())
        training._step(training.curriculum.batch(training.progress.step, 2, 4))
        training.progress.step += 1
    assert len(rates) == int(settings.decay_steps * CYCLE_PART)
    assert max(rates) <= CYCLE_PEAK * settings.learning_rate


def test_impossible_settings_are_errors():
    with pytest.raises(ValueError, match="decay_steps: .* 5, found 10"):
        replace(SETTINGS, max_steps=5)
    with pytest.raises(ValueError, match="unknown generator 'poetry'"):
        replace(SETTINGS, generators=["poetry"])


def test_batches_depend_on_seed_step_and_level_alone(words, tokenizer):
    def ids(seed, step, level):
        curriculum = Curriculum(words, tokenizer, ("mcqa",), seed)
        return curriculum.batch(step, level, 4).ids.tolist()

    assert ids(0, 7, 1) == ids(0, 7, 1)
    others = [ids(0, 8, 1), ids(0, 7, 2), ids(1, 7, 1)]
    assert all(other != ids(0, 7, 1) for other in others)


def test_levels_have_their_numbers_of_options(words, tokenizer):
    curriculum = Curriculum(words, tokenizer, ("arc-easy",), 0)
    for level, options in enumerate(LEVELS):
        texts = tokenizer.batch_decode(curriculum.batch(0, level, 64).ids)
        assert {text.count(" . ") for text in texts} == set(options)


def test_training_text_and_held_out_prompts_are_disjoint(words):
    tokenizer = build_tokenizer(
        words, architecture="llama", generators=DEFAULT_GENERATORS
    )
    curriculum = Curriculum(words, tokenizer, DEFAULT_GENERATORS, 0)
    last = len(LEVELS) - 1
    read = set(texts_of(curriculum.batch(0, last, 20_000)))
    for name, held_out in curriculum.held_out().items():
        asked = texts_of(held_out)
        assert 200 <= len(asked) == len(set(asked)) <= 500, name
        assert not read & set(asked)
    for probes in curriculum.probes(last).values():
        assert len(probes) == 200


def texts_of(texts: Texts) -> list[tuple]:
    pairs = zip(texts.ids, texts.mask, strict=True)
    return [tuple(ids[mask].tolist()) for ids, mask in pairs]


def test_every_generator_gets_as_many_tokens(words, tokenizer):
    curriculum = Curriculum(words, tokenizer, ("mcqa", "arithmetic-addition"), 0)
    texts = curriculum.batch(0, 0, 20_000)
    is_sum = texts.mask.sum(1) < 16
    shares = [int(texts.mask[rows].sum()) for rows in (is_sum, ~is_sum)]
    assert shares[0] == pytest.approx(shares[1], rel=0.05)


def test_levels_end_when_they_are_passed(words, tokenizer):
    curriculum = Curriculum(words, tokenizer, ("ioi", "mcqa", "arc-easy"), 0)
    uneven = {"ioi": 0.0, "mcqa": PASSED[0] + 0.1, "arc-easy": PASSED[0] - 0.1}
    assert curriculum.passes(0, uneven)
    assert not curriculum.passes(2, uneven)
    assert curriculum.passes(2, {"ioi": 0.0, "mcqa": 0.9, "arc-easy": 0.9})
    assert Curriculum(words, tokenizer, ("ioi",), 0).first_level == len(LEVELS) - 1


def test_padding_changes_neither_loss_nor_accuracy(words, tokenizer):
    model = build_model(SETTINGS, tokenizer)
    texts = Curriculum(words, tokenizer, ("ioi", "mcqa"), 0).batch(0, 0, 16)
    lengths = texts.mask.sum(1)
    rights, losses, answer_losses = [], [], []
    for row, length in enumerate(lengths):
        ids, answer = texts.ids[row, :length], int(texts.answers[row])
        with torch.no_grad():
            log_probabilities = model(ids[None]).logits[0].log_softmax(-1)
        terms = -log_probabilities[:-1].gather(1, ids[1:, None]).squeeze(1)
        losses.append(terms)
        answer_losses.append(terms[answer - 1])
        guess = log_probabilities[answer - 1].argmax()
        rights.append(float(guess == ids[answer]))
    expected = torch.cat(losses).mean() + torch.stack(answer_losses).mean()
    assert lengths.unique().numel() > 1
    assert training_loss(model, texts).item() == pytest.approx(expected.item(), 1e-5)
    assert accuracy(model, texts) == pytest.approx(math.fsum(rights) / 16)
