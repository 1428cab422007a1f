"""The state of an interrupted training: tensors, and JSON that says whose they are."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from circuit_transfer.artifacts import (
    read_json,
    read_tensors,
    write_json,
    write_tensors,
)

log = logging.getLogger(__name__)


def save_state(
    folder: Path | str,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    step: int,
    **state: Any,
) -> None:
    """Save weights, the optimizer's moments and whatever else JSON can hold."""
    folder = Path(folder)
    tensors = {f"model/{name}": value for name, value in model.state_dict().items()}
    for index, moments in optimizer.state_dict()["state"].items():
        for name, value in moments.items():
            tensors[f"optimizer/{index}/{name}"] = value
    # The tensors first, then the JSON that names them: whenever the job dies, the
    # JSON that is there belongs to tensors that are there.
    file = f"step-{step}.safetensors"
    arrays = {name: value.numpy() for name, value in tensors.items()}
    write_tensors(folder / file, arrays)
    write_json({"tensors": file, **state}, folder / "state.json")
    for old in folder.glob("step-*.safetensors"):
        if old.name != file:
            old.unlink()


def load_state(
    folder: Path | str,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    matching: Mapping[str, Any],
) -> dict[str, Any] | None:
    """Load a saved state into model and optimizer and give the rest of it.

    Nothing is loaded where there is no state, or one with other values than `matching`.
    """
    folder = Path(folder)
    if not (folder / "state.json").exists():
        return None
    state = read_json(folder / "state.json")
    if any(state.get(key) != value for key, value in matching.items()):
        log.info("%s has other settings or words: starting anew", folder)
        return None
    weights: dict[str, torch.Tensor] = {}
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in read_tensors(folder / state["tensors"]).items():
        part, _, rest = name.partition("/")
        if part == "model":
            weights[rest] = torch.from_numpy(value)
        else:
            index, _, moment = rest.partition("/")
            moments.setdefault(int(index), {})[moment] = torch.from_numpy(value)
    model.load_state_dict(weights)
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": moments, "param_groups": groups})
    return state
