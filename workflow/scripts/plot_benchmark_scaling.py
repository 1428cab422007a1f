"""Draw how the time of everything grows with the sizes of one benchmark."""

from collections.abc import Iterable
from pathlib import Path

from circuit_transfer.artifacts.frames import read_frame
from circuit_transfer.figures.benchmark import scaling_figure
from circuit_transfer.figures.style import save
from circuit_transfer.jobs.job import job


def plot_benchmark_scaling(
    measured_path: Path | str, figure_paths: Iterable[Path | str]
) -> None:
    """Draw seconds over sizes with their slopes, one path per format."""
    measured = read_frame(measured_path, ["benchmark", "case", "axis", "value"])
    save(scaling_figure(measured), *figure_paths)


if __name__ == "__main__":
    with job(snakemake.log[0]):
        plot_benchmark_scaling(snakemake.input.measured, snakemake.output)
