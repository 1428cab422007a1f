"""Draw how like the gold scores one pair's projections are."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from circuit_transfer.artifacts.frames import read_frame
from circuit_transfer.figures.similarity import correlations_figure
from circuit_transfer.figures.style import save
from circuit_transfer.jobs.job import job


def plot_correlations(
    correlations_path: Path | str,
    figure_paths: Iterable[Path | str],
    *,
    source: str,
    target: str,
    methods: Sequence[str],
    map_name: str,
) -> None:
    """Draw correlations and shared nodes before and after training by every method."""
    figure = correlations_figure(
        read_frame(correlations_path),
        source=source,
        target=target,
        methods=methods,
        map_name=map_name,
    )
    save(figure, *figure_paths)


if __name__ == "__main__":
    with job(snakemake.log[0]):
        plot_correlations(
            snakemake.input.correlations,
            snakemake.output,
            source=snakemake.wildcards.source,
            target=snakemake.wildcards.target,
            methods=snakemake.params.methods,
            map_name=snakemake.params.map_name,
        )
