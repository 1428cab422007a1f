"""Where everything lies: patterns, and the files that belong to a job."""

import re
from pathlib import Path

import pytest

from circuit_transfer.circuits.methods import edge_methods, node_methods
from circuit_transfer.study import shown
from circuit_transfer.study.paths import (
    JOBS,
    PATTERNS,
    Job,
    expanded,
    filled,
    job,
    path,
    paths,
    wildcards,
)

ROOT = Path(__file__).parents[3]
RULES = sorted((ROOT / "workflow/rules").glob("*.smk"))


def test_a_wildcard_can_be_filled_in_or_renamed():
    scores = path("scores", model="{source}", method="nap")
    assert scores == "results/scores/{source}/{task}/nap.safetensors"


def test_an_unknown_wildcard_is_named():
    with pytest.raises(ValueError, match="no wildcard 'modell' in results/scores/"):
        path("scores", modell="small")


def test_the_last_wildcard_changes_fastest_and_others_stay():
    assert paths("mask", task=["a", "b"], seed=[0, 1]) == [
        "results/masks/{target}/a/seed-0.safetensors",
        "results/masks/{target}/a/seed-1.safetensors",
        "results/masks/{target}/b/seed-0.safetensors",
        "results/masks/{target}/b/seed-1.safetensors",
    ]


def test_no_value_gives_no_path_and_nothing_to_fill_in_gives_one():
    assert paths("mask", seed=[]) == []
    assert paths("cpr") == ["results/tables/cpr.parquet"]


def test_a_value_is_not_read_as_a_wildcard():
    assert filled("{a}/{b}", {"a": "{b}", "b": "x"}) == "{b}/x"


def test_the_files_of_a_job_have_its_rule_and_wildcards():
    files = job("fit_free_mask", target="large")
    assert files.log == "results/logs/fit_free_mask/large/{task}.log"
    assert files.benchmark == "results/benchmarks/fit_free_mask/large/{task}.tsv"
    assert files.cost == "results/costs/fit_free_mask/large/{task}.json"
    assert files.state == "results/resume/fit_free_mask/large/{task}"
    assert job("summarise_costs") == Job("summarise_costs")


def test_every_wildcard_of_a_pattern_stands_once():
    for pattern in [*PATTERNS.values(), *JOBS.values()]:
        names = wildcards(pattern)
        assert len(names) == len(set(names)), pattern


def test_no_two_patterns_can_be_the_same_path():
    patterns = [*PATTERNS.values(), *(job(rule).log for rule in JOBS)]
    patterns += expanded("{path}", path=[*map(shown.figure_pattern, shown.FIGURES)])
    patterns += expanded("{path}", path=[*map(shown.table_pattern, shown.TABLES)])
    # No method of nodes has the name of one of edges.
    assert {*node_methods()}.isdisjoint(edge_methods())
    apart = [pattern.replace("{edge_method}", "y") for pattern in patterns]
    same = [re.sub(r"{\w+}", "x", pattern) for pattern in apart]
    assert len(same) == len(set(same))


@pytest.mark.parametrize("file", RULES, ids=lambda file: file.stem)
def test_paths_of_results_stand_in_the_table_alone(file):
    assert "results/" not in file.read_text()
    assert file.read_text().count("\n") < 150


def test_every_rule_with_a_log_is_in_the_table_and_uses_its_own_row():
    used = {}
    for file in RULES:
        for rule in re.split(r"^(?:use )?rule ", file.read_text(), flags=re.M)[1:]:
            # What inherits from a rule is named behind it.
            name = re.match(r"(?:\w+ as )?(\w+)", rule)[1]
            used[name] = set(re.findall(r'\bjob\("(\w+)"', rule))
    assert {name for name, rows in used.items() if rows} == set(JOBS)
    assert {name: rows for name, rows in used.items() if rows - {name}} == {}


def test_every_figure_and_table_has_a_caption():
    for name, each in [*shown.FIGURES.items(), *shown.TABLES.items()]:
        caption = ROOT / "workflow/report" / f"{each.caption or name}.rst"
        assert caption.is_file(), name
