"""Check the files of a checkpoint folder: required files, completeness, finite weights.

Only the check of the weights' values needs torch.
"""

import json
from collections.abc import Collection, Iterator
from math import prod
from pathlib import Path
from typing import Any

from circuit_transfer.artifacts.text import read_json
from circuit_transfer.messages import quoted

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
# The limit of the safetensors format, in bytes.
LONGEST_HEADER = 100_000_000
# Values that are checked at once: 64 MB in float32, which suits a CPU's cache.
CHUNK = 2**24


def check_checkpoint(folder: Path | str) -> None:
    """Check that a folder contains a configuration, a tokenizer and all weight files.

    Only the headers of the weight files are read.

    Raises:
        FileNotFoundError: a file is missing; the message names the folder and the file.
        ValueError: a weight file is truncated, or not a safetensors file.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such checkpoint folder")
    missing = missing_part([file.name for file in folder.iterdir()])
    if missing:
        raise FileNotFoundError(f"{folder}: {missing}")
    for name in weight_files(folder):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder}: no {name}, which {INDEX} names")
        _read_header(folder / name)


def check_weights(folder: Path | str, parameters: int) -> None:
    """Check that the weights are as many as a model needs, and that all are finite.

    Every file is read once, one tensor at a time.

    Args:
        folder: the checkpoint folder.
        parameters: number of parameters of the model of its configuration.

    Raises:
        ValueError: weights are missing, or one is not finite.
    """
    files = [Path(folder) / name for name in weight_files(folder)]
    found = sum(
        prod(tensor["shape"])
        for file in files
        for tensor in _read_header(file).values()
    )
    # More are allowed: a tied matrix stored twice, or buffers of older versions.
    if found < parameters:
        raise ValueError(
            f"{folder}: {found:,} weights, but the model of its config.json has "
            f"{parameters:,}: weights are missing, or of another model"
        )
    for file in files:
        for name, tensor in _tensors(file):
            if not is_finite(tensor):
                raise ValueError(f"{file}: weight {name} is not finite")


def is_finite(tensor) -> bool:
    """Return whether all values of a tensor are finite, limited by memory bandwidth."""
    import torch

    # `isfinite().all()` takes twenty times as long in bfloat16 on a CPU.
    return all(
        bool(end.isfinite())
        for chunk in tensor.flatten().split(CHUNK)
        for end in (torch.aminmax(chunk) if len(chunk) else ())
    )


def missing_part(files: Collection[str]) -> str | None:
    """Return which part of a checkpoint is missing among file names, and a remedy."""
    if "config.json" not in files:
        return "no model configuration (config.json)"
    if WEIGHTS not in files and INDEX not in files:
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
    if (Path(folder) / WEIGHTS).is_file() or not index.is_file():
        return [WEIGHTS]
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


def _read_header(path: Path) -> dict[str, dict[str, Any]]:
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


def _tensors(path: Path) -> Iterator[tuple[str, Any]]:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118
            yield name, file.get_tensor(name)


def _missing_weights(files: Collection[str]) -> str:
    pickled = sorted(file for file in files if file.endswith(PICKLED))
    if not pickled:
        return f"no safetensors weights ({WEIGHTS} or its index)"
    return (
        f"no safetensors weights, only {pickled[0]}: loading pickled weights can run "
        "arbitrary code, so they are not read. Convert them in an environment that you "
        "trust, with `AutoModelForCausalLM.from_pretrained(...).save_pretrained("
        "folder, safe_serialization=True)` and the same for AutoTokenizer, and give "
        "that folder as `path:`"
    )
