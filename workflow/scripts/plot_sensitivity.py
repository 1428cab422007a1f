"""Draw how the circuits of one pair and method depend on one setting."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from circuit_transfer.artifacts.frames import read_frame
from circuit_transfer.figures.sensitivity import sensitivity_figure
from circuit_transfer.figures.style import save
from circuit_transfer.jobs.stage import run_stage


def plot_sensitivity(
    areas_path: Path | str,
    figure_paths: Iterable[Path | str],
    *,
    source: str,
    target: str,
    method: str,
    setting: str,
    tasks: Sequence[str],
) -> None:
    """Draw the areas of every value, one path per format."""
    areas = read_frame(areas_path, ["setting", "value", "circuit", "cpr"])
    title = f"{source} → {target}, {method}"
    figure = sensitivity_figure(areas, title=title, setting=setting, tasks=tasks)
    save(figure, *figure_paths)


if __name__ == "__main__":
    run_stage(plot_sensitivity, snakemake)
