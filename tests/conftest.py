"""Tiny random models of every supported architecture, made without a network."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

# The same examples in every run, whatever the load of the machine. For others:
# `pytest --hypothesis-profile other`.
settings.register_profile("same", derandomize=True, deadline=None, database=None)
settings.register_profile("other", deadline=None, max_examples=1000)
settings.load_profile("same")

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
GEMMA = LLAMA | {
    "num_key_value_heads": 1,
    "head_dim": 10,
    "query_pre_attn_scalar": 5,
    "sliding_window": 3,
    "final_logit_softcapping": 4.0,
}
# Whatever a family can do must show in its tiny model: heads of another width than
# d_model / heads, windows shorter than the prompts, caps and angles that matter.
SETTINGS = {
    "gemma2": GEMMA | {"attn_logit_softcapping": 1.5},
    "gemma3_text": GEMMA
    | {
        "sliding_window_pattern": 2,
        "rope_parameters": {
            "sliding_attention": {"rope_type": "default", "rope_theta": 10.0},
            "full_attention": {"rope_type": "default", "rope_theta": 1000.0},
        },
    },
    "gpt2": GPT2,
    # Heads of 9, of which 4 are turned.
    "gpt_neox": {
        "hidden_size": 36,
        "intermediate_size": 48,
        "num_attention_heads": 4,
        "rotary_pct": 0.5,
        "max_position_embeddings": 64,
    },
    "llama": LLAMA,
    "mistral": LLAMA | {"head_dim": 6, "sliding_window": 3},
    "olmo2": LLAMA | {"attention_bias": True},
    "phi3": LLAMA | {"partial_rotary_factor": 0.5, "sliding_window": 3},
    "qwen2": LLAMA,
    "qwen3": LLAMA | {"head_dim": 12, "tie_word_embeddings": True},
}


@pytest.fixture(scope="session")
def tiny_model() -> Callable:
    """A function that makes a small random causal language model.

    `tiny_model("llama")` or another name of `SETTINGS`; every call gives a new model,
    so a test may change it. Equal arguments give equal weights.
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
                parameter.add_(0.2 * noise)  # to 1, and to 0 where a norm adds the 1
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
    empty circuit does what the whole model does on the corrupted prompt. The longer
    ones also begin alike, with as many tokens as `shared` says.
    """

    def make(examples: int = 5, split: str = "train", seed: int = 0, shared: int = 2):
        import numpy as np
        import polars as pl

        generator = np.random.default_rng(seed)
        rows = []
        for row in range(examples):
            length = (5, 7)[row % 2]
            clean, corrupted = generator.integers(len(SPECIAL), 44, (2, length))
            corrupted[-1] = clean[-1]
            if length == 7:
                corrupted[:shared] = clean[:shared]
            answer, wrong = generator.choice(len(VOCABULARY), 2, replace=False)
            ids = ([answer], [wrong])
            rows.append((row, split, clean.tolist(), corrupted.tolist(), *ids))
        columns = ["row", "split", "clean_ids", "corrupted_ids"]
        schema = [*columns, "answer_ids", "wrong_answer_ids"]
        return pl.DataFrame(rows, schema=schema, orient="row")

    return make
