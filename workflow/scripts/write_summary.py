"""Write the page that answers the questions of the study."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from circuit_transfer.artifacts.frames import read_frame, read_table
from circuit_transfer.artifacts.text import write_text
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.summary.costs import COSTS
from circuit_transfer.summary.edge_transfers import DRAWN as TRANSFERRED
from circuit_transfer.summary.edge_transfers import circuits_caption
from circuit_transfer.summary.edges import DRAWN, TOP_EDGES, drawing_caption
from circuit_transfer.summary.models import MODELS
from circuit_transfer.summary.names import Names
from circuit_transfer.summary.nodes import TOP_NODES
from circuit_transfer.summary.omissions import REJECTS
from circuit_transfer.summary.page import Drawing, Image
from circuit_transfer.summary.sections import Frames, study_page
from circuit_transfer.summary.wording import counted

Paths = Sequence[Path | str]


def write_summary(
    statistics_path: Path | str,
    cpr_path: Path | str,
    models_path: Path | str,
    rejects_path: Path | str,
    costs_path: Path | str,
    break_even_path: Path | str,
    top_nodes_paths: Paths,
    edges_paths: Paths,
    methods_paths: Paths,
    top_edges_paths: Paths,
    figures_paths: Paths,
    drawings_paths: Paths,
    drawn_paths: Paths,
    students_paths: Paths,
    source_use_paths: Paths,
    summary_path: Path | str,
    transferred_paths: Paths = (),
    transferred_edges_paths: Paths = (),
    *,
    names: Mapping[str, Any],
    ablation: str,
    sections: Mapping[str, Sequence[str]],
    index: Mapping[str, Sequence[str]],
) -> None:
    """Read what the study has found, and write the page, above all that it links to.

    Frames and tables (CSV) are those of `Frames`. Figures are PNG files, drawings SVG
    files, of which `drawn` and `transferred_edges` are the tables of edges. Of figures
    `sections` has the section and the title, by name; `index` has files by topic.
    """
    study = Names(**names)
    frames = Frames(
        **_measured([statistics_path, cpr_path, *edges_paths], ablation),
        models=read_table(models_path, MODELS),
        rejects=read_table(rejects_path, REJECTS),
        costs=read_table(costs_path, COSTS),
        balance=read_frame(break_even_path),
        top_nodes=_by_target(study, top_nodes_paths, TOP_NODES),
        top_edges=_by_target(study, top_edges_paths, TOP_EDGES),
        methods=dict(zip(study.targets, map(read_frame, methods_paths), strict=False)),
        students=dict(_by_pair(study, students_paths)),
        source_use=next(map(read_frame, source_use_paths), None),
    )
    drawn = _drawings(drawings_paths, drawn_paths, summary_path)
    own = _transferred(transferred_paths, transferred_edges_paths, summary_path)
    both = {"drawings": drawn, "source": own}
    figures = _figures(figures_paths, summary_path, sections, both)
    links = _links(index, summary_path)
    write_text(study_page(frames, study, figures, links), summary_path)


def _measured(
    paths: Iterable[Path | str], ablation: str
) -> dict[str, pl.DataFrame | None]:
    """Return the statistics, the areas, and if there are any those of edges."""
    found = [read_frame(path).filter(ablation=ablation) for path in paths]
    statistics, cpr, edges, *_ = (*found, None)
    return {"statistics": statistics, "cpr": cpr, "edges": edges}


def _by_target(
    study: Names, paths: Iterable[Path | str], schema: Mapping[str, Any]
) -> dict[str, pl.DataFrame]:
    """Return the table of every target; nothing if there are none."""
    tables = [read_table(path, schema) for path in paths]
    return dict(zip(study.targets, tables, strict=bool(tables)))


def _by_pair(
    study: Names, paths: Iterable[Path | str]
) -> Iterator[tuple[tuple[str, str], pl.DataFrame]]:
    """Yield the statistics of the students of every teacher and student."""
    for (teacher, student), path in zip(study.distilled, paths, strict=True):
        yield (teacher, student), read_frame(path)


def _links(index: Mapping[str, Sequence[str]], page: Path | str) -> dict[str, list]:
    """Return the files of every topic, relative to the page."""
    home = Path(page).parent
    return {
        topic: [Path(path).relative_to(home).as_posix() for path in paths]
        for topic, paths in index.items()
    }


def _figures(
    paths: Iterable[Path | str],
    page: Path | str,
    sections: Mapping[str, Sequence[str]],
    drawn: Mapping[str, Iterable[Drawing]],
) -> dict[str, list[Image | Drawing]]:
    """Return drawings and figures by section, these titled by what they are of."""
    figures: dict[str, list[Image | Drawing]] = {
        key: [*each] for key, each in drawn.items()
    }
    for path in map(Path, paths):
        link = path.relative_to(Path(page).parent)
        name, *places = link.with_suffix("").parts[1:]
        section, title = sections[name]
        title = ": ".join(filter(None, [title, ", ".join(places)]))
        image = Image(path.read_bytes(), title, link.as_posix())
        figures.setdefault(section, []).append(image)
    return figures


def _drawings(
    paths: Iterable[Path | str], drawn: Iterable[Path | str], page: Path | str
) -> Iterator[Drawing]:
    """Yield the drawings of circuits, titled by what they are of, with captions."""
    for path, edges_path in zip(map(Path, paths), drawn, strict=True):
        link = path.relative_to(Path(page).parent)
        *_, model, task, method, _ = link.parts
        edges = read_table(edges_path, DRAWN)
        title = f"{model}, {task}: {counted(len(edges), 'edge')} by {method}"
        svg = path.read_text(encoding="utf-8")
        yield Drawing(svg, title, drawing_caption(edges), link.as_posix())


def _transferred(
    paths: Iterable[Path | str], drawn: Iterable[Path | str], page: Path | str
) -> Iterator[Drawing]:
    """Yield the drawings of transferred circuits of edges, as `_drawings` others."""
    for path, edges_path in zip(map(Path, paths), drawn, strict=True):
        link = path.relative_to(Path(page).parent)
        *_, source, target, task, method, _ = link.parts
        title = f"{source} → {target}, {task}: the highest edges by {method}"
        caption = circuits_caption(read_table(edges_path, TRANSFERRED))
        svg = path.read_text(encoding="utf-8")
        yield Drawing(svg, title, caption, link.as_posix())


if __name__ == "__main__":
    run_stage(write_summary, snakemake)
