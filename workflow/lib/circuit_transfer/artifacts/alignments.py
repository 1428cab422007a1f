"""Fitted maps from source to target, see `transfer.alignment`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from circuit_transfer.artifacts.tensors import read_tensors, write_tensors


@dataclass(frozen=True)
class Alignment:
    """The fitted maps of one training set and seed, and how their training went.

    Attributes:
        tensors: of the first map `alignment` `(n_source, n_target)`, `initial` (before
            training), `loss` and `kl` `(n_steps,)`, and `bias` `(n_target,)` where the
            map has one; of a further map the same after `<map>/`; of a trained control
            the same before `/<control>`.
        metadata: `maps`, `transform`, `source_nodes`, `target_nodes` and every setting
            of the fit.
    """

    tensors: dict[str, np.ndarray]
    metadata: dict[str, Any]

    @property
    def alignment(self) -> np.ndarray:
        """The matrix of the first map, float32 `(n_source, n_target)`."""
        return self.tensors["alignment"]

    @property
    def maps(self) -> list[str]:
        """The names of the maps, the one that the study is about first."""
        return self.metadata["maps"]

    def project(
        self, scores: np.ndarray, name: str | None = None, control: str = "none"
    ) -> np.ndarray:
        """Project transformed source scores `(n_source,)` by a map, or its control."""
        name = name or self.maps[0]
        key = tensor_name("alignment", name, control, self.maps)
        bias = self.tensors.get(tensor_name("bias", name, control, self.maps))
        projected = scores @ self.tensors[key]
        return projected if bias is None else projected + bias


def tensor_name(kind: str, name: str, control: str, maps: Sequence[str]) -> str:
    """Name a tensor of a map, or of its trained control, in an alignment's file."""
    before = "" if name == maps[0] else f"{name}/"
    after = "" if control == "none" else f"/{control}"
    return f"{before}{kind}{after}"


def write_alignment(
    path: Path | str, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, Any]
) -> None:
    """Write the tensors of a fit (see `Alignment`) with its settings."""
    write_tensors(path, tensors, **metadata)


def read_alignment(path: Path | str) -> Alignment:
    """Read what `write_alignment` wrote.

    Raises:
        ValueError: the file is damaged, of another format, or misses the matrix.
    """
    return Alignment(*read_tensors(path, ("alignment",), ("maps",)))
