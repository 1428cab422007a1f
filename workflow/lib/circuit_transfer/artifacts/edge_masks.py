"""Learned circuits of edges of one model on one task, one of every size.

A file can be read as edge scores too (`edge_scores`): those of the first size.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from circuit_transfer.artifacts.edge_scores import EdgeScores
from circuit_transfer.artifacts.files import REMEDY
from circuit_transfer.artifacts.tensors import read_tensors, write_tensors

CURVE = "curve/"
OWN = ("scores", "legal", "kept", "all_scores", "all_kept", "open_share")
# Of methods that filter edges before they learn: which ones they leave, `(n_edges,)`.
FILTERED = "filtered"


@dataclass(frozen=True)
class EdgeMasks(EdgeScores):
    """The rankings and the circuits of one seed, and the scores of the first size.

    Attributes:
        sizes: the sizes that circuits were learned for, as shares of all edges.
        all_scores: by size, float32 `(sizes, n_writers, n_readers)`, NaN where there is
            no edge; the first are `scores`.
        all_kept: whether an edge is in the circuit, bool of the same shape.
        open_share: the share of all edges that was open when the training ended, before
            circuits took their exact sizes, float32 `(sizes,)`.
        curves: by name, a value of every step, float32 `(sizes, steps)`.
        extras: what else a method has learned, by name.
    """

    sizes: tuple[float, ...] = field(kw_only=True)
    all_scores: np.ndarray = field(kw_only=True)
    all_kept: np.ndarray = field(kw_only=True)
    open_share: np.ndarray = field(kw_only=True)
    curves: dict[str, np.ndarray] = field(kw_only=True)
    extras: dict[str, np.ndarray] = field(kw_only=True)

    @property
    def kept(self) -> np.ndarray:
        """The circuit of the first size, bool `(n_writers, n_readers)`."""
        return self.all_kept[0]

    @property
    def all_flat(self) -> np.ndarray:
        """The rankings of all sizes, float32 `(sizes, n_edges)`, as `flat`."""
        return _flat(self.all_scores, self.legal)

    @property
    def kept_flat(self) -> np.ndarray:
        """The circuits of all sizes, bool `(sizes, n_edges)`, as `flat`."""
        return _flat(self.all_kept, self.legal)


def write_edge_masks(
    path: Path | str,
    scores: np.ndarray,
    kept: np.ndarray,
    *,
    sizes: Sequence[float],
    open_share: np.ndarray,
    curves: Mapping[str, np.ndarray],
    extras: Mapping[str, np.ndarray],
    legal: np.ndarray,
    writers: tuple[str, ...],
    readers: tuple[str, ...],
    **metadata: Any,
) -> None:
    """Write learned circuits, see `EdgeMasks`, with the settings of the training.

    Args:
        path: of the file.
        scores: float32 `(sizes, n_edges)`, edges in the order of `EdgeScores.flat`.
        kept: bool `(sizes, n_edges)`.
        sizes: at least one.
        open_share: `(sizes,)`.
        curves: `(sizes, steps)` by name.
        extras: further tensors by name.
        legal: where there is an edge, bool `(n_writers, n_readers)`.
        writers: names of the writers in order.
        readers: names of the readers in order.
        metadata: settings, with `kv`.

    Raises:
        ValueError: the shapes differ, or a tensor has the name of another.
    """
    n_edges = int(legal.sum())
    expected = {"scores": (len(sizes), n_edges), "kept": (len(sizes), n_edges)}
    found = {"scores": scores.shape, "kept": kept.shape}
    expected |= {"legal": (len(writers), len(readers)), "open_share": (len(sizes),)}
    found |= {"legal": legal.shape, "open_share": open_share.shape}
    if found != expected or not len(sizes):
        raise ValueError(f"{path}: shapes {found}; expected {expected}")
    all_scores = _matrices(scores.astype(np.float32), legal, np.nan)
    all_kept = _matrices(kept.astype(np.uint8), legal, 0)
    own = (all_scores[0], legal.astype(np.uint8), all_kept[0], all_scores, all_kept)
    tensors = dict(zip(OWN, (*own, open_share.astype(np.float32)), strict=True))
    tensors |= {CURVE + name: each.astype(np.float32) for name, each in curves.items()}
    if taken := tensors.keys() & extras.keys():
        raise ValueError(f"{path}: a further tensor is called {min(taken)!r}")
    names = {"writers": list(writers), "readers": list(readers)}
    names |= {"sizes": list(sizes), "n_edges": n_edges}
    write_tensors(path, tensors | dict(extras), **names, **metadata)


def read_edge_masks(path: Path | str) -> EdgeMasks:
    """Read what `write_edge_masks` wrote.

    Raises:
        ValueError: the file is damaged, has another format, lacks something, or its
            tensors do not fit each other.
    """
    names = ("writers", "readers", "sizes")
    tensors, metadata = read_tensors(path, OWN, (*names, "kv", "seed"))
    writers, readers, sizes = (tuple(metadata.pop(name)) for name in names)
    _check_shapes(path, tensors, (len(writers), len(readers)), len(sizes))
    curves = {
        name.removeprefix(CURVE): each
        for name, each in tensors.items()
        if name.startswith(CURVE)
    }
    extras = {
        name: each
        for name, each in tensors.items()
        if name not in OWN and not name.startswith(CURVE)
    }
    return EdgeMasks(
        tensors["scores"],
        tensors["legal"].astype(bool),
        writers,
        readers,
        metadata,
        sizes=sizes,
        all_scores=tensors["all_scores"],
        all_kept=tensors["all_kept"].astype(bool),
        open_share=tensors["open_share"],
        curves=curves,
        extras=extras,
    )


def _check_shapes(
    path: Path | str,
    tensors: Mapping[str, np.ndarray],
    shape: tuple[int, int],
    sizes: int,
) -> None:
    expected = dict.fromkeys(("scores", "legal", "kept"), shape)
    expected |= dict.fromkeys(("all_scores", "all_kept"), (sizes, *shape))
    expected["open_share"] = (sizes,)
    found = {name: tensors[name].shape for name in expected}
    problem = "" if found == expected else f"shapes {found}, expected {expected}"
    if not sizes:
        problem = "circuits of no size, expected at least one"
    elif not problem and (tensors["all_kept"] > tensors["legal"]).any():
        problem = "a circuit has edges that the model does not have"
    if problem:
        raise ValueError(f"{path}: {problem}; {REMEDY}")


def _matrices(flat: np.ndarray, legal: np.ndarray, outside: float) -> np.ndarray:
    """Return `(sizes, n_edges)` as `(sizes, n_writers, n_readers)`."""
    found = np.full((len(flat), *legal.T.shape), outside, flat.dtype)
    found[:, legal.T] = flat
    return found.transpose(0, 2, 1)


def _flat(matrices: np.ndarray, legal: np.ndarray) -> np.ndarray:
    """Return `(sizes, n_writers, n_readers)` as `(sizes, n_edges)`."""
    return matrices.transpose(0, 2, 1)[:, legal.T]
