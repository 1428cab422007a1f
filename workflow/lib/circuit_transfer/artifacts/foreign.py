"""Files of other projects: what they are, by their first bytes, and their tensors."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

PICKLED = (".pt", ".pth", ".bin", ".pkl", ".pickle", ".ckpt")
REMEDY = (
    "a pickle can run code and is never opened here; convert it where it was written, "
    "of EAP-IG: `import torch, safetensors.torch as st; g = torch.load('graph.pt'); "
    "st.save_file({k: v.contiguous() for k, v in g.items() if torch.is_tensor(v)}, "
    "'graph.safetensors')`, and likewise the tensors by module of auto-circuit; or "
    "write JSON, in EAP-IG with `graph.to_json`"
)


def holds_tensors(path: Path | str) -> bool:
    """Return whether a file is of safetensors, by its content, or else by its name.

    Raises:
        ValueError: it is pickled; says how to convert it.
    """
    path = Path(path)
    with path.open("rb") as file:
        start = file.read(9)
    # Safetensors start with the length of their header, and that with a brace.
    length = int.from_bytes(start[:8], "little")
    if start[8:] == b"{" and length < path.stat().st_size:
        return True
    # Of a pickle since protocol 2, and of the archives that PyTorch puts them into.
    pickled = start[:1] == b"\x80" and start[1:2] in (b"\2", b"\3", b"\4", b"\5")
    named = path.suffix.lower() in PICKLED and start.lstrip()[:1] not in (b"{", b"[")
    if pickled or named or start[:2] == b"PK":
        raise ValueError(f"{path}: {REMEDY}")
    return path.suffix == ".safetensors"


def read_foreign_tensors(
    path: Path | str, wanted: Callable[[str], bool]
) -> dict[str, np.ndarray]:
    """Read some tensors of a safetensors file of another project, numbers as float32.

    Args:
        path: the file.
        wanted: whether to read a tensor, by its name.

    Raises:
        ValueError: the file is damaged.
    """
    try:
        # NumPy has no bfloat16.
        with safe_open(path, framework="pt") as file:
            names = [name for name in file.keys() if wanted(name)]  # noqa: SIM118
            return {name: _array(file.get_tensor(name)) for name in names}
    except SafetensorError as error:
        raise ValueError(f"{path}: not a readable safetensors file: {error}") from error


def _array(tensor: Any) -> np.ndarray:
    if tensor.is_floating_point():
        tensor = tensor.float()
    return tensor.numpy()
