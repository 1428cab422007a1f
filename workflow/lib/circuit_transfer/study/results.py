"""What a study ends in: its page, and the figures and tables of its parts."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from circuit_transfer.study.paths import path
from circuit_transfer.study.shown import (
    FIGURES,
    SUMMARISED,
    TABLES,
    figure_pattern,
    table_pattern,
)
from circuit_transfer.study.study import Study


@dataclass(frozen=True, eq=False)
class Results:
    """The files that a study ends in, by its parts; these are listed in `shown`."""

    study: Study

    @property
    def _parts(self) -> list[str]:
        """The parts that every run makes."""
        parts = ["study", "circuits", "sensitivity", "convergence"]
        return [*parts, "transfers" if self.study.transfers else "attribution"]

    def all(self) -> list[str]:
        """Return the page of the study, and its figures and tables."""
        shown = [file for part in self._parts for file in self.of(part)]
        return [path("summary"), *shown]

    def of(self, part: str) -> list[str]:
        """Return the tables (CSV) and figures (PNG) of a part of the study."""
        return [file for _, file in self._shown(part)]

    def by_category(self) -> dict[str, list[str]]:
        """Return the tables (HTML) and figures (PNG) by the question they answer."""
        by_category: dict[str, list[str]] = {}
        for part in self._parts:
            for category, file in self._shown(part):
                page = re.sub(r"\.csv$", ".html", file)
                by_category.setdefault(category, []).append(page)
        return by_category

    def summarised_figures(self) -> list[str]:
        """Return the figures (PNG) that the page shows, those of the first method."""
        first = self.study.methods[:1]
        return [
            file
            for name in SUMMARISED
            if FIGURES[name].part in self._parts
            for file in self.study.every(figure_pattern(name), method=first)
        ]

    def _shown(self, part: str) -> Iterator[tuple[str, str]]:
        """Yield the question that a table or figure of a part answers, and its file."""
        study = self.study
        wanted = {
            "circuits": study.circuits,
            "sensitivity": study.varied,
            "convergence": study.compared_methods,
            "benchmark": study.config["benchmark"],
        }
        if not wanted.get(part, True):
            return
        shown = {table_pattern(name): each for name, each in TABLES.items()}
        shown |= {figure_pattern(name): each for name, each in FIGURES.items()}
        own = {"benchmark": study.growing} if part == "scaling" else {}
        for pattern, each in shown.items():
            if each.part == part:
                for file in study.every(pattern, **own):
                    yield each.category, file
