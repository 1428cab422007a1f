"""What a study needs to know of a model, read off its checkpoint."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from circuit_transfer.messages import in_one_line
from circuit_transfer.models.architectures import architecture_of, has_parallel_mlp
from circuit_transfer.models.checkpoints import (
    check_checkpoint,
    check_weights,
    read_model_type,
)
from circuit_transfer.models.loading import asks_for_bos, load_tokenizer, read_settings
from circuit_transfer.models.nodes import node_names
from circuit_transfer.models.shape import head_width, mlp_width, skeleton


def describe_model(
    folder: Path | str,
    *,
    dtype: str = "float32",
    attn_implementation: str | None = None,
    device_map: str | Mapping[str, str | int] | None = None,
) -> dict[str, Any]:
    """Return what the study needs to know of a model, having looked at all its files.

    The weights are read once, but never all together. So what is wrong with a
    checkpoint is found here, before any stage computes with it.

    Keys: `path`, how to load it (`dtype`, `attn_implementation`, `device_map`),
    `tokenizer` (fingerprint), and those of `describe_configuration`.

    Raises:
        FileNotFoundError: a file of the checkpoint is missing.
        ValueError: the model's family is not supported, a file is damaged, weights are
            missing or not finite, or the tokenizer has tokens that the model has not.
    """
    check_checkpoint(folder)
    configuration = _read_configuration(folder)
    _check_vocabulary(Path(folder), configuration["vocabulary"])
    check_weights(folder, configuration["parameters"])
    return {
        "path": str(folder),
        **configuration,
        "dtype": dtype,
        "attn_implementation": attn_implementation,
        "device_map": device_map,
        "tokenizer": _fingerprint(Path(folder)),
    }


def describe_configuration(config) -> dict[str, Any]:
    """Return what a model of a `transformers` configuration is made of.

    The model is built without memory for its weights, so `parameters` is exact (a tied
    matrix counts once).

    Keys: `architecture`, `layers`, `heads`, `kv_heads`, `d_model`, `d_head`, `d_mlp`,
    `context` (in positions), `vocabulary`, `parameters`, `parallel_mlp`, `nodes`.

    Raises:
        ValueError: the family is not supported.
    """
    architecture_of(config.model_type)
    model = skeleton(config)
    layers, heads = config.num_hidden_layers, config.num_attention_heads
    return {
        "architecture": config.model_type,
        "layers": layers,
        "heads": heads,
        "kv_heads": getattr(config, "num_key_value_heads", None) or heads,
        "d_model": config.hidden_size,
        "d_head": head_width(config),
        "d_mlp": mlp_width(config),
        "context": config.max_position_embeddings,
        "vocabulary": config.vocab_size,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "parallel_mlp": has_parallel_mlp(config),
        "nodes": list(node_names(layers, heads)),
    }


def _read_configuration(folder: Path | str) -> dict[str, Any]:
    """Describe the configuration of a checkpoint, see `describe_configuration`."""
    architecture_of(read_model_type(folder))
    try:
        return describe_configuration(read_settings(folder))
    # Wrong values end in all kinds of errors, and none of them names the file.
    except Exception as error:
        raise ValueError(
            f"{folder}: config.json makes no model: {in_one_line(error)}"
        ) from error


def _check_vocabulary(folder: Path, vocabulary: int) -> None:
    # Tokens that were added to a tokenizer may lie beyond (an image's in Gemma 3): a
    # pair that needs one is rejected.
    tokens = load_tokenizer(folder).vocab_size
    if tokens > vocabulary:
        raise ValueError(
            f"{folder}: tokenizer.json has {tokens} tokens, but config.json a "
            f"vocab_size of {vocabulary}: the tokenizer is of another model"
        )


def _fingerprint(folder: Path) -> str:
    """Return a hash of the tokenizer, whatever else the folder holds."""
    digest = hashlib.sha256((folder / "tokenizer.json").read_bytes())
    if asks_for_bos(folder):
        digest.update(b"add_bos_token")
    return digest.hexdigest()[:16]
