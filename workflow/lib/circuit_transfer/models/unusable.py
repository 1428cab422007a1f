"""Recognise checkpoints that are no plain model: adapters and quantised weights.

Decided by file names, config.json and data types alone, so that a study is refused
before its first job.
"""

from collections.abc import Collection, Mapping
from typing import Any

from circuit_transfer.messages import quoted, some

WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
ADAPTERS = (
    "adapter_config.json",
    "adapter_model.safetensors",
    "adapter_model.bin",
    "adapters.safetensors",
    "pytorch_lora_weights.safetensors",
)
QUANTISATIONS = (
    "quantize_config.json",
    "quant_config.json",
    "quantization_config.json",
    "hf_quant_config.json",
)
QUANTISATION_KEYS = ("quantization_config", "compression_config")
# As named in the headers of safetensors files.
FLOATS = ("F64", "F32", "F16", "BF16")

MERGE = (
    "merge it into its base model with peft, "
    "`PeftModel.from_pretrained(base, adapter).merge_and_unload().save_pretrained("
    "folder)`, save the tokenizer there too, and give that folder as `path:`"
)
DEQUANTISE = (
    "use the unquantised model; or load this one with transformers where its kernels "
    "are installed, and save it by `model.dequantize().save_pretrained(folder)` with "
    "its tokenizer, and give that folder as `path:`"
)


def adapter_among(files: Collection[str]) -> str | None:
    """Return what an adapter among the names of a checkpoint's files is, and a remedy.

    An adapter beside a model is reported too: transformers applies it where peft is
    installed, and ignores it elsewhere.
    """
    found = [name for name in ADAPTERS if name in files]
    if not found:
        return None
    named = f"({', '.join(found)})"
    if not any(name in files for name in WEIGHTS):
        return f"an adapter {named} instead of a model: {MERGE}"
    return (
        f"an adapter {named} beside the model: {MERGE}; or remove it, if the model "
        "alone is meant"
    )


def quantisation_among(files: Collection[str]) -> str | None:
    """Return which file of a checkpoint says that it is quantised, and a remedy."""
    found = next((name for name in QUANTISATIONS if name in files), None)
    return f"quantised weights ({found}): {DEQUANTISE}" if found else None


def quantisation_in(config: Mapping[str, Any]) -> str | None:
    """Return how a config.json says that the weights are quantised, and a remedy."""
    for key in QUANTISATION_KEYS:
        if config.get(key) is not None:
            method = _method(config[key])
            return f"{key}: quantised weights ({method}): {DEQUANTISE}"
    return None


def quantisation_of(dtypes: Mapping[str, str]) -> str | None:
    """Return which weights are not floating-point numbers, and a remedy.

    Args:
        dtypes: data type of every weight by name, as in a safetensors header.
    """
    other = {name: dtype for name, dtype in dtypes.items() if dtype not in FLOATS}
    if not other:
        return None
    return (
        f"weights of type {', '.join(sorted(set(other.values())))}, expected "
        f"{', '.join(FLOATS)}: quantised weights ({some(sorted(other))}): {DEQUANTISE}"
    )


def _method(settings: Any) -> str:
    """Return the name of a quantisation method in its settings."""
    if not isinstance(settings, Mapping):
        return quoted(repr(settings))
    named = (settings.get(key) for key in ("quant_method", "quant_algo", "format"))
    bits = next((f"{n} bits" for n in (4, 8) if settings.get(f"load_in_{n}bit")), None)
    return str(next(filter(None, [*named, bits]), "by an unnamed method"))
