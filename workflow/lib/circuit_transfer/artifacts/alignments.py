"""Fitted maps from source to target scores, see `transfer.alignment`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from circuit_transfer.artifacts.tensors import read_tensors, write_tensors


@dataclass(frozen=True)
class Alignment:
    """The fitted maps of one training set and seed, with their training curves.

    Attributes:
        tensors: for the first map `alignment` `(n_source, n_target)`, `initial` (the
            same before training), `loss` and `kl` `(n_steps,)`, and `bias`
            `(n_target,)` if the map has one. Names of any other map have the prefix
            `<map>/`, those of a trained control the suffix `/<control>`.
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
        """The names of the maps, that of the study's main map first."""
        return self.metadata["maps"]

    def matrix(self, name: str, control: str = "none") -> np.ndarray:
        """Return the matrix of a map or of its control, `(n_source, n_target)`."""
        return self.tensors[tensor_name("alignment", name, control, self.maps)]

    def initial(self, name: str) -> np.ndarray:
        """Return a trained map's matrix before training, `(n_source, n_target)`."""
        return self.tensors[tensor_name("initial", name, "none", self.maps)]

    def project(
        self, scores: np.ndarray, name: str | None = None, control: str = "none"
    ) -> np.ndarray:
        """Project transformed source scores `(n_source,)` by a map or its control."""
        name = name or self.maps[0]
        bias = self.tensors.get(tensor_name("bias", name, control, self.maps))
        projected = scores @ self.matrix(name, control)
        return projected if bias is None else projected + bias


def tensor_name(kind: str, name: str, control: str, maps: Sequence[str]) -> str:
    """Return the name of a map's or a trained control's tensor in the file."""
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
        ValueError: the file is damaged, has another format, or lacks the matrix.
    """
    return Alignment(*read_tensors(path, ("alignment",), ("maps",)))
