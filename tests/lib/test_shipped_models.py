"""The shipped models are what their cards say."""

from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from circuit_transfer.artifacts import read_json
from circuit_transfer.batches import pair_batches
from circuit_transfer.generators import GENERATORS, generate_prompts, read_words
from circuit_transfer.interventions import answer_logits
from circuit_transfer.models import describe_model, load_model, load_tokenizer
from circuit_transfer.pairs import tokenize_pairs

DATA = Path(__file__).parents[2] / "data"
NODES = {"llama-small": 20, "llama-medium": 54}


@pytest.fixture(scope="module", params=NODES)
def folder(request) -> Path:
    return DATA / "models" / request.param


def test_it_knows_every_task(folder):
    words = read_words(DATA / "words.yaml", DATA / "facts.csv")
    model, tokenizer = load_model(folder), load_tokenizer(folder)
    for task in GENERATORS:
        prompts = generate_prompts(task, words, train=0, test=200, seed=0)
        tokenized = tokenize_pairs(
            prompts, tokenizer.encode, context=128, unknown=tokenizer.unk_token_id
        )
        assert tokenized.rejects.is_empty()
        batches = pair_batches(tokenized.pairs, 200)
        right = sum(
            (answer_logits(model, batch.clean).argmax(-1) == batch.answer).sum().item()
            for batch in batches
        )
        assert right / 200 >= 0.98, task


def test_its_record_says_so_too(folder):
    record = read_json(folder / "training.json")
    assert set(record["accuracy"]) == set(GENERATORS)
    assert min(record["accuracy"].values()) >= 0.98


def test_it_has_enough_nodes_in_few_megabytes(folder):
    assert len(describe_model(folder)["nodes"]) == NODES[folder.name]
    assert sum(file.stat().st_size for file in folder.iterdir()) < 5e6


def test_the_auto_classes_load_it(folder):
    assert AutoModelForCausalLM.from_pretrained(folder).config.model_type == "llama"
    text = "When Mary and John went to the store, John gave a ball to"
    expected = load_tokenizer(folder).encode(text)
    assert AutoTokenizer.from_pretrained(folder).encode(text) == expected
