"""Tiny random models of every supported architecture, made without a network."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

# The tests compare numbers to the last bits, so they all run on the CPU.
os.environ["CUDA_VISIBLE_DEVICES"] = ""

WORDS = tuple(f"w{number}" for number in range(40)) + tuple(".,:?") + ("yes", "no")
SPECIAL = ("<unk>", "<bos>", "<eos>", "<pad>")
VOCABULARY = SPECIAL + WORDS

LLAMA = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
GPT2 = {"n_embd": 32, "n_inner": 48, "n_head": 4, "n_positions": 64}
SETTINGS = {"llama": LLAMA, "qwen2": LLAMA, "gpt2": GPT2}


@pytest.fixture(scope="session")
def tiny_model() -> Callable:
    """A function that makes a small random causal language model.

    `tiny_model("llama")`, `"qwen2"` or `"gpt2"`; every call gives a new model, so a
    test may change it. Equal arguments give equal weights.
    """

    def make(name: str, layers: int = 2, dtype=None, seed: int = 0, **settings):
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM

        torch.set_num_threads(1)
        depth = {"n_layer" if name == "gpt2" else "num_hidden_layers": layers}
        config = AutoConfig.for_model(
            name,
            vocab_size=len(VOCABULARY),
            bos_token_id=VOCABULARY.index("<bos>"),
            eos_token_id=VOCABULARY.index("<eos>"),
            pad_token_id=VOCABULARY.index("<pad>"),
            **(SETTINGS[name] | depth | settings),
        )
        model = AutoModelForCausalLM.from_config(config)
        randomise_(model, seed)
        return model.to(dtype or torch.float32).eval()

    return make


def randomise_(model, seed: int) -> None:
    """Give every parameter, biases and norms too, a random value that matters."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # Drawn in float32 for every dtype: a float64 model has the same weights.
            noise = torch.randn(parameter.shape, generator=generator)
            is_norm = "norm" in name or ".ln_" in name
            if is_norm and name.endswith("weight"):
                parameter.copy_(1 + 0.2 * noise)
            else:
                parameter.copy_(0.25 * noise)


@pytest.fixture(scope="session")
def tiny_tokenizer() -> Callable:
    """A function that makes a tokenizer with one token for each word of `WORDS`.

    A space before a word belongs to no token, as in the embedded models; a word
    that is not known becomes `<unk>`.
    """

    def make():
        from tokenizers import Tokenizer, models, pre_tokenizers
        from transformers import PreTrainedTokenizerFast

        ids = {word: index for index, word in enumerate(VOCABULARY)}
        tokenizer = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        return PreTrainedTokenizerFast(
            tokenizer_object=tokenizer,
            unk_token="<unk>",
            bos_token="<bos>",
            eos_token="<eos>",
            pad_token="<pad>",
        )

    return make


@pytest.fixture(scope="session")
def tiny_checkpoint(tiny_model, tiny_tokenizer, tmp_path_factory) -> Callable:
    """A function that saves a tiny model with its tokenizer and gives the folder.

    `AutoTokenizer` replaces the tokenizer of a `qwen2` folder by one of its own and
    garbles the text; `PreTrainedTokenizerFast` reads every folder as it was saved.
    """

    def make(name: str, layers: int = 2, dtype=None, seed: int = 0) -> Path:
        folder = tmp_path_factory.mktemp(name)
        tiny_model(name, layers, dtype, seed).save_pretrained(folder)
        tiny_tokenizer().save_pretrained(folder)
        return folder

    return make


@pytest.fixture(scope="session")
def tiny_pairs() -> Callable:
    """A function that makes a frame of tokenized pairs, random tokens of two lengths.

    Clean and corrupted prompt end with the same token, as real pairs do, so that the
    empty circuit does what the whole model does on the corrupted prompt.
    """

    def make(examples: int = 5, split: str = "train", seed: int = 0):
        import numpy as np
        import polars as pl

        generator = np.random.default_rng(seed)
        rows = []
        for row in range(examples):
            length = (5, 7)[row % 2]
            clean, corrupted = generator.integers(len(SPECIAL), 44, (2, length))
            corrupted[-1] = clean[-1]
            answer, wrong = generator.choice(len(VOCABULARY), 2, replace=False)
            rows.append((row, split, clean.tolist(), corrupted.tolist(), answer, wrong))
        columns = ["row", "split", "clean_ids", "corrupted_ids"]
        schema = [*columns, "answer_id", "wrong_answer_id"]
        return pl.DataFrame(rows, schema=schema, orient="row")

    return make
