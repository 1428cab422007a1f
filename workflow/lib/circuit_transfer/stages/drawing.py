"""Stages that draw one figure of frames."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from circuit_transfer.figures.style import save
from circuit_transfer.stages.frames import Columns, frame_stage


def figure_stage(draw: Callable[..., Figure], **frames: Columns) -> Callable[..., None]:
    """Return the stage that draws a figure, one path per format; see `frame_stage`."""

    def write(figure: Figure, paths: Sequence[Path | str], _: Any) -> None:
        save(figure, *paths)

    return frame_stage(draw, write, "figure_paths", frames)
