import pytest
from small_fits import SOURCES

from circuit_transfer.circuits.prepared import prepare
from circuit_transfer.prompts.batches import pair_batches


@pytest.fixture
def model(tiny_model):
    return tiny_model("llama").requires_grad_(False)


@pytest.fixture
def batches(tiny_pairs):
    return {
        task: pair_batches(tiny_pairs(4, seed=seed), 2)
        for seed, task in enumerate(SOURCES)
    }


@pytest.fixture
def prepared(model, batches):
    return prepare(model, batches)


@pytest.fixture
def models(tiny_model):
    source = tiny_model("llama", layers=1, seed=3).requires_grad_(False)
    return source, tiny_model("llama", layers=2).requires_grad_(False)
