"""Describe a model from its checkpoint: architecture, sizes, nodes, tokenizer."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from circuit_transfer.messages import in_one_line
from circuit_transfer.models.architectures import architecture_of, has_parallel_mlp
from circuit_transfer.models.checkpoints import (
    check_checkpoint,
    check_weights,
    read_model_type,
)
from circuit_transfer.models.loading import load_tokenizer, read_settings
from circuit_transfer.models.nodes import node_names
from circuit_transfer.models.shape import head_width, mlp_width, skeleton
from circuit_transfer.models.tokenizer_files import asks_for_bos

# Takes a model on the meta device, and raises ValueError if something is wrong with it.
Check = Callable[[Any], None]


def describe_model(
    folder: Path | str,
    *,
    dtype: str = "float32",
    attn_implementation: str | None = None,
    device_map: str | Mapping[str, str | int] | None = None,
    check: Check | None = None,
) -> dict[str, Any]:
    """Check all files of a checkpoint and return the description of its model.

    The weights are read once, one tensor at a time, so that a defective checkpoint is
    reported before any stage computes with it.

    Args:
        folder: the checkpoint folder.
        dtype: data type to load the model with.
        attn_implementation: attention implementation to load the model with.
        device_map: devices to load the model on.
        check: of the model, before its weights are read; see `describe_configuration`.

    Returns:
        `path`, the settings for loading (`dtype`, `attn_implementation`,
        `device_map`), `tokenizer` (fingerprint), and the keys of
        `describe_configuration`.

    Raises:
        FileNotFoundError: a file of the checkpoint is missing.
        ValueError: the model family is not supported, a file is damaged, weights are
            missing or not finite, or the tokenizer has more tokens than the model.
    """
    check_checkpoint(folder)
    configuration = _read_configuration(folder, check)
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


def describe_configuration(config, *, check: Check | None = None) -> dict[str, Any]:
    """Return the architecture, sizes and nodes of a model by its configuration.

    The model is built on the meta device, so `parameters` is exact (a tied matrix
    counts once).

    Args:
        config: a configuration of `transformers`.
        check: of the model that is built, such as `interventions.families.check_sites`,
            which this package, being below interventions, cannot import.

    Returns:
        `architecture`, `layers`, `heads`, `kv_heads`, `d_model`, `d_head`, `d_mlp`,
        `context` (in positions), `vocabulary`, `parameters`, `parallel_mlp`, `nodes`.

    Raises:
        ValueError: the family is not supported, or the check fails.
    """
    architecture_of(config.model_type)
    model = skeleton(config)
    if check is not None:
        check(model)
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


def _read_configuration(folder: Path | str, check: Check | None) -> dict[str, Any]:
    """Describe the configuration of a checkpoint, see `describe_configuration`."""
    architecture_of(read_model_type(folder))
    try:
        return describe_configuration(read_settings(folder), check=check)
    # Wrong values raise errors of many types, none of which names the file.
    except Exception as error:
        raise ValueError(
            f"{folder}: no model can be built from config.json: {in_one_line(error)}"
        ) from error


def _check_vocabulary(folder: Path, vocabulary: int) -> None:
    # Added tokens may have larger ids (the image token of Gemma 3): pairs that contain
    # one are rejected.
    tokens = load_tokenizer(folder).vocab_size
    if tokens > vocabulary:
        raise ValueError(
            f"{folder}: tokenizer.json has {tokens} tokens, but config.json a "
            f"vocab_size of {vocabulary}: the tokenizer belongs to another model"
        )


def _fingerprint(folder: Path) -> str:
    """Return a hash of the tokenizer alone."""
    digest = hashlib.sha256((folder / "tokenizer.json").read_bytes())
    if asks_for_bos(folder):
        digest.update(b"add_bos_token")
    return digest.hexdigest()[:16]
