"""Outcomes of studies, written between the comments of a page."""

import re
from pathlib import Path

import pytest
import synthetic_edge_transfers as study
import synthetic_study as nodes

from circuit_transfer.artifacts.frames import write_frame
from circuit_transfer.artifacts.text import write_json
from circuit_transfer.stages.outcomes import BEGIN, END, collect_outcomes

HOME = Path(__file__).parents[3]


@pytest.fixture
def results(tmp_path):
    """The folder of a study whose target was pruned from its source."""
    folder = tmp_path / "results"
    (folder / "tables").mkdir(parents=True)
    write_frame(study.statistics()[0], folder / "tables/statistics.parquet")
    lineage = {"relation": "pruned", "parent": nodes.SOURCE, "teacher": None}
    lineage |= {"nodes": {}, "parent_lineage": None}
    models = {nodes.SOURCE: None, nodes.TARGET: lineage}
    for name, of_model in models.items():
        (folder / "models" / name).mkdir(parents=True)
        description = {"model": name, "lineage": of_model}
        write_json(description, folder / "models" / name / "model.json")
    return folder


def test_the_block_between_the_comments_is_replaced(results, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"# Title\n\n{BEGIN}\nstale \\1\n{END}\n\nThe end.\n")
    for _ in range(2):
        collect_outcomes([results], page, maps={"edges": ["prior-residual"]})
        text = page.read_text()
        assert text.startswith(f"# Title\n\n{BEGIN}\n| pair | kinship |")
        assert text.endswith(f"|\n{END}\n\nThe end.\n") and "stale" not in text
        (row,) = [line for line in text.splitlines() if "small_model" in line]
        assert "| pruned | edges | eap | prior-residual |" in row


def test_several_studies_follow_each_other(results, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"{BEGIN}{END}")
    collect_outcomes([results, results], page, maps={"nodes": ["free"]})
    rows = [line for line in page.read_text().splitlines() if "→" in line]
    assert len(rows) == 4 and rows[:2] == rows[2:]


def test_the_page_of_results_is_collected_as_make_does(results, tmp_path, monkeypatch):
    """From two folders with the names of studies that are there, by maps of each."""
    makefile = (HOME / "Makefile").read_text()
    studies = re.search("^RESULTS := (.*)", makefile, re.M)[1]
    code = re.search("^define COLLECT\n(.*?)^endef", makefile, re.M | re.S)[1]
    code = code.replace("$(RESULTS)", studies).replace("$(FOLDER)", "studies")
    text = (HOME / "workflow/docs/results.md").read_text()
    page = tmp_path / "workflow/docs/results.md"
    page.parent.mkdir(parents=True)
    page.write_text(text)
    for name in studies.split():
        assert (HOME / f"workflow/studies/{name}.yaml").is_file()
        (tmp_path / "studies" / name).mkdir(parents=True)
        (tmp_path / "studies" / name / "results").symlink_to(results)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "Makefile", "exec"))
    rows = [line for line in page.read_text().splitlines() if "small_model →" in line]
    levels = [row.split(" | ")[2:5] for row in rows[: len(rows) // 2]]
    assert [level[::2] for level in levels] == [
        ["edges", "prior-residual"],
        *2 * [["nodes", "free"]],
    ]
    assert rows[: len(levels)] == rows[len(levels) :]
    # All else on the page stays.
    assert page.read_text().split(BEGIN)[0] == text.split(BEGIN)[0]


def test_a_page_without_the_comments_is_left_alone(results, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"# Title\n{END}\n")
    with pytest.raises(ValueError, match=r"page.md: expected the comments .* once"):
        collect_outcomes([results], page)
    assert page.read_text() == f"# Title\n{END}\n"
