"""Draw what maps reach by the number of families that they were trained on."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import polars as pl

from circuit_transfer.artifacts.frames import read_frame
from circuit_transfer.figures.style import save
from circuit_transfer.figures.training_families import training_families_figure
from circuit_transfer.jobs.stage import run_stage


def plot_training_families(
    areas_paths: Iterable[Path | str],
    figure_paths: Iterable[Path | str],
    *,
    families: Mapping[str, Sequence[str]],
) -> None:
    """Draw the areas of all pairs and methods, one path per format."""
    areas = [read_frame(path, ["setting", "value", "cpr"]) for path in areas_paths]
    save(training_families_figure(pl.concat(areas), families), *figure_paths)


if __name__ == "__main__":
    run_stage(plot_training_families, snakemake)
