"""What the report shows: captions, categories, and its first page."""

from pathlib import Path

import pytest
from docutils.core import publish_parts
from jinja2 import Environment

from circuit_transfer.study.shown import FIGURES, TABLES

REPORT = Path(__file__).parents[3] / "workflow/report"
SHOWN = [*FIGURES.items(), *TABLES.items()]
# Pages that Snakemake gives every report.
TAKEN = {"workflow", "statistics"}
TRANSFER = {"source": "small", "target": "large"}


def first_page(config):
    """The first page as Snakemake renders it, but stopped by a warning."""
    environment = Environment(trim_blocks=True, lstrip_blocks=True)
    text = environment.from_string((REPORT / "workflow.rst").read_text())
    text = text.render(snakemake={"config": config})
    settings = {"halt_level": 2, "report_level": 2}
    return publish_parts(text, writer="html", settings_overrides=settings)["body"]


@pytest.mark.parametrize(("name", "shown"), SHOWN)
def test_everything_shown_has_a_caption_and_a_category_of_its_own(name, shown):
    assert (REPORT / f"{shown.caption or name}.rst").is_file()
    assert shown.category.lower() not in TAKEN


@pytest.mark.parametrize(
    ("config", "question", "has_controls"),
    [
        ({"study": {"transfers": []}}, "Which part of a language model", False),
        ({"study": {"transfers": [TRANSFER]}}, "Can a circuit", True),
        # The configuration of another workflow, whose module this one is.
        ({}, "Can a circuit", True),
    ],
)
def test_the_first_page_is_of_the_study(config, question, has_controls):
    page = first_page(config)
    assert question in page
    for heading in ("How to read the numbers", "Uncertainty"):
        assert f">{heading}</h1>" in page
    assert (">Controls</h1>" in page) == has_controls
    assert ">Circuits of edges</h1>" not in page
    assert ("alignment" in page) == has_controls


def test_the_first_page_explains_edges_where_they_are_scored():
    study = {"transfers": [], "edge_methods": ["eap"]}
    page = first_page({"study": study})
    assert ">Circuits of edges</h1>" in page and "random-effective" in page
