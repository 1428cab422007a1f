import logging

import pytest
import torch
from train_model import train_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from circuit_transfer.artifacts.text import read_json
from circuit_transfer.embedded.curriculum import Curriculum
from circuit_transfer.generators import read_words
from circuit_transfer.jobs.resume import Resume

DATA = {"words_path": "data/words.yaml", "facts_path": "data/facts.csv"}
ENTRY = {
    "architecture": "llama",
    "layers": 1,
    "heads": 2,
    "kv_heads": 1,
    "d_model": 16,
    "d_mlp": 16,
    "learning_rate": 0.01,
    "batch_size": 16,
    "warmup_steps": 10,
    "decay_steps": 20,
    "max_steps": 60,
    "probe_every": 20,
    "required_accuracy": 0.0,
    "generators": ["ioi"],
    "seed": 0,
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("models")
    path = folder / "tiny"
    resume = Resume(folder / "state", seconds=0)
    train_model(
        path / "training.json", model="tiny", entry=ENTRY, resume=resume, **DATA
    )
    return path


def test_the_checkpoint_loads_and_knows_what_the_record_says(checkpoint):
    model = AutoModelForCausalLM.from_pretrained(checkpoint)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    held_out = Curriculum(read_words(**DATA), tokenizer, ["ioi"], 0).held_out()["ioi"]
    right = 0
    for ids, answer in zip(held_out.ids, held_out.answers, strict=True):
        guess = model(ids[None, :answer]).logits[0, -1].argmax()
        right += int(guess == ids[answer])
    record = read_json(checkpoint / "training.json")
    assert record["accuracy"] == {"ioi": pytest.approx(right / 500)}


def test_the_record_and_the_card_have_the_settings(checkpoint):
    record = read_json(checkpoint / "training.json")
    assert record["settings"] == ENTRY
    assert record["steps"] == 40
    card = (checkpoint / "README.md").read_text()
    assert not (checkpoint.parent / "state").exists()
    assert f"| ioi | {record['accuracy']['ioi']:.3f} |" in card


def test_a_failed_training_leaves_its_state_but_no_checkpoint(tmp_path, caplog):
    path, state = tmp_path / "tiny", tmp_path / "state"
    entry = ENTRY | {"required_accuracy": 1.0}
    caplog.set_level(logging.INFO)
    for _ in range(2):
        caplog.clear()
        with pytest.raises(ValueError, match="after 60 .* reaches an accuracy of 1.0"):
            # Too short to be kept otherwise.
            resume = Resume(state, seconds=1000)
            train_model(
                path / "training.json", model="tiny", entry=entry, resume=resume, **DATA
            )
        assert not path.exists()
        assert (state / "state.safetensors").exists()
    # The second time it is told at once.
    assert "training resumes at step 60" in caplog.text
    assert "step 20, level" not in caplog.text
