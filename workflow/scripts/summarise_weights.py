"""Tabulate circuits of weights and edges, and circuits of edges beside them."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from circuit_transfer.artifacts.frames import read_frame
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.tables.typesetting import write_table
from circuit_transfer.tables.weights import COLUMNS, weights_table


def summarise_weights(
    measures_paths: Iterable[Path | str],
    table_paths: Sequence[Path | str],
    *,
    target: str,
    tasks: Sequence[str],
) -> None:
    """Write the table of a model, one path per format, from a file for each task."""
    frames = [read_frame(path, COLUMNS) for path in measures_paths]
    title = f"Circuits of weights and edges of {target}"
    write_table(weights_table(frames, tasks=tasks), *table_paths, title=title)


if __name__ == "__main__":
    run_stage(summarise_weights, snakemake)
