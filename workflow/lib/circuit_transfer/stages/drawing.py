"""Stages that draw one figure of frames, and files of drawings of circuits."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from circuit_transfer.artifacts.text import write_text
from circuit_transfer.figures.circuit_figure import circuit_figure
from circuit_transfer.figures.circuit_parts import Drawing
from circuit_transfer.figures.circuit_svg import circuit_svg
from circuit_transfer.figures.style import save
from circuit_transfer.stages.frames import Columns, frame_stage


def figure_stage(draw: Callable[..., Figure], **frames: Columns) -> Callable[..., None]:
    """Return the stage that draws a figure, one path per format; see `frame_stage`."""

    def write(figure: Figure, paths: Sequence[Path | str], _: Any) -> None:
        save(figure, *paths)

    return frame_stage(draw, write, "figure_paths", frames)


def draw_circuits(drawing: Drawing, paths: Sequence[Path | str]) -> None:
    """Write a drawing of circuits, one path per format, SVG or others."""
    for path in paths:
        if Path(path).suffix == ".svg":
            write_text(circuit_svg(drawing), path)
        else:
            save(circuit_figure(drawing), path)
