"""Fitted maps of edge scores, with the interface of a fit of nodes (`Alignment`)."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from circuit_transfer.artifacts.alignments import tensor_name
from circuit_transfer.artifacts.edge_alignments import read_edge_alignment
from circuit_transfer.models.edges import Graph
from circuit_transfer.transfer.edge_maps import EdgeMap


@dataclass(frozen=True, eq=False)
class EdgeFit:
    """The fitted maps of one training set and seed, with their training curves.

    Attributes:
        tensors: see `edge_alignments.write_edge_alignment`.
        metadata: likewise.
    """

    tensors: dict[str, np.ndarray]
    metadata: dict[str, Any]

    @cached_property
    def source(self) -> Graph:
        """The edges of the source."""
        return _graph(self.metadata["source_graph"])

    @cached_property
    def target(self) -> Graph:
        """The edges of the target."""
        return _graph(self.metadata["target_graph"])

    @property
    def maps(self) -> list[str]:
        """The names of the maps, that of the study's main map first."""
        return self.metadata["maps"]

    @property
    def alignment(self) -> EdgeMap:
        """The first map."""
        return self.matrix(self.maps[0])

    def matrix(self, name: str, control: str = "none") -> EdgeMap:
        """Return a map, or that of its control."""
        kinds = ("writers", "readers")
        both = (self.tensors[self._name(kind, name, control)] for kind in kinds)
        return EdgeMap(*both, self.source, self.target)

    def project(
        self, scores: np.ndarray, name: str | None = None, control: str = "none"
    ) -> np.ndarray:
        """Project transformed source scores by a map or its control.

        Args:
            scores: `(n_edges,)` of the source.
            name: of the map, by default the first one.
            control: `none`, or the trained control whose map it is.

        Returns:
            `(n_edges,)` of the target.
        """
        name = name or self.maps[0]
        projected = scores @ self.matrix(name, control)
        kinds = ("writer_bias", "reader_bias")
        biases = [self.tensors.get(self._name(x, name, control)) for x in kinds]
        for bias, ends in zip(biases, self.target.ends, strict=True):
            if bias is not None:
                projected = projected + bias[ends]
        return projected

    def _name(self, kind: str, name: str, control: str = "none") -> str:
        return tensor_name(kind, name, control, self.maps)


def read_edge_fit(path: Path | str) -> EdgeFit:
    """Read the maps that `edge_alignments.write_edge_alignment` wrote.

    Raises:
        ValueError: the file is damaged, has another format, or lacks something.
    """
    return EdgeFit(*read_edge_alignment(path))


def _graph(fields: Mapping[str, Any]) -> Graph:
    """Return the graph of given fields; as JSON, they have lists in place of tuples."""
    names = {key: tuple(fields[key]) for key in ("writers", "readers", "before")}
    return Graph(**{**fields, **names})
