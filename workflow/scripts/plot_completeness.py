"""Draw what circuits leave to the rest of the model, and where both models agree."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import polars as pl

from circuit_transfer.artifacts.frames import read_frame
from circuit_transfer.figures.curves import completeness
from circuit_transfer.figures.style import save
from circuit_transfer.jobs.job import job


def plot_completeness(
    curves_path: Path | str,
    figure_paths: Iterable[Path | str],
    *,
    source: str,
    target: str,
    name: str,
    methods: Sequence[str],
    families: Mapping[str, Sequence[str]],
    ablation: str,
) -> None:
    """Draw one pair's faithfulness of circuits and complements, and agreement."""
    curves = read_frame(curves_path).filter(pl.col("ablation") == ablation)
    figure = completeness(
        curves,
        source=source,
        target=target,
        name=name,
        methods=methods,
        families=families,
    )
    save(figure, *figure_paths)


if __name__ == "__main__":
    with job(snakemake.log[0]):
        plot_completeness(
            snakemake.input.curves,
            snakemake.output,
            source=snakemake.wildcards.source,
            target=snakemake.wildcards.target,
            name=snakemake.params.map,
            methods=snakemake.params.methods,
            families=snakemake.params.families,
            ablation=snakemake.params.ablation,
        )
