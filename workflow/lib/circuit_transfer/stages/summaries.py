"""Stages that write one table of frames."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from circuit_transfer.stages.frames import Columns, frame_stage
from circuit_transfer.tables.typesetting import Table, write_table


def table_stage(
    make: Callable[..., Table], title: str, **frames: Columns
) -> Callable[..., None]:
    """Return the stage that writes a table, one path per format; see `frame_stage`.

    The title may have keyword arguments of `make` in braces.
    """

    def write(
        table: Table, paths: Sequence[Path | str], names: Mapping[str, Any]
    ) -> None:
        write_table(table, *paths, title=title.format(**names))

    return frame_stage(make, write, "table_paths", frames)
