"""The files of a checkpoint folder: which there must be, and whether they are whole.

Only looking at every weight needs torch.
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
# The format's own limit.
LONGEST_HEADER = 100_000_000
# Values that are looked at together: 64 MB, which a processor's caches can follow.
CHUNK = 2**24


def check_checkpoint(folder: Path | str) -> None:
    """Check that a folder holds a configuration, a tokenizer and all of its weights.

    Of the weights only the headers are read.

    Raises:
        FileNotFoundError: names the folder and what is missing there.
        ValueError: a weight file is cut short, or no safetensors file.
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
    """Check that the weights suffice for a model, and that each of them is finite.

    Every file is read once from end to end, a tensor at a time.

    Args:
        folder: the checkpoint folder.
        parameters: how many numbers the model of its configuration has.

    Raises:
        ValueError: names the folder, and a weight that is not finite.
    """
    files = [Path(folder) / name for name in weight_files(folder)]
    there = sum(
        prod(tensor["shape"])
        for file in files
        for tensor in _read_header(file).values()
    )
    # More there may be: a tied matrix written twice, or masks of older versions.
    if there < parameters:
        raise ValueError(
            f"{folder}: {there:,} weights, but the model of its config.json has "
            f"{parameters:,}: a part is missing, or they do not belong together"
        )
    for file in files:
        for name, tensor in _tensors(file):
            if not is_finite(tensor):
                raise ValueError(f"{file}: weight {name} is not finite")


def is_finite(tensor) -> bool:
    """Tell whether all values of a tensor are finite, at the speed of its memory."""
    import torch

    # Not `isfinite().all()`: it takes twenty times as long in bfloat16 on a processor.
    return all(
        bool(end.isfinite())
        for chunk in tensor.flatten().split(CHUNK)
        for end in (torch.aminmax(chunk) if len(chunk) else ())
    )


def missing_part(files: Collection[str]) -> str | None:
    """Say which part of a checkpoint is not among some file names, and the way out."""
    if "config.json" not in files:
        return "no model configuration (config.json)"
    if WEIGHTS not in files and INDEX not in files:
        return _missing_weights(files)
    if "tokenizer.json" not in files:
        return (
            "no tokenizer (tokenizer.json); an older one is converted by "
            "`AutoTokenizer.from_pretrained(...).save_pretrained(folder)`"
        )
    return None


def weight_files(folder: Path | str) -> list[str]:
    """List the weight files of a checkpoint: one, or the shards that its index names.

    Only the configuration and the index need to be there.
    """
    index = Path(folder) / INDEX
    # Where there are both, transformers reads the single file.
    if (Path(folder) / WEIGHTS).is_file() or not index.is_file():
        return [WEIGHTS]
    named = _read_object(index).get("weight_map")
    names = list(named.values()) if isinstance(named, dict) else []
    # Whatever has another ending transformers would unpickle.
    if not names or not all(map(_is_weight_file, names)):
        raise ValueError(
            f"{index}: expected a weight_map that names a safetensors file of this "
            "folder for every weight"
        )
    return sorted(set(names))


def read_model_type(folder: Path | str) -> str | None:
    """Return the family that a checkpoint's configuration names.

    Raises:
        ValueError: the configuration is not a JSON object, or names no family.
    """
    path = Path(folder) / "config.json"
    family = _read_object(path).get("model_type")
    if not isinstance(family, str | None):
        found = quoted(repr(family))
        raise ValueError(f"{path}: model_type: expected a name, found {found}")
    return family


def _is_weight_file(name: Any) -> bool:
    is_beside = isinstance(name, str) and Path(name).name == name
    return is_beside and name.endswith(".safetensors")


def _read_object(path: Path) -> dict[str, Any]:
    found = read_json(path)
    if not isinstance(found, dict):
        raise ValueError(
            f"{path}: expected a JSON object, found {type(found).__name__}"
        )
    return found


def _read_header(path: Path) -> dict[str, dict[str, Any]]:
    """Return what a safetensors file says of its tensors, if the file is whole.

    Its layout: the header's length in 8 bytes, the header in JSON, the tensors' data.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        first = file.read(8)
        length = int.from_bytes(first, "little")
        if first == b"version ":
            raise ValueError(
                f"{path}: a pointer of Git LFS, not the weights; expected what "
                "`git lfs pull` puts in its place"
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
            f"{path}: not a safetensors file, or cut short ({size:,} bytes)"
        ) from error
    if size != 8 + length + end:
        raise ValueError(
            f"{path}: {size:,} bytes, expected {8 + length + end:,} by its header: "
            "damaged, or not downloaded to its end"
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
        f"no safetensors weights, only {pickled[0]}: reading pickled weights can run "
        "any code, so they are not read. Convert them in an environment that you "
        "trust, with `AutoModelForCausalLM.from_pretrained(...).save_pretrained("
        "folder, safe_serialization=True)` and the same of AutoTokenizer, and give "
        "that folder as `path:`"
    )
