"""Write the page that answers the questions of the study."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from circuit_transfer.artifacts.frames import read_frame, read_table
from circuit_transfer.artifacts.text import write_text
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.summary.costs import COSTS
from circuit_transfer.summary.models import MODELS
from circuit_transfer.summary.names import Names
from circuit_transfer.summary.nodes import TOP_NODES
from circuit_transfer.summary.omissions import REJECTS
from circuit_transfer.summary.page import Image
from circuit_transfer.summary.sections import Frames, study_page

log = logging.getLogger(__name__)


def write_summary(
    statistics_path: Path | str,
    cpr_path: Path | str,
    models_path: Path | str,
    rejects_path: Path | str,
    costs_path: Path | str,
    break_even_path: Path | str,
    top_nodes_paths: Iterable[Path | str],
    figures_paths: Iterable[Path | str],
    summary_path: Path | str,
    *,
    names: Mapping[str, Any],
    ablation: str,
    sections: Mapping[str, Sequence[str]],
    index: Mapping[str, Sequence[str]],
) -> None:
    """Read what the study has found, and write the page.

    Args:
        statistics_path: levels and differences of all circuits.
        cpr_path: the areas of all circuits.
        models_path: the table of models (CSV).
        rejects_path: the summary of rejected rows (CSV).
        costs_path: the table of costs (CSV).
        break_even_path: the break-even of every pair.
        top_nodes_paths: the highest nodes of every target (CSV), in their order.
        figures_paths: the figures that the page shows (PNG).
        summary_path: the page, above all files that it links to.
        names: what the study is of, see `summary.names`.
        ablation: which of the ablations is shown.
        sections: by the name of a figure, the section that shows it, and its title.
        index: by topic, files that the page links to.
    """
    study = Names(**names)
    home = Path(summary_path).parent
    of_ablation = pl.col("ablation") == ablation
    top_nodes = (read_table(path, TOP_NODES) for path in top_nodes_paths)
    frames = Frames(
        statistics=read_frame(statistics_path).filter(of_ablation),
        cpr=read_frame(cpr_path).filter(of_ablation),
        models=read_table(models_path, MODELS),
        rejects=read_table(rejects_path, REJECTS),
        costs=read_table(costs_path, COSTS),
        balance=read_frame(break_even_path),
        top_nodes=dict(zip(study.targets, top_nodes, strict=True)),
    )
    figures = _images(figures_paths, sections, home)
    links = {key: [_link(each, home) for each in files] for key, files in index.items()}
    write_text(study_page(frames, study, figures, links), summary_path)
    log.info("%s: %d figures", summary_path, sum(map(len, figures.values())))


def _link(path: Path | str, home: Path) -> str:
    return Path(path).relative_to(home).as_posix()


def _images(
    paths: Iterable[Path | str], sections: Mapping[str, Sequence[str]], home: Path
) -> dict[str, list[Image]]:
    """Read the figures by the section that shows them; links are relative to `home`."""
    images: dict[str, list[Image]] = {}
    for path in paths:
        name, *places = Path(path).relative_to(home).with_suffix("").parts[1:]
        section, title = sections[name]
        title = ": ".join(filter(None, [title, ", ".join(places)]))
        image = Image(Path(path).read_bytes(), title, _link(path, home))
        images.setdefault(section, []).append(image)
    return images


if __name__ == "__main__":
    run_stage(write_summary, snakemake)
