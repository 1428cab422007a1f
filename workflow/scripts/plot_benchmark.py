"""Draw how long everything takes beside bare passes of one model."""

from collections.abc import Iterable
from pathlib import Path

from circuit_transfer.artifacts.frames import read_frame
from circuit_transfer.figures.benchmark import benchmark_figure
from circuit_transfer.figures.style import save
from circuit_transfer.jobs.job import job


def plot_benchmark(
    measured_path: Path | str, figure_paths: Iterable[Path | str]
) -> None:
    """Draw the ratios of one benchmark, one path per format."""
    measured = read_frame(measured_path, ["benchmark", "case", "seconds", "shared"])
    save(benchmark_figure(measured), *figure_paths)


if __name__ == "__main__":
    with job(snakemake.log[0]):
        plot_benchmark(snakemake.input.measured, snakemake.output)
