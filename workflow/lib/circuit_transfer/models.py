"""Load and describe checkpoints in the Hugging Face layout, from disk only."""

import hashlib
import logging
from pathlib import Path
from typing import Any

from circuit_transfer.job import pick_device
from circuit_transfer.nodes import node_names

log = logging.getLogger(__name__)


def load_model(
    folder: Path | str, *, dtype: str = "float32", device: str | None = None
):
    """Load a causal language model for inference, with frozen parameters.

    Args:
        folder: the checkpoint folder; weights must be safetensors.
        dtype: of the weights and the passes: `float32`, `bfloat16` or `float16`.
        device: where to put it; by default a GPU when there is one.

    Raises:
        FileNotFoundError: a file of the checkpoint is missing.
        ValueError: the family is not supported, or weights are missing or not finite.
        safetensors.SafetensorError: the weights' file is damaged.
    """
    check_checkpoint(folder)
    # Imported here: 2 seconds that only the stages that run a model should pay.
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging as transformers_logging

    from circuit_transfer.architectures import architecture_of

    transformers_logging.disable_progress_bar()
    model, report = AutoModelForCausalLM.from_pretrained(
        folder,
        output_loading_info=True,
        dtype=getattr(torch, dtype),
        use_safetensors=True,
        local_files_only=True,
        trust_remote_code=False,
    )
    architecture_of(model.config.model_type)
    if report["missing_keys"]:
        # They would be left as random numbers.
        raise ValueError(f"{folder}: no weights for {sorted(report['missing_keys'])}")
    device = device or pick_device()
    for name, parameter in model.named_parameters():
        if not parameter.isfinite().all():
            raise ValueError(f"{folder}: weight {name} is not finite")
    log.info("loaded %s: %s, %s on %s", folder, model.config.model_type, dtype, device)
    return model.requires_grad_(False).eval().to(device)


def load_tokenizer(folder: Path | str):
    """Load the tokenizer of a checkpoint folder.

    Raises:
        FileNotFoundError: the folder has none.
    """
    check_checkpoint(folder)
    # `tokenizer.json` is the whole tokenizer. AutoTokenizer would rebuild parts of it
    # by what it thinks of the family (a qwen2 folder gets another pre-tokenizer).
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)


def describe_model(folder: Path | str, *, dtype: str = "float32") -> dict[str, Any]:
    """Return what the study needs to know of a model, without loading its weights.

    Keys: `path`, `architecture`, `layers`, `heads`, `kv_heads`, `d_model`,
    `context`, `vocabulary`, `dtype`, `nodes`, `tokenizer` (fingerprint).

    Raises:
        FileNotFoundError: a file of the checkpoint is missing.
        ValueError: the model's family is not supported.
    """
    check_checkpoint(folder)
    from transformers import AutoConfig

    from circuit_transfer.architectures import architecture_of

    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    architecture_of(config.model_type)
    layers, heads = config.num_hidden_layers, config.num_attention_heads
    return {
        "path": str(folder),
        "architecture": config.model_type,
        "layers": layers,
        "heads": heads,
        "kv_heads": getattr(config, "num_key_value_heads", heads),
        "d_model": config.hidden_size,
        "context": config.max_position_embeddings,
        "vocabulary": config.vocab_size,
        "dtype": dtype,
        "nodes": list(node_names(layers, heads)),
        "tokenizer": _fingerprint(Path(folder)),
    }


def check_checkpoint(folder: Path | str) -> None:
    """Check that a folder holds a configuration, safetensors weights, a tokenizer.

    Raises:
        FileNotFoundError: names the folder and what is missing there.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such checkpoint folder")
    needed = {
        "model configuration (config.json)": ["config.json"],
        "safetensors weights (model.safetensors or its index)": [
            "model.safetensors",
            "model.safetensors.index.json",
        ],
        "tokenizer (tokenizer.json)": ["tokenizer.json"],
    }
    for what, names in needed.items():
        if not any((folder / name).is_file() for name in names):
            raise FileNotFoundError(f"{folder}: no {what} in this folder")


def _fingerprint(folder: Path) -> str:
    """Return a hash of the tokenizer, whatever else the folder holds."""
    return hashlib.sha256((folder / "tokenizer.json").read_bytes()).hexdigest()[:16]
