"""What a study ends in: its page, its tables and its figures."""

import re
from collections.abc import Iterator

from circuit_transfer.study.paths import path
from circuit_transfer.study.planted import planted_masks, planted_scores
from circuit_transfer.study.shown import (
    DRAWN_EDGES,
    FIGURES,
    SUMMARISED,
    TABLES,
    figure_pattern,
    table_pattern,
)
from circuit_transfer.study.study import Study


def results(study: Study) -> list[str]:
    """Return what a study ends in: its page, tables (CSV) and figures (PNG)."""
    shown = [file for part in _parts(study) for file in results_of(study, part)]
    return [path("summary"), *shown]


def results_of(study: Study, part: str) -> list[str]:
    """Return the tables (CSV) and figures (PNG) of a part of a study.

    Args:
        study: the study.
        part: one of those in `shown`.
    """
    return [file for _, file in _shown(study, part)]


def results_by_category(study: Study) -> dict[str, list[str]]:
    """Return the tables (HTML) and figures (PNG) by the question that they answer."""
    by_category: dict[str, list[str]] = {}
    for part in _parts(study):
        for category, file in _shown(study, part):
            page = re.sub(r"\.csv$", ".html", file)
            by_category.setdefault(category, []).append(page)
    return by_category


def summarised_figures(study: Study) -> list[str]:
    """Return the figures (PNG) that the page shows, those of the first methods."""
    first = first_methods(study)
    both = first | {"method": [*first["method"], *study.edge_transfers[:1]]}
    return [
        file
        for name in SUMMARISED
        if (shown := FIGURES[name]).part in _parts(study)
        for file in study.every(figure_pattern(name), **both if shown.edges else first)
    ]


def first_methods(study: Study) -> dict[str, list[str]]:
    """Return the models and methods of which the page shows figures."""
    edges = {"model": study.targets, "edge_method": study.edge_methods[:1]}
    return {"method": study.methods[:1], "n": [DRAWN_EDGES], **edges}


def _parts(study: Study) -> list[str]:
    """Return the parts that a study has, see `shown`."""
    parts = ["study", "circuits", "sensitivity", "training-families"]
    parts += ["convergence", "planted"]
    parts += ["edges"] if study.edge_methods else []
    parts += ["drawn"] if study.finds_edges else []
    parts += ["learned"] if study.learned_methods else []
    parts += ["discogp"] if "discogp" in study.learned_methods else []
    parts += ["nodes"] if study.methods else []
    parts += ["distillation"] if study.distillations else []
    parts += ["edge-transfers"] if study.edge_transfers else []
    parts += ["families"] if study.tests_families else []
    if study.transfers:
        return [*parts, "transfers"]
    return [*parts, "attribution"] if study.methods else parts


def _shown(study: Study, part: str) -> Iterator[tuple[str, str]]:
    """Yield the question that a table or figure of a part answers, and its file."""
    wanted = {
        "edges": study.edge_methods,
        "learned": study.learned_methods,
        "circuits": study.circuits,
        "sensitivity": study.varied,
        "training-families": study.varied_families,
        "convergence": study.compared_methods,
        "planted": [*planted_scores(study), *planted_masks(study)],
        "benchmark": study.config["benchmark"],
    }
    if not wanted.get(part, True):
        return
    shown = {table_pattern(name): each for name, each in TABLES.items()}
    shown |= {figure_pattern(name): each for name, each in FIGURES.items()}
    own = {"n": [DRAWN_EDGES]} if part == "drawn" else {}
    own |= {"edge_method": study.config["study"]["edge_methods"]} if own else {}
    own |= {"n": [DRAWN_EDGES]} if part == "edge-transfers" else {}
    own |= {"benchmark": study.growing} if part == "scaling" else {}
    for pattern, each in shown.items():
        if each.part == part:
            methods = {"method": study.transferred_methods} if each.edges else {}
            for file in study.every(pattern, **own, **methods):
                yield each.category, file
