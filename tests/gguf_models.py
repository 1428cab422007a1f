"""Tiny random models, written as GGUF files by the package `gguf`.

The opposite of what `transformers` does when it reads one: names by the tables of the
package, queries and keys of a llama in the other order, and so on, as the script
`convert_hf_to_gguf.py` of llama.cpp does.
"""

from pathlib import Path

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.convert_slow_tokenizer import bytes_to_unicode

END = "<|endoftext|>"
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
SPACE = bytes_to_unicode()[ord(" ")]
MERGES = [f"{SPACE} {SPACE}", "a n", *(f"{SPACE} {letter}" for letter in LETTERS)]
# All bytes, as the merges name them, and what these make of them.
TOKENS = [END, *bytes_to_unicode().values(), *(m.replace(" ", "") for m in MERGES)]
# A vocabulary of SentencePiece, whose merges follow from the scores: the first best.
BYTES = [f"<0x{number:02X}>" for number in range(256)]
PIECES = ["<unk>", "<s>", "</s>", *BYTES, "▁", "a", "n", "▁a", "an", "▁an", "1", "2"]
SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}
GPT2_SIZES = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_ctx": 512}
# By family: the name in the file, and the settings that differ.
FAMILIES = {
    "llama": ("llama", {"rope_parameters": {"rope_theta": 500.0}}),
    "llama-untied": ("llama", {"tie_word_embeddings": False}),
    "qwen2": ("qwen2", {}),
    "qwen3": ("qwen3", {"head_dim": 128, "num_attention_heads": 2}),
    "gemma2": ("gemma2", {"head_dim": 16, "sliding_window": 3}),
    "gemma3_text": ("gemma3", {"head_dim": 16, "sliding_window": 3}),
    "phi3": ("phi3", {}),
    "gpt2": ("gpt2", GPT2_SIZES),
}


def tiny_model(family: str, seed: int = 0):
    """Return a random model of a family, all of whose values matter."""
    _, settings = FAMILIES[family]
    sizes = {} if family == "gpt2" else SIZES
    tied = {"tie_word_embeddings": True}
    ids = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    config = AutoConfig.for_model(
        family.split("-")[0],
        vocab_size=len(TOKENS),
        **{**sizes, **tied, **ids, **settings},
    )
    model = AutoModelForCausalLM.from_config(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def write_gguf(
    path: Path,
    model,
    family: str,
    *,
    quantised: str = "F32",
    tokenizer: str | None = "gpt2",
    split: str | None = "smollm",
    tensors: dict[str, np.ndarray] | None = None,
    **settings,
) -> None:
    """Write a model and its tokenizer.

    Args:
        path: where it goes.
        model: the model.
        family: its name in `FAMILIES`.
        quantised: type of the matrices.
        tokenizer: kind of the tokenizer, as the file names it: `gpt2` for byte pairs,
            `llama` for SentencePiece.
        split: how a tokenizer of byte pairs splits text, as the file names it.
        tensors: further tensors by name.
        settings: further settings of the family; dots are two underscores.
    """
    name, _ = FAMILIES[family]
    writer = gguf.GGUFWriter(path, name)
    _write_sizes(writer, model.config)
    for key, value in settings.items():
        add = {str: writer.add_string, float: writer.add_float32}.get(type(value))
        (add or writer.add_uint32)(f"{name}.{key.replace('__', '.')}", value)
    if tokenizer:
        _write_tokenizer(writer, tokenizer, split)
    for key, value in (named_tensors(model, name) | (tensors or {})).items():
        kind = GGMLQuantizationType[quantised if value.ndim > 1 else "F32"]
        if kind == GGMLQuantizationType.F32:
            writer.add_tensor(key, value)
        else:
            writer.add_tensor(key, gguf.quantize(value, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def named_tensors(model, name: str) -> dict[str, np.ndarray]:
    """Return the weights of a model as a GGUF file has them, by their names there."""
    config = model.config
    arch = next(key for key, each in gguf.MODEL_ARCH_NAMES.items() if each == name)
    names = gguf.get_tensor_name_map(arch, config.num_hidden_layers)
    tied = config.tie_word_embeddings
    found = {}
    for key, value in model.state_dict().items():
        if tied and key == "lm_head.weight":
            continue
        base, _, suffix = key.rpartition(".")
        found_name = f"{names.get_name(base)}.{suffix}"
        found[found_name] = _as_stored(value, found_name, name, config).numpy()
    return found


def _as_stored(value, key: str, name: str, config):
    if name == "llama" and (".attn_q." in key or ".attn_k." in key):
        heads = config.num_attention_heads
        heads = heads if "attn_q" in key else config.num_key_value_heads
        halves = value.reshape(heads, 2, len(value) // heads // 2, *value.shape[1:])
        value = halves.swapaxes(1, 2).reshape(value.shape)
    if name in ("gemma2", "gemma3") and "norm" in key:
        value = value + 1
    matrices = ("attn_qkv.weight", "ffn_", "attn_output.weight")
    if name == "gpt2" and value.dim() == 2 and any(each in key for each in matrices):
        value = value.T
    return value.contiguous().float()


def _write_sizes(writer, config) -> None:
    heads = config.num_attention_heads
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(heads)
    writer.add_vocab_size(config.vocab_size)
    if config.model_type == "gpt2":
        writer.add_feed_forward_length(4 * config.hidden_size)
        writer.add_layer_norm_eps(config.layer_norm_epsilon)
        return
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_key_length(width)
    writer.add_value_length(width)
    writer.add_rope_dimension_count(width)
    angles = config.rope_parameters
    angles = angles.get("full_attention", angles)
    writer.add_rope_freq_base(angles["rope_theta"])
    if config.model_type.startswith("gemma"):
        writer.add_sliding_window(config.sliding_window)


def _write_tokenizer(writer, kind: str, split: str | None) -> None:
    writer.add_tokenizer_model(kind)
    if kind == "llama":
        kinds = [2, 3, 3, *[6] * len(BYTES)]
        rest = len(PIECES) - len(kinds)
        writer.add_token_list(PIECES)
        writer.add_token_types([*kinds, *[1] * rest])
        writer.add_token_scores([*[0.0] * len(kinds), *(-1.0 * i for i in range(rest))])
        writer.add_bos_token_id(1)
        writer.add_eos_token_id(2)
        return
    if split:
        writer.add_tokenizer_pre(split)
    writer.add_token_list(TOKENS)
    writer.add_token_types([3, *[1] * (len(TOKENS) - 1)])
    writer.add_token_merges(MERGES)
    for special in ("bos", "eos", "pad"):
        getattr(writer, f"add_{special}_token_id")(0)
    writer.add_add_bos_token(False)
