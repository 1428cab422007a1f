"""The files of a study: how they are written and read, and nothing else.

Frames are Parquet, tensors are safetensors with text metadata, the rest is JSON.
Writers are atomic: a file appears under its name only when it is whole.
"""

import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import safetensors.numpy
from safetensors import SafetensorError, safe_open

FORMAT = "circuit-transfer/1"
# Metadata that is a name and stays text even where it looks like JSON (a task `2024`).
NAMES = {"model", "task", "method", "source", "target", "training_set", "ablation"}


# What stages look for in the description of a model.
DESCRIBED = (
    *("model", "path", "dtype", "attn_implementation", "device_map", "tokenizer"),
    *("architecture", "layers", "heads", "context", "vocabulary", "nodes"),
)
# What to do about a file that another version wrote, or that was damaged.
REMEDY = "delete the file and run again: it is computed anew"


@dataclass(frozen=True)
class Scores:
    """One score per node of one model on one task.

    Attributes:
        scores: float32 `(n_nodes,)`, higher supports the answer more.
        nodes: the node names in order.
        metadata: model, task, method, examples and the settings they were made with.
        by_example: float32 `(examples, n_nodes)`, whose mean over examples the scores
            are; None where it is not known.
    """

    scores: np.ndarray
    nodes: tuple[str, ...]
    metadata: dict[str, Any]
    by_example: np.ndarray | None = None


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


@contextmanager
def atomic(path: Path | str) -> Iterator[Path]:
    """Yield a path beside `path` to write to; rename it to `path` on success.

    Raises:
        OSError: it cannot be written; the error names `path`, whatever wrote to it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial(path)
    try:
        with _naming(path, partial):
            yield partial
            os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def atomic_files(folder: Path | str) -> Iterator[Path]:
    """Yield a folder to write files to; on success they are moved into `folder`.

    Raises:
        OSError: they cannot be written; the error names `folder`, whatever wrote them.
    """
    folder = Path(folder)
    partial = _partial(folder)
    partial.mkdir(parents=True)
    try:
        with _naming(folder, partial):
            yield partial
            folder.mkdir(exist_ok=True)
            for file in sorted(partial.iterdir()):
                os.replace(file, folder / file.name)
    finally:
        shutil.rmtree(partial)


def remove_partial(folder: Path | str) -> None:
    """Remove what writers that were killed have left under a folder.

    Nobody may be writing there.
    """
    for left in Path(folder).rglob(".*.partial"):
        if left.is_dir():
            shutil.rmtree(left)
        else:
            left.unlink()


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")


@contextmanager
def _naming(path: Path, partial: Path) -> Iterator[None]:
    """Let the system's errors name the path that was to be written."""
    try:
        yield
    except OSError as error:
        if error.filename is None or str(partial) in str(error.filename):
            error.filename = str(path)
        raise
    except (pl.exceptions.PolarsError, SafetensorError) as error:
        # Both are written in Rust and tell of the system's errors in words alone.
        number = re.search(r"\(os error (\d+)\)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error


def write_frame(frame: pl.DataFrame, path: Path | str) -> None:
    """Write a frame as Parquet."""
    with atomic(path) as partial:
        frame.write_parquet(partial)


def read_frame(path: Path | str, columns: Sequence[str] = ()) -> pl.DataFrame:
    """Read a Parquet frame that must have the given columns.

    Raises:
        ValueError: the file is damaged, or a column is missing.
    """
    try:
        frame = pl.read_parquet(path)
    # Damage within the pages makes the reader panic instead.
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise ValueError(
            f"{path}: not a readable Parquet file ({error}); {REMEDY}"
        ) from error
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise ValueError(
            f"{path}: no column {missing}, only {frame.columns}: of an older version? "
            f"Then {REMEDY}"
        )
    return frame


def write_json(value: Any, path: Path | str) -> None:
    """Write a value as indented JSON."""
    write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", path)


def read_json(path: Path | str) -> Any:
    """Read a JSON file.

    Raises:
        ValueError: the file is not JSON, or not UTF-8.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not a JSON file ({error})") from error


def read_description(path: Path | str) -> dict[str, Any]:
    """Read the description of a model, see `models.describe_model`.

    Raises:
        ValueError: the file is damaged, or of an older version.
    """
    try:
        found = read_json(path)
    except ValueError as error:
        raise ValueError(f"{error}; {REMEDY}") from error
    there = found if isinstance(found, dict) else {}
    missing = [key for key in DESCRIBED if key not in there]
    if missing:
        raise ValueError(
            f"{path}: no {missing}, only {sorted(there)}: of an older version? "
            f"Then {REMEDY}"
        )
    return found


def write_text(text: str, path: Path | str) -> None:
    """Write a text file in UTF-8."""
    with atomic(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_scores(
    path: Path | str,
    scores: np.ndarray,
    *,
    nodes: Sequence[str],
    by_example: np.ndarray | None = None,
    **metadata: Any,
) -> None:
    """Write node scores, see `Scores`, with the settings they were made with.

    Raises:
        ValueError: the scores do not have one number per node.
    """
    if scores.shape != (len(nodes),):
        raise ValueError(f"scores {scores.shape} do not fit {len(nodes)} node names")
    tensors = {"scores": scores.astype(np.float32)}
    if by_example is not None:
        if by_example.shape[1:] != scores.shape:
            raise ValueError(f"by_example {by_example.shape} does not fit the scores")
        tensors["by_example"] = by_example.astype(np.float32)
    _write_tensors(path, tensors, {"nodes": list(nodes), **metadata})


def read_scores(path: Path | str) -> Scores:
    """Read what `write_scores` wrote.

    Raises:
        ValueError: the file is damaged, of another format, or misses the scores.
    """
    tensors, metadata = _read_tensors(path, ("scores",), ("nodes",))
    nodes = tuple(metadata.pop("nodes"))
    return Scores(tensors["scores"], nodes, metadata, tensors.get("by_example"))


def write_alignment(
    path: Path | str, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, Any]
) -> None:
    """Write the tensors of a fit (see `Alignment`) with its settings."""
    _write_tensors(path, tensors, metadata)


def read_alignment(path: Path | str) -> Alignment:
    """Read what `write_alignment` wrote.

    Raises:
        ValueError: the file is damaged, of another format, or misses the matrix.
    """
    return Alignment(*_read_tensors(path, ("alignment",), ("maps",)))


def write_tensors(
    path: Path | str, tensors: Mapping[str, np.ndarray], **metadata: Any
) -> None:
    """Write plain named tensors, such as the state of an interrupted stage."""
    _write_tensors(path, tensors, metadata)


def read_tensors(path: Path | str) -> dict[str, np.ndarray]:
    """Read the tensors that `write_tensors` wrote."""
    return _read_tensors(path)[0]


def read_state(path: Path | str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read the tensors that `write_tensors` wrote, with their metadata.

    Raises:
        ValueError: the file is damaged, or of another format.
        FileNotFoundError: there is none.
    """
    return _read_tensors(path)


def _write_tensors(
    path: Path | str, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, Any]
) -> None:
    # safetensors metadata is text only: names stay as they are, the rest is JSON, and
    # so is a text that would be read as JSON.
    text = {
        key: value if _is_plain(key, value) else json.dumps(value)
        for key, value in {"format": FORMAT, **metadata}.items()
    }
    whole = {key: np.ascontiguousarray(value) for key, value in tensors.items()}
    with atomic(path) as partial:
        partial.write_bytes(_sorted_header(safetensors.numpy.save(whole, text)))


def _sorted_header(data: bytes) -> bytes:
    # safetensors writes metadata in a random order; files of equal content must be
    # equal byte for byte. The layout is: header length, JSON header, tensor data.
    length = int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8 : 8 + length]), sort_keys=True).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data[8 + length :]


def _read_tensors(
    path: Path | str, tensors: Sequence[str] = (), settings: Sequence[str] = ()
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read all tensors and the metadata, of which some there must be."""
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = dict(file.metadata() or {})
            found = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(
            f"{path}: not a readable safetensors file: {error}; {REMEDY}"
        ) from error
    written = metadata.pop("format", None)
    if written != FORMAT:
        raise ValueError(
            f"{path}: its format is {written!r}, expected {FORMAT!r}; {REMEDY}"
        )
    for needed, there, kind in (
        (tensors, found, "tensor"),
        (settings, metadata, "metadata"),
    ):
        missing = [key for key in needed if key not in there]
        if missing:
            raise ValueError(
                f"{path}: no {kind} {missing}, only {sorted(there)}: of an older "
                f"version? Then {REMEDY}"
            )
    return found, {key: _parsed(key, value) for key, value in metadata.items()}


def _is_plain(key: str, value: Any) -> bool:
    return isinstance(value, str) and _parsed(key, value) == value


def _parsed(key: str, text: str) -> Any:
    if key in NAMES:
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
