"""Run a tiny study for real: every stage, then what reruns, then what is refused."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

HOME = Path(__file__).parents[2]
PAIR = "tiny-source/tiny-target"
METHOD = "nap-ig-inputs"


def test_every_evaluated_circuit_is_in_the_summary(study):
    cpr = pl.read_parquet(study.result("tables/cpr.parquet"))
    counts = dict(cpr.group_by("kind").len().rows())
    tasks, seeds, rankings = 3, 2, 3
    # Sets without the task and without its family; ioi is one by itself.
    zero_shot = 1 + 2 + 2
    # All three alone, and all; without the task or its family: the trained map, three
    # maps that are trained on nothing, and two that have seeds or gradients.
    circuits = tasks * (3 + 1) * seeds + zero_shot * (seeds + 3 + seeds + 1)
    # Of all six maps without the task or its family other scores of every seed, and a
    # constant (of every seed where a map was trained); of the first the scrambled and
    # permuted ones, and what training started from.
    controls = zero_shot * (6 * 2 * seeds + 2 * seeds + 4 + 2 * seeds) + tasks * seeds
    # Four that need no map, two anywhere, and the free mask.
    aligned = circuits + controls + zero_shot * 4 + tasks * (2 + seeds)
    assert counts == {"gold": tasks, "random": tasks * rankings, "aligned": aligned}
    assert cpr["cpr"].is_finite().all()


def test_tables_and_figures_are_there(study):
    for name in ("leaderboard", "controls", "maps", "tests", "correlations"):
        for end in ("csv", "tex", "html"):
            assert study.result(f"tables/{name}/{PAIR}.{end}").stat().st_size > 100
    for name in ("statistics-columns", "costs", "break-even"):
        assert study.result(f"tables/{name}.csv").stat().st_size > 100
    figures = ["recovery", "curves-by-pair", f"transfer-matrix/{PAIR}"]
    figures += [f"{name}/{PAIR}" for name in ("completeness", "correlations")]
    figures += [f"break-even/{PAIR}", f"stability/{PAIR}/{METHOD}"]
    figures += [f"{name}/{PAIR}/{METHOD}" for name in ("node-map", "alignment-matrix")]
    for name in figures:
        assert study.result(f"figures/{name}.png").read_bytes().startswith(b"\x89PNG")
        assert study.result(f"figures/{name}.pdf").read_bytes().startswith(b"%PDF")


def test_a_second_run_has_nothing_to_do(study):
    assert study.planned() == {}


def test_the_end_of_a_run_shows_the_main_table_and_where_the_page_is(study):
    # There is nothing to do, so Snakemake itself calls no hook.
    shown = study.snakemake().stdout
    assert "zero-shot-family" in shown
    page = f"All questions of the study on one page: {study.result('summary.html')}"
    lines = shown.splitlines()
    assert page in lines
    assert max(len(line) for line in lines if line != page) <= 100
    # These targets do not need the page.
    assert "summary.html" not in study.snakemake("--until", "attribute_nodes").stdout
    assert "summary.html" not in study.snakemake("--dry-run").stdout


def test_the_page_answers_every_question_without_another_file(study):
    page = study.result("summary.html").read_text()
    for question in (
        "Which models and tasks?",
        "Which nodes?",
        "Which edges?",
        "How few edges suffice?",
        "Is the transfer faithful?",
        "Does the source matter?",
        "What did it cost?",
        "What was left out?",
    ):
        assert f">{question}</a></h2>" in page
    assert page.count('<img src="data:image/png;base64,') == 7
    # A drawing of every task, in the page itself.
    assert page.count("<svg") == 3
    assert not re.search(r"https?:|<script|<link|url\(", page)
    links = {link for link in re.findall(r'href="([^"]*)"', page) if link[0] != "#"}
    assert "tables/leaderboard/tiny-source/tiny-target.html" in links
    assert [link for link in links if not study.result(link).is_file()] == []


def test_sensitivity_is_run_where_it_is_asked_for(changed):
    changed.config["sensitivity"] = {"sparsity": [0.01, 1.0], "training_families": [1]}
    result = changed.snakemake("--", "sensitivity")
    assert result.returncode == 0, result.stdout + result.stderr
    table = pl.read_csv(changed.result("tables/sensitivity.csv"))
    assert set(table["value"].cast(pl.String)) >= {"0.01", "0.1", "1", "all"}
    table = pl.read_csv(changed.result("tables/training-families.csv"))
    assert set(table["map"]) == {"free", "ridge"}
    assert changed.result("figures/training-families.png").is_file()
    figure = changed.result(f"figures/sensitivity/{PAIR}/{METHOD}/sparsity.png")
    assert figure.read_bytes().startswith(b"\x89PNG")


def test_numbers_of_steps_are_compared_where_it_is_asked_for(changed):
    changed.config["study"].update(transfers=[], models=["tiny-target"])
    changed.config["sensitivity"] = {"ig_steps": [1, 4]}
    result = changed.snakemake("--", "convergence")
    assert result.returncode == 0, result.stdout + result.stderr
    table = pl.read_csv(changed.result("tables/convergence.csv"))
    # The configured number is compared too.
    assert set(table.select("steps", "more_steps").rows()) == {(1, 2), (1, 4), (2, 4)}
    assert set(table["model"]) == {"tiny-target"}
    figure = changed.result("figures/convergence/tiny-target.png")
    assert figure.read_bytes().startswith(b"\x89PNG")


def test_planted_circuits_are_found_where_it_is_asked_for(changed):
    changed.config["study"].update(transfers=[], models=["known"], siblings=[])
    changed.config["study"].update(tasks=["classes"], families={})
    changed.config["study"]["edge_methods"] = ["eap-ig-inputs"]
    entry = {"construction": "subspaces", "family": "gemma2", "layers": 1}
    changed.config["models"]["known"] = {"planted": entry}
    task = {"generator": "planted-classes", "train": 12, "test": 12}
    changed.config["tasks"]["classes"] = task
    result = changed.snakemake("--", "planted")
    assert result.returncode == 0, result.stdout + result.stderr
    table = pl.read_csv(changed.result("tables/planted.csv"))
    assert set(table["planted"]) == {"subspaces, family gemma2, layers 1"}
    # Scores of nodes, beside those of edges, say less.
    found = table.filter(ranking="absolute")
    auroc = dict(zip(found["method"], found["auroc"], strict=True))
    assert auroc["eap-ig-inputs"] == 1 > auroc[f"{METHOD}, lifted"]


def test_the_report_opens_in_a_browser(study):
    result = study.snakemake("--report", "report.html")
    assert result.returncode == 0, result.stderr
    report = study.folder / "report.html"
    assert "transfer-matrix" in report.read_text()
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no chromium to open the report in")
    page = subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
        + ["--virtual-time-budget=5000", report.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout
    assert "Does the source matter?" in page


def test_pairs_of_unequal_length_are_rejected_with_their_row(changed):
    rows = [
        "clean,corrupted,answer,wrong_answer",
        "The sum of 12 and 34 is,The sum of 11 and 20 is, 46, 31",
        "The sum of 12 and 34 is,The sum of 11 is, 46, 31",
    ]
    (changed.folder / "own.csv").write_text("\n".join(rows) + "\n")
    changed.config["tasks"]["own"] = {"file": "own.csv"}
    result = changed.snakemake("--", "results/pairs/tiny-target/own.parquet")
    assert result.returncode == 0, result.stdout + result.stderr
    rejects = pl.read_parquet(changed.result("pairs/tiny-target/own.rejects.parquet"))
    assert rejects.select("file", "row").rows() == [("own.csv", 2)]
    assert rejects["reason"].to_list() == ["clean prompt has 8 tokens, corrupted 6"]


def test_scores_go_to_mib_and_come_back_as_the_same_circuit(changed):
    result = changed.snakemake("--", "mib")
    assert result.returncode == 0, result.stdout + result.stderr
    place = {"target": "tiny-target", "task": "ioi"}
    files = {"theirs": f"{METHOD}/ioi_tiny-target/importances.json"}
    files["edges"] = "eap/ioi_tiny-target/importances.safetensors"
    circuits = {
        n: place | {"importances": f"results/mib/{f}"} for n, f in files.items()
    }
    changed.config["evaluation"]["circuits"] = circuits
    result = changed.snakemake("--", "results/tables/imported.csv")
    assert result.returncode == 0, result.stdout + result.stderr
    table = pl.read_csv(changed.result("tables/imported.csv"))
    others = [f"gold, {METHOD}", "random-rankings"]
    of_edges = ["imported, signed", "imported, absolute"]
    assert table["circuit"].to_list() == [*of_edges, *others, "imported", *others]
    assert table["of"].to_list() == ["edges"] * 2 + ["nodes"] * 5
    imported, gold = table[4:6].select("cpr", "cmd").rows()
    assert imported == gold
    keys = ("ranking", "proportion", "n_edges", "faithfulness", "logit_diffs")
    measured, again = (
        pl.read_parquet(changed.result(f"faithfulness/{name}.parquet"))
        for name in ("edges/tiny-target/ioi/eap", "imported/tiny-target/ioi/edges")
    )
    # Other circuits beside them in a pass may change the rounding.
    assert_frame_equal(again.select(keys), measured.filter(control="none").select(keys))


def test_models_that_split_numbers_have_empty_cells_for_sums(new_study):
    study = new_study
    small, medium = (
        {"path": f"data/models/qwen-{size}"} for size in ("small", "medium")
    )
    study.config["models"] = {"small": small, "medium": medium}
    study.config["study"].update(
        tasks=["ioi", "arithmetic-addition"],
        transfers=[{"source": "small", "target": "medium"}],
        seeds=[0],
    )
    study.config["alignment"]["controls"] = ["source-free", "free-mask"]
    result = study.snakemake()
    assert result.returncode == 0, result.stdout + result.stderr
    for name in ("leaderboard", "controls"):
        table = pl.read_csv(study.result(f"tables/{name}/small/medium.csv"))
        assert table["ioi"].is_not_null().any()
        assert table["arithmetic-addition"].is_null().all()
        page = study.result(f"tables/{name}/small/medium.html").read_text()
        assert "<td>-</td>" in page
    reasons = pl.read_csv(study.result("tables/rejects-summary.csv"))
    assert set(reasons["task"]) == {"arithmetic-addition"}
    assert set(reasons["reason"]) == {"answer has N tokens, the task needs one"}
    assert reasons["rows"].to_list() == [24, 24]
    assert study.planned() == {}


def test_an_entry_that_is_not_used_costs_nothing(new_study):
    new_study.config["models"]["unused"] = {"path": "no/folder"}
    assert new_study.planned()["train_model"] == 2


def _at_home(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "snakemake", *arguments]
    return subprocess.run(
        command, cwd=HOME, capture_output=True, text=True, check=False
    )


def test_the_workflow_passes_the_linter():
    result = _at_home("--lint")
    assert result.returncode == 0, result.stderr
