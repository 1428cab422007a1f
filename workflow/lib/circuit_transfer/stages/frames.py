"""A stage that reads frames and writes one thing that is made of them."""

from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Any, TypeVar

import polars as pl

from circuit_transfer.artifacts.frames import read_frame

T = TypeVar("T")
Columns = Sequence[str]
ABLATION = "ablation"
# The columns of a frame of which a stage shows one ablation.
BY_ABLATION = (ABLATION,)


def frame_stage(
    make: Callable[..., T],
    write: Callable[[T, Sequence[Path | str], Mapping[str, Any]], None],
    written: str,
    frames: Mapping[str, Columns],
) -> Callable[..., None]:
    """Return a stage that reads frames, calls a function and writes what it returns.

    The parameters of the stage, all by keyword, are `{frame}_path` of every frame, the
    paths to write, the keyword parameters of the function, and `ablation` if a frame
    must have a column of this name: then its rows of that ablation are used.

    Args:
        make: takes the frames by position, and the rest by keyword.
        write: takes what was made, the paths, and the keyword arguments of `make`.
        written: name of the parameter with the paths to write.
        frames: by name, the columns that a frame must have.
    """
    paths = [*(f"{name}_path" for name in frames), written]
    if any(ABLATION in columns for columns in frames.values()):
        paths.append(ABLATION)

    def stage(**arguments: Any) -> None:
        given = asked.bind(**arguments).arguments
        own = {name: given.pop(name) for name in paths}
        read = [
            _read(own[f"{name}_path"], columns, own.get(ABLATION))
            for name, columns in frames.items()
        ]
        write(make(*read, **given), own[written], given)

    keywords = [
        each
        for each in signature(make).parameters.values()
        if each.kind is Parameter.KEYWORD_ONLY
    ]
    asked = Signature(
        [*(Parameter(p, Parameter.KEYWORD_ONLY) for p in paths), *keywords]
    )
    stage.__signature__ = asked
    return stage


def _read(path: Path | str, columns: Columns, ablation: str | None) -> pl.DataFrame:
    frame = read_frame(path, columns)
    return frame.filter(pl.col(ABLATION) == ablation) if ABLATION in columns else frame
