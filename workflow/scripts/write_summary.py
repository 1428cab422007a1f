"""Write the page that answers the questions of the study."""

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


def write_summary(
    statistics_path: Path | str,
    cpr_path: Path | str,
    models_path: Path | str,
    rejects_path: Path | str,
    costs_path: Path | str,
    break_even_path: Path | str,
    top_nodes_paths: Iterable[Path | str],
    edges_paths: Sequence[Path | str],
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
        top_nodes_paths: the highest nodes of the targets (CSV), in their order.
        edges_paths: those of circuits of edges, if the study has any.
        figures_paths: the figures that the page shows (PNG).
        summary_path: the page, above all files that it links to.
        names: what the study is of, see `summary.names`.
        ablation: which of the ablations is shown.
        sections: by the name of a figure, the section that shows it, and its title.
        index: by topic, files that the page links to.
    """
    study = Names(**names)
    measured = map(read_frame, (statistics_path, cpr_path, *edges_paths))
    statistics, cpr, *edges = (frame.filter(ablation=ablation) for frame in measured)
    frames = Frames(
        statistics=statistics,
        cpr=cpr,
        edges=next(iter(edges), None),
        models=read_table(models_path, MODELS),
        rejects=read_table(rejects_path, REJECTS),
        costs=read_table(costs_path, COSTS),
        balance=read_frame(break_even_path),
        top_nodes=_top_nodes(study.targets, top_nodes_paths),
    )
    shown = _figures(figures_paths, summary_path, sections), _links(index, summary_path)
    write_text(study_page(frames, study, *shown), summary_path)


def _top_nodes(
    targets: Sequence[str], paths: Iterable[Path | str]
) -> dict[str, pl.DataFrame]:
    tables = (read_table(path, TOP_NODES) for path in paths)
    return dict(zip(targets, tables, strict=True))


def _links(index: Mapping[str, Sequence[str]], page: Path | str) -> dict[str, list]:
    """Return the files of every topic, relative to the page."""
    home = Path(page).parent
    return {
        topic: [Path(path).relative_to(home).as_posix() for path in paths]
        for topic, paths in index.items()
    }


def _figures(
    paths: Iterable[Path | str], page: Path | str, sections: Mapping[str, Sequence[str]]
) -> dict[str, list[Image]]:
    """Return the figures by section, titled by what they are of."""
    figures: dict[str, list[Image]] = {}
    for path in map(Path, paths):
        link = path.relative_to(Path(page).parent)
        name, *places = link.with_suffix("").parts[1:]
        section, title = sections[name]
        title = ": ".join(filter(None, [title, ", ".join(places)]))
        image = Image(path.read_bytes(), title, link.as_posix())
        figures.setdefault(section, []).append(image)
    return figures


if __name__ == "__main__":
    run_stage(write_summary, snakemake)
