"""Dequantise a GGUF file into a checkpoint folder, tokenizer included.

Weights are read by `transformers`, which takes the package `gguf`. What it would leave
out silently, tensors and settings that the model depends on, is an error here.
"""

import hashlib
import logging
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from circuit_transfer.jobs.progress import activity
from circuit_transfer.messages import in_one_line
from circuit_transfer.models.architectures import GGUF_NAMES
from circuit_transfer.models.gguf_files import GgufHeader, read_header
from circuit_transfer.models.gguf_tokenizers import build_tokenizer, check_tokenizer
from circuit_transfer.models.shape import head_width, skeleton

log = logging.getLogger(__name__)

INSTALL = "pip install '.[gguf]'"
WAY_OUT = "give the safetensors checkpoint that it was made from as `path:` or `hub:`"
# Settings that transformers does not read from the file, and what they must be then.
UNREAD = {
    "attention.key_length": head_width,
    "attention.value_length": head_width,
    "attn_logit_softcapping": lambda config: config.attn_logit_softcapping,
    "final_logit_softcapping": lambda config: config.final_logit_softcapping,
}


def check_gguf(path: Path | str) -> GgufHeader:
    """Check that a GGUF file can be dequantised, without reading its tensors.

    Returns:
        The header of the file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the package `gguf` is not installed; not a GGUF file, or a damaged
            or truncated one; its model family, quantisation, tokenizer or position
            encoding is not supported.
    """
    header = read_header(path)
    if header.architecture not in GGUF_NAMES:
        raise ValueError(
            f"{path}: the architecture {header.architecture!r} is not supported; "
            f"known: {', '.join(GGUF_NAMES)}"
        )
    if find_spec("gguf") is None:
        raise ValueError(
            f"{path}: a GGUF file is read by the package gguf, which is not installed; "
            f"install it by `{INSTALL}`"
        )
    _check_tensors(path, header)
    _check_positions(path, header)
    try:
        check_tokenizer(header.settings)
    except ValueError as error:
        raise ValueError(f"{path}: {error}; {WAY_OUT}") from error
    return header


def convert_gguf(path: Path | str, folder: Path | str) -> dict[str, Any]:
    """Dequantise a GGUF file, and save model and tokenizer in the Hugging Face layout.

    Args:
        path: the GGUF file.
        folder: where the checkpoint goes, with float32 weights.

    Returns:
        The record of the conversion: `file`, `bytes`, `sha256`, `architecture`,
        `quantisation` (number of tensors by type) and `dtype` (of the saved weights).

    Raises:
        ValueError: see `check_gguf`; or transformers reads the file incompletely.
    """
    header = check_gguf(path)
    types = _type_counts(header)
    log.info("%s: %s, tensors by type: %s", path, header.architecture, types)
    config = read_gguf_configuration(path)
    _check_all_are_read(path, header, config)
    size = f"{4 * header.values / 1e9:.3f} GB of weights"
    with activity(f"dequantising {path}"):
        model = _dequantised(path, config)
    with activity(f"saving {size}"):
        model.save_pretrained(folder, max_shard_size="1TB")
    log.info("%s saved", size)
    with activity("building the tokenizer"):
        build_tokenizer(path, header.settings).save_pretrained(folder)
    return {
        "file": str(path),
        "bytes": Path(path).stat().st_size,
        "sha256": _sha256(path),
        "architecture": header.architecture,
        "quantisation": types,
        "dtype": "float32",
    }


def read_gguf_configuration(path: Path | str):
    """Return the configuration of a GGUF file's model as an object of `transformers`.

    Raises:
        ValueError: see `check_gguf`; or no model can be built from the settings.
    """
    from transformers import AutoConfig

    path = Path(path)
    check_gguf(path)
    try:
        return AutoConfig.from_pretrained(
            path.parent,
            gguf_file=path.name,
            local_files_only=True,
            trust_remote_code=False,
        )
    # Missing settings raise errors of many types, none of which names the file.
    except Exception as error:
        raise ValueError(
            f"{path}: no model can be built from its settings: {in_one_line(error)}"
        ) from error


def _type_counts(header: GgufHeader) -> dict[str, int]:
    """Return the number of tensors by the name of their quantisation type."""
    from gguf import GGMLQuantizationType

    types = Counter(
        GGMLQuantizationType(tensor.type).name for tensor in header.tensors.values()
    )
    return dict(types.most_common())


def _check_tensors(path: Path | str, header: GgufHeader) -> None:
    """Check that all tensors are in the file, and that their types are known."""
    from gguf import GGML_QUANT_SIZES

    end, size = header.start, Path(path).stat().st_size
    for name, tensor in header.tensors.items():
        if tensor.type not in GGML_QUANT_SIZES:
            raise ValueError(
                f"{path}: tensor {name} has the quantisation type {tensor.type}, which "
                f"the package gguf does not know; install a later one, or {WAY_OUT}"
            )
        values, taken = GGML_QUANT_SIZES[tensor.type]
        end = max(end, header.start + tensor.offset + tensor.size // values * taken)
    if not header.tensors or size < end:
        raise ValueError(
            f"{path}: {size:,} bytes, expected {end:,} for {len(header.tensors)} "
            "tensors: truncated, or not completely downloaded"
        )


def _check_positions(path: Path | str, header: GgufHeader) -> None:
    """Check that positions are encoded without scaling, which transformers ignores."""
    found = [name for name in header.tensors if name.startswith("rope_")]
    if header.setting("rope.scaling.type") not in (None, "none"):
        found.append(f"{header.architecture}.rope.scaling.type")
    found += [
        f"{header.architecture}.{key}"
        for key in ("rope.scale_linear", "rope.scaling.factor")
        if header.setting(key) not in (None, 0.0, 1.0)
    ]
    if found:
        raise ValueError(
            f"{path}: scales the rotary position embeddings ({', '.join(found)}), "
            f"which transformers does not read from GGUF files; {WAY_OUT}"
        )


def _check_all_are_read(path: Path | str, header: GgufHeader, config) -> None:
    """Check that transformers has a place for every tensor, and the same settings."""
    from transformers.modeling_gguf_pytorch_utils import (
        TENSOR_PROCESSORS,
        TensorProcessor,
        get_gguf_hf_weights_map,
    )

    processor = TENSOR_PROCESSORS.get(header.architecture, TensorProcessor)(config={})
    places = get_gguf_hf_weights_map(skeleton(config), processor)
    if surplus := sorted(set(header.tensors) - set(places)):
        raise ValueError(
            f"{path}: transformers has no place for the tensors {', '.join(surplus)} "
            f"in a {config.model_type} model; {WAY_OUT}"
        )
    for key, value in UNREAD.items():
        found = header.setting(key)
        if found is not None and found != value(config):
            raise ValueError(
                f"{path}: {header.architecture}.{key} is {found}, but transformers "
                f"builds the model with {value(config)}; {WAY_OUT}"
            )


def _dequantised(path: Path | str, config):
    """Return the model of a GGUF file in float32, as one that was never quantised."""
    import torch
    from transformers import AutoModelForCausalLM

    path = Path(path)
    model, report = AutoModelForCausalLM.from_pretrained(
        path.parent,
        gguf_file=path.name,
        config=config,
        dtype=torch.float32,
        output_loading_info=True,
        local_files_only=True,
        trust_remote_code=False,
    )
    if report["missing_keys"]:
        raise ValueError(f"{path}: no tensors for {sorted(report['missing_keys'])}")
    # Otherwise transformers refuses to save what it takes for quantised weights.
    vars(model.config).pop("quantization_config", None)
    model.hf_quantizer = model.quantization_method = None
    model.is_quantized = False
    return model


def _sha256(path: Path | str) -> str:
    with activity(f"hashing {path}"), Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
