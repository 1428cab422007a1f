"""Partial progress of a long stage, saved so that an interrupted one can resume.

A stage gives its state at moments when that is consistent. Every few minutes it is
written to one file, and an interrupted stage resumes from there, to the same result. A
stage that takes less time writes nothing.
"""

import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import cached_property
from hashlib import file_digest, sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from circuit_transfer.artifacts.tensors import read_tensors, write_tensors
from circuit_transfer.jobs.job import pick_device

log = logging.getLogger(__name__)

SECONDS = 300.0
# Larger inputs, which are the weights of large models, are known by size and time:
# reading them takes longer than many a stage.
LARGE = 64 * 2**20


class State(NamedTuple):
    """What a part of a stage has done so far.

    Attributes:
        tensors: by name.
        notes: values that JSON can hold.
    """

    tensors: Mapping[str, Tensor]
    notes: Mapping[str, Any]


class Resume:
    """The state of one stage, in a folder that is there until it has finished.

    The parts of a stage have names. They are restored in the same order in every run,
    and one that is done is never changed: so the parts in a file are of one moment.
    """

    def __init__(
        self,
        folder: Path | str | None = None,
        made_from: Mapping[str, Any] | None = None,
        seconds: float | None = None,
    ):
        """Find what an earlier run has left, or start from the beginning.

        Args:
            folder: of the state, and of nothing else. Without one nothing is saved.
            made_from: everything that decides the result, in what JSON can hold.
            seconds: the least time between two writings; by default that of the
                environment variable CHECKPOINT_SECONDS, or `SECONDS`.
        """
        self._folder = None if folder is None else Path(folder)
        self._made_from = dict(made_from or {})
        self._seconds = _seconds_asked() if seconds is None else seconds
        self._parts: dict[str, Callable[[], State]] = {}
        self._counters: dict[str, Callable[[Mapping[str, Any]], None]] = {}
        self._written = time.monotonic()

    @classmethod
    def of_job(
        cls,
        folder: Path | str,
        inputs: Iterable[Path | str],
        settings: Mapping[str, Any],
    ) -> Self:
        """Return the state of a job, which is made from its inputs and settings.

        Args:
            folder: of the state.
            inputs: every file that the result depends on, the program too.
            settings: everything else.

        Raises:
            FileNotFoundError: an input is missing.
            ValueError: CHECKPOINT_SECONDS is not a number.
        """
        made_from = {
            "inputs": [_fingerprint(Path(path)) for path in inputs],
            "settings": settings,
            "versions": [version("torch"), version("transformers"), version("numpy")],
            # How rows are put together in passes depends on it.
            "device": pick_device(),
        }
        return cls(folder, made_from)

    def expect(self, **more: Any) -> None:
        """Add to what decides the result, before the first part is restored."""
        if self._folder is not None:
            self._made_from |= more

    def restore(self, name: str, get_state: Callable[[], State]) -> State | None:
        """Return the state of a part as an earlier run has left it, if it has.

        Counters are set to what they were then: whatever has been run in this run, to
        get there, had been counted in the earlier one.

        Args:
            name: of the part.
            get_state: returns its state, whenever `save` is called.
        """
        if self._folder is None:
            return None
        self._parts[name] = get_state
        found = self._left.get(name)
        if found is not None:
            self.restore_counters()
        return found

    def track(
        self,
        name: str,
        get_count: Callable[[], Mapping[str, Any]],
        restore: Callable[[Mapping[str, Any]], None],
    ) -> None:
        """Keep a counter of what the parts cost, too.

        Args:
            name: of the counter.
            get_count: returns what it has counted.
            restore: sets it.
        """
        if self._folder is None:
            return
        self._parts[name] = lambda: State({}, get_count())
        self._counters[name] = restore

    def restore_counters(self) -> None:
        """Set the counters to what they were when the state was left."""
        for name, restore in self._counters.items():
            if name in self._left:
                restore(self._left[name].notes)

    def save(self, *, now: bool = False) -> None:
        """Write the state of all parts, if it is time to, or if it must be now.

        That it cannot be written is no reason to stop, and said.
        """
        early = time.monotonic() - self._written < self._seconds
        if self._folder is None or (early and not now):
            return
        states = {name: get_state() for name, get_state in self._parts.items()}
        tensors = {
            f"{name}:{key}": tensor.detach().cpu().numpy()
            for name, state in states.items()
            for key, tensor in state.tensors.items()
        }
        # As it will be read.
        notes = json.loads(json.dumps({k: each.notes for k, each in states.items()}))
        about = {"made_from": self._identity, "notes": notes}
        about["checksum"] = _checksum(tensors, about)
        try:
            write_tensors(self._path, tensors, **about)
        except OSError as error:
            log.warning("%s: the progress could not be saved: %s", self._path, error)
        self._written = time.monotonic()

    def remove(self) -> None:
        """Remove the state, and the folders that held nothing else."""
        if self._folder is None:
            return
        # A job whose Snakemake was killed may still be at work on the same.
        shutil.rmtree(self._folder, ignore_errors=True)
        with suppress(OSError):
            os.removedirs(self._folder.parent)

    @property
    def _path(self) -> Path:
        return self._folder / "state.safetensors"

    @property
    def _identity(self) -> str:
        return _checksum({}, self._made_from)

    @cached_property
    def _left(self) -> dict[str, State]:
        """What an earlier run has left of the same stage, by part."""
        try:
            tensors, about = read_tensors(self._path)
            if about.pop("checksum", None) != _checksum(tensors, about):
                raise ValueError(f"{self._path}: not what was written")
        except FileNotFoundError:
            return {}
        except ValueError as error:
            log.warning(
                "the saved progress is damaged, starting from the beginning: %s", error
            )
            return {}
        if about["made_from"] != self._identity:
            log.info(
                "%s has other settings, inputs or code: starting from the beginning",
                self._path,
            )
            return {}
        log.info("resumed from %s", self._path)
        parts = {name: State({}, each) for name, each in about["notes"].items()}
        for full_name, array in tensors.items():
            name, _, key = full_name.partition(":")
            parts[name].tensors[key] = torch.from_numpy(array)
        return parts


# Saves nothing and restores nothing.
NO_RESUME = Resume(seconds=SECONDS)


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the moments of an optimiser by name."""
    return {
        f"optimiser/{index}/{name}": tensor
        for index, moments in optimiser.state_dict()["state"].items()
        for name, tensor in moments.items()
    }


def set_optimiser_(
    optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]
) -> None:
    """Set the moments of an optimiser, from among the tensors of a state."""
    state: dict[int, dict[str, Tensor]] = {}
    for full_name, tensor in tensors.items():
        kind, *rest = full_name.split("/")
        if kind == "optimiser":
            index, name = rest
            # What has no axis is read with one.
            moment = tensor.reshape(()) if name == "step" else tensor
            state.setdefault(int(index), {})[name] = moment
    groups = optimiser.state_dict()["param_groups"]
    optimiser.load_state_dict({"state": state, "param_groups": groups})


def _seconds_asked() -> float:
    text = os.environ.get("CHECKPOINT_SECONDS", str(SECONDS))
    try:
        return float(text)
    except ValueError as error:
        message = f"CHECKPOINT_SECONDS is {text!r}, expected a number of seconds"
        raise ValueError(message) from error


def _fingerprint(path: Path) -> list[Any]:
    facts = path.stat()
    if facts.st_size > LARGE:
        return [str(path), facts.st_size, facts.st_mtime_ns]
    with path.open("rb") as file:
        return [str(path), file_digest(file, "sha256").hexdigest()]


def _checksum(tensors: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> str:
    digest = sha256(json.dumps(about, sort_keys=True, default=str).encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(tensors[name]).tobytes())
    return f"sha256:{digest.hexdigest()}"
