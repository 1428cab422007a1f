"""Check the files of a checkpoint folder: required files, completeness, data types.

Nothing here needs torch: see `weights` for what is inside the files.
"""

import json
import re
from collections.abc import Collection
from math import prod
from pathlib import Path
from typing import Any

from circuit_transfer.artifacts.text import read_json
from circuit_transfer.messages import quoted
from circuit_transfer.models.unusable import (
    WEIGHTS,
    adapter_among,
    quantisation_among,
    quantisation_in,
    quantisation_of,
)

SINGLE, INDEX = WEIGHTS
# All files of a checkpoint except its weights that a stage opens.
SETTINGS = (
    "config.json",
    "generation_config.json",
    INDEX,
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
)
# Buffers that older exports store and that models compute themselves: rotary
# frequencies, causal masks, positions.
BUFFERS = re.compile(
    r"(^|\.)("
    r"rotary_emb\w*\.\w*(inv_freq|cos_cached|sin_cached)"
    r"|(attn|attention)\.(bias|masked_bias)"
    r"|position_ids"
    r")$"
)
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
# The limit of the safetensors format, in bytes.
LONGEST_HEADER = 100_000_000


def check_checkpoint(folder: Path | str) -> None:
    """Check that a folder contains a configuration, a tokenizer and all weight files.

    Only the headers of the weight files are read.

    Raises:
        FileNotFoundError: a file is missing; the message names the folder and the file.
        ValueError: a weight file is truncated, or not a safetensors file; or the
            checkpoint is an adapter, has one, or is quantised.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such checkpoint folder")
    check_listing([file.name for file in folder.iterdir()], where=folder)
    check_configuration(folder)
    for name in weight_files(folder):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder}: no {name}, which {INDEX} names")
        header = {
            weight: str(tensor.get("dtype"))
            for weight, tensor in read_header(folder / name).items()
            if not BUFFERS.search(weight)
        }
        if problem := quantisation_of(header):
            raise ValueError(f"{folder / name}: {problem}")


def check_listing(files: Collection[str], where: Path | str) -> None:
    """Check by the names of its files that a checkpoint is a whole, plain model.

    Args:
        files: names relative to the checkpoint's folder.
        where: folder or repository, for the message.

    Raises:
        FileNotFoundError: a part is missing.
        ValueError: there is an adapter, or the weights are quantised.
    """
    if problem := adapter_among(files) or quantisation_among(files):
        raise ValueError(f"{where}: {problem}")
    if missing := missing_part(files):
        raise FileNotFoundError(f"{where}: {missing}")


def check_configuration(folder: Path | str) -> None:
    """Check that config.json describes weights that are plain, in the usual files.

    Raises:
        ValueError: the weights are quantised, or in files of other names.
    """
    path = Path(folder) / "config.json"
    config = _read_object(path)
    if problem := quantisation_in(config):
        raise ValueError(f"{path}: {problem}")
    if config.get("transformers_weights") is not None:
        found = quoted(repr(config["transformers_weights"]))
        raise ValueError(
            f"{path}: transformers_weights: {found}; expected the weights in {SINGLE} "
            "or its shards, without this key"
        )


def missing_part(files: Collection[str]) -> str | None:
    """Return which part of a checkpoint is missing among file names, and a remedy."""
    if "config.json" not in files:
        return "no model configuration (config.json)"
    if SINGLE not in files and INDEX not in files:
        return _missing_weights(files)
    if "tokenizer.json" not in files:
        return (
            "no tokenizer (tokenizer.json); convert one in an older format by "
            "`AutoTokenizer.from_pretrained(...).save_pretrained(folder)`"
        )
    return None


def weight_files(folder: Path | str) -> list[str]:
    """Return the names of the weight files: one, or the shards listed in the index.

    The weight files themselves need not exist.
    """
    index = Path(folder) / INDEX
    # If both exist, transformers reads the single file.
    if (Path(folder) / SINGLE).is_file() or not index.is_file():
        return [SINGLE]
    named = _read_object(index).get("weight_map")
    names = list(named.values()) if isinstance(named, dict) else []
    # transformers would unpickle files with any other suffix.
    if not names or not all(map(_is_weight_file, names)):
        raise ValueError(
            f"{index}: expected a weight_map that names a safetensors file of this "
            "folder for each weight"
        )
    return sorted(set(names))


def read_model_type(folder: Path | str) -> str | None:
    """Return the `model_type` in the configuration of a checkpoint.

    Raises:
        ValueError: the configuration is not a JSON object, or `model_type` not a text.
    """
    path = Path(folder) / "config.json"
    family = _read_object(path).get("model_type")
    if not isinstance(family, str | None):
        found = quoted(repr(family))
        raise ValueError(f"{path}: model_type: expected a name, found {found}")
    return family


def read_sizes(folder: Path | str) -> tuple[Any, Any]:
    """Return the layers and the heads of each in the configuration of a checkpoint.

    None where it has none, since it leaves out what is the default of its family.

    Raises:
        ValueError: the configuration is not a JSON object.
    """
    config = _read_object(Path(folder) / "config.json")
    # Older families have names of their own.
    names = ("num_hidden_layers", "n_layer"), ("num_attention_heads", "n_head")
    layers, heads = (
        next((config[name] for name in of_size if name in config), None)
        for of_size in names
    )
    return layers, heads


def _is_weight_file(name: Any) -> bool:
    is_in_folder = isinstance(name, str) and Path(name).name == name
    return is_in_folder and name.endswith(".safetensors")


def _read_object(path: Path) -> dict[str, Any]:
    found = read_json(path)
    if not isinstance(found, dict):
        raise ValueError(
            f"{path}: expected a JSON object, found {type(found).__name__}"
        )
    return found


def read_header(path: Path) -> dict[str, dict[str, Any]]:
    """Return the header of a safetensors file, after checking that it is complete.

    Layout of the file: length of the header in 8 bytes, the header in JSON, the data.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        first = file.read(8)
        length = int.from_bytes(first, "little")
        if first == b"version ":
            raise ValueError(
                f"{path}: a Git LFS pointer instead of the weights; run `git lfs pull`"
            )
        header = file.read(min(length, LONGEST_HEADER))
    try:
        tensors = json.loads(header)
        tensors.pop("__metadata__", None)
        end = max((each["data_offsets"][1] for each in tensors.values()), default=0)
        _ = [prod(each["shape"]) for each in tensors.values()]
    except (
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        RecursionError,
    ) as error:
        raise ValueError(
            f"{path}: not a safetensors file, or truncated ({size:,} bytes)"
        ) from error
    if size != 8 + length + end:
        raise ValueError(
            f"{path}: {size:,} bytes, expected {8 + length + end:,} by its header: "
            "damaged, or not completely downloaded"
        )
    return tensors


def _missing_weights(files: Collection[str]) -> str:
    pickled = sorted(file for file in files if file.endswith(PICKLED))
    if not pickled:
        return f"no safetensors weights ({SINGLE} or its index)"
    return (
        f"no safetensors weights, only {pickled[0]}: loading pickled weights can run "
        "arbitrary code, so they are not read. Convert them in an environment that you "
        "trust, with `AutoModelForCausalLM.from_pretrained(...).save_pretrained("
        "folder, safe_serialization=True)` and the same for AutoTokenizer, and give "
        "that folder as `path:`"
    )
