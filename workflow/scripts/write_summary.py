"""Write the page that answers the questions of the study."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from circuit_transfer.artifacts.frames import read_frame, read_table
from circuit_transfer.artifacts.text import write_text
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.summary.costs import COSTS
from circuit_transfer.summary.edges import DRAWN, TOP_EDGES, drawing_caption
from circuit_transfer.summary.models import MODELS
from circuit_transfer.summary.names import Names
from circuit_transfer.summary.nodes import TOP_NODES
from circuit_transfer.summary.omissions import REJECTS
from circuit_transfer.summary.page import Drawing, Image
from circuit_transfer.summary.sections import Frames, study_page
from circuit_transfer.summary.wording import counted


def write_summary(
    statistics_path: Path | str,
    cpr_path: Path | str,
    models_path: Path | str,
    rejects_path: Path | str,
    costs_path: Path | str,
    break_even_path: Path | str,
    top_nodes_paths: Sequence[Path | str],
    figures_paths: Iterable[Path | str],
    summary_path: Path | str,
    edges_paths: Sequence[Path | str] = (),
    top_edges_paths: Sequence[Path | str] = (),
    drawings_paths: Sequence[Path | str] = (),
    drawn_paths: Sequence[Path | str] = (),
    *,
    names: Mapping[str, Any],
    ablation: str,
    sections: Mapping[str, Sequence[str]],
    index: Mapping[str, Sequence[str]],
) -> None:
    """Read what the study has found, and write the page.

    The frames and tables (CSV) are those of `Frames`: of highest nodes, and of highest
    edges if any are scored, one for every target in its order. The figures are PNG, the
    drawings of circuits of edges SVG files, and `drawn` lists the edges of each (CSV).
    The files that the page links to are below its folder: those of `index`, by topic.
    `names` say what the study is of, `sections` where a figure is shown, and its title.
    """
    study = Names(**names)
    home = Path(summary_path).parent
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
        top_nodes=_by_target(study, top_nodes_paths, TOP_NODES),
        top_edges=_by_target(study, top_edges_paths, TOP_EDGES),
    )
    drawn = zip(map(Path, drawings_paths), drawn_paths, strict=True)
    shown = {
        "figures": _figures(map(Path, figures_paths), home, sections),
        "drawings": [_drawing(*files, home) for files in drawn],
        "index": _links(index, home),
    }
    write_text(study_page(frames, study, **shown), summary_path)


def _by_target(
    study: Names, paths: Sequence[Path | str], schema: Mapping[str, Any]
) -> dict[str, pl.DataFrame]:
    """Return a table of every target; nothing if the study has no such tables."""
    read = [read_table(path, schema) for path in paths]
    return dict(zip(study.targets, read, strict=bool(read)))


def _links(index: Mapping[str, Sequence[str]], home: Path) -> dict[str, list[str]]:
    """Return the files of every topic, relative to the page."""
    return {
        topic: [Path(path).relative_to(home).as_posix() for path in paths]
        for topic, paths in index.items()
    }


def _figures(
    paths: Iterable[Path], home: Path, sections: Mapping[str, Sequence[str]]
) -> dict[str, list[Image]]:
    """Return the figures by section, titled by what they are of."""
    figures: dict[str, list[Image]] = {}
    for path in paths:
        link = path.relative_to(home)
        name, *places = link.with_suffix("").parts[1:]
        section, title = sections[name]
        title = ": ".join(filter(None, [title, ", ".join(places)]))
        image = Image(path.read_bytes(), title, link.as_posix())
        figures.setdefault(section, []).append(image)
    return figures


def _drawing(path: Path, edges_path: Path | str, home: Path) -> Drawing:
    """Return the drawing of a circuit, titled by what it is of."""
    link = path.relative_to(home)
    *_, model, task, method, _ = link.with_suffix("").parts
    edges = read_table(edges_path, DRAWN)
    title = f"{model}, {task}: {counted(len(edges), 'edge')} by {method}"
    svg = path.read_text(encoding="utf-8")
    return Drawing(svg, title, drawing_caption(edges), link.as_posix())


if __name__ == "__main__":
    run_stage(write_summary, snakemake)
