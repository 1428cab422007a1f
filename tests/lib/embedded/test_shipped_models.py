"""The shipped models have the properties in their cards."""

from pathlib import Path

import polars as pl
import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from circuit_transfer.artifacts.text import read_json
from circuit_transfer.embedded.model import DEFAULT_GENERATORS
from circuit_transfer.generators import generate_prompts, read_words
from circuit_transfer.interventions import answer_logits
from circuit_transfer.models.description import describe_model
from circuit_transfer.models.loading import load_model, load_tokenizer
from circuit_transfer.models.tokenizer_files import unknown_token
from circuit_transfer.prompts.batches import pair_batches
from circuit_transfer.prompts.encoding import pairs_tokenizer
from circuit_transfer.prompts.pairs import tokenize_pairs

DATA = Path(__file__).parents[3] / "data"
NODES = {
    f"{family}-{size}": nodes
    for family in ("llama", "qwen")
    for size, nodes in {"small": 20, "medium": 54, "large": 72}.items()
}


@pytest.fixture(scope="module")
def words():
    return read_words(DATA / "words.yaml", DATA / "facts.csv")


@pytest.fixture(scope="module", params=NODES)
def folder(request) -> Path:
    return DATA / "models" / request.param


def pairs_of(folder, prompts) -> pl.DataFrame:
    """Tokenize the prompts of a task, which must not need an unknown word."""
    tokenizer = load_tokenizer(folder)
    known = pairs_tokenizer(tokenizer, 128, len(tokenizer), unknown_token(folder))
    tokenized = tokenize_pairs(prompts, known)
    reasons = " ".join(tokenized.rejects["reason"])
    assert "vocabulary" not in reasons
    return tokenized.pairs


def test_a_shipped_model_solves_every_task(folder, words):
    model = load_model(folder)
    for task in DEFAULT_GENERATORS:
        prompts = generate_prompts(task, words, "test", 200, seed=0)
        # For numbers of several tokens, the first token is the answer here.
        pairs = pairs_of(folder, prompts.with_columns(single_token=False))
        right = sum(
            batch.correct(answer_logits(model, batch.clean)).sum().item()
            for batch in pair_batches(pairs, 200)
        )
        assert right / len(pairs) >= 0.98, task


def test_whole_sums_are_an_answer_to_those_that_do_not_split_numbers(folder, words):
    usable = {
        sign: len(pairs_of(folder, generate_prompts(name, words, "test", 200, seed=0)))
        for sign, name in (
            ("+", "arithmetic-addition"),
            ("-", "arithmetic-subtraction"),
        )
    }
    if folder.name.startswith("llama"):
        assert usable == {"+": 200, "-": 200}
    else:
        assert usable["+"] == 0
        assert 0 < usable["-"] < 50


def test_the_recorded_accuracies_suffice(folder):
    record = read_json(folder / "training.json")
    assert set(record["accuracy"]) == set(DEFAULT_GENERATORS)
    assert min(record["accuracy"].values()) >= 0.98


def test_it_has_enough_nodes_in_few_megabytes(folder):
    assert len(describe_model(folder)["nodes"]) == NODES[folder.name]
    assert sum(file.stat().st_size for file in folder.iterdir()) < 8e6


@pytest.mark.parametrize("name", NODES)
def test_the_auto_classes_load_it(name):
    family = name.split("-")[0]
    model = AutoModelForCausalLM.from_pretrained(DATA / "models" / name)
    assert model.config.model_type == {"llama": "llama", "qwen": "qwen2"}[family]


# AutoTokenizer replaces a qwen2 tokenizer by its own.
@pytest.mark.parametrize("name", [name for name in NODES if name.startswith("llama")])
def test_the_auto_tokenizer_of_a_llama_is_its_own(name):
    text = "When Mary and John went to the store, John gave a ball to"
    expected = load_tokenizer(DATA / "models" / name).encode(text)
    assert (
        AutoTokenizer.from_pretrained(DATA / "models" / name).encode(text) == expected
    )
