"""Fitted maps of edge scores, see `transfer.edge_maps`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from circuit_transfer.artifacts.tensors import read_tensors, write_tensors

Tensors = dict[str, np.ndarray]


def write_edge_alignment(
    path: Path | str, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, Any]
) -> None:
    """Write the maps of one training set and seed, with their training curves.

    Args:
        path: where they go.
        tensors: for the first map `writers` and `readers`, `initial_writers` and
            `initial_readers` (before training), `writer_bias` and `reader_bias` if it
            has them, `loss` and `kl` `(n_steps,)`. Other names as in `alignments`.
        metadata: `maps`, `transform`, `source_graph` and `target_graph` (the fields of
            `models.edges.Graph`) and every setting of the fit.
    """
    write_tensors(path, tensors, **metadata)


def read_edge_alignment(path: Path | str) -> tuple[Tensors, dict[str, Any]]:
    """Read the tensors and the metadata that `write_edge_alignment` wrote.

    Raises:
        ValueError: the file is damaged, has another format, or lacks the matrices.
    """
    names = ("maps", "source_graph", "target_graph")
    return read_tensors(path, ("writers", "readers"), names)
