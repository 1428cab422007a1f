"""Another workflow imports this one as a module, as the page on modules shows it."""

import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import polars as pl
import pytest
import yaml
from planner import plan

HOME = Path(__file__).parents[2]
PAGE = HOME / "workflow/docs/modules.md"
TINY = HOME / "tests/workflow/tiny.yaml"
NAMES = ("config.yaml", "Snakefile", "best.py")
PREFIX = '    prefix: "circuits"\n'
SECOND = """
second_study = load_configfile("circuit-transfer/config.yaml")
update_config(second_study, config["second"])

module second:
    snakefile: "circuit-transfer/Snakefile"
    config: second_study
    prefix: "second"

use rule * from second as second_*

rule both:
    input: rules.circuits_all.input, rules.second_all.input
"""

MODULE = """
module circuits:
    snakefile: "{home}/Snakefile"
    config: config
    prefix: "circuits"

use rule * from circuits as circuits_*
"""


class Importer:
    """The folder of the page: its three files, and a clone of this repository."""

    def __init__(self, folder: Path):
        self.folder = folder
        (folder / "circuit-transfer").symlink_to(HOME)
        found = re.findall(r"^```\w+\n(.*?)^```", PAGE.read_text(), re.M | re.S)
        self.files = dict(zip(NAMES, found, strict=True))
        for name, text in self.files.items():
            self.write(name, text)

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def configure(self, **parts) -> None:
        self.write("config.yaml", yaml.safe_dump(parts))

    def snakemake(self, *arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-m", "snakemake", *arguments],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )

    def printed(self, *arguments: str) -> str:
        result = self.snakemake(*arguments)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout + result.stderr

    def planned(self, *arguments: str) -> set[str]:
        """Return the rules that a run would use."""
        dry_run = ("--cores", "2", "--dry-run", *arguments)
        result = plan(*dry_run, folder=self.folder)
        text = result.stdout + result.stderr
        assert result.returncode == 0, text
        table = re.search(r"^Job stats:\n.*?\n-+.*?\n(.*?)^total", text, re.M | re.S)
        return set(re.findall(r"^(\w+) +\d+$", table[1], re.M)) if table else set()


@pytest.fixture
def importer(tmp_path) -> Importer:
    return Importer(tmp_path)


def direct_study() -> dict:
    """Return the tiny study of circuits in the target alone."""
    config = yaml.safe_load(TINY.read_text())
    selected = {"transfers": [], "models": ["tiny-target"], "siblings": []}
    config["study"] |= selected | {"tasks": ["ioi"]}
    return config


def test_the_page_runs_as_it_stands(importer):
    commands = re.findall(r"`snakemake ([^`\n]+)`", PAGE.read_text())
    assert commands == ["--cores all", "--report"]
    # What a killed job has left is removed where the results of the module are.
    left = importer.folder / "circuits/results/scores/.left.1234.partial"
    left.parent.mkdir(parents=True)
    left.touch()
    importer.printed("--cores", "all")
    best = pl.read_csv(importer.folder / "best.csv")
    assert best.select("task", "method").rows() == [("ioi", "nap-ig-inputs")]
    assert best["cpr"].item() > 0.5
    assert not left.exists()
    assert not (importer.folder / "results").exists()
    # All that the workflow writes is under the prefix, and nothing in the clone.
    made = {each.name for each in importer.folder.iterdir()}
    assert made == {*NAMES, "best.csv", "circuits", "circuit-transfer", ".snakemake"}
    assert importer.planned() == set()
    # Snakemake's own trigger still holds for the script of the importing workflow.
    importer.write("best.py", importer.files["best.py"] + "# changed\n")
    assert importer.planned() == {"best", "all"}


def test_results_are_those_of_the_study_by_itself(importer, study):
    importer.configure(circuits=direct_study())
    shown = "circuits/results/tables/gold/tiny-target.html"
    importer.printed("--cores", "2", "--", shown)
    results = importer.folder / "circuits/results"
    same = [
        path
        for folder in ("prompts/ioi", "pairs/tiny-target/ioi", "scores", "faithfulness")
        for path in sorted(results.joinpath(folder).rglob("*.*"))
    ]
    assert len(same) == 2 * 2 + 2 * 2 + 1 + 2
    for path in same:
        alone = study.result(str(path.relative_to(results)))
        assert path.read_bytes() == alone.read_bytes(), path
    model = "models/tiny-target/checkpoint/model.safetensors"
    assert (results / model).read_bytes() == study.result(model).read_bytes()
    importer.printed("--report", "report.html", "--", shown)
    assert shown in (importer.folder / "report.html").read_text()


def texts(value: object) -> Iterator[str]:
    """Yield every text in what a job reads, writes or is given."""
    if isinstance(value, str | Path):
        yield str(value)
    elif isinstance(value, Mapping):
        yield from (text for each in value.values() for text in texts(each))
    elif isinstance(value, Iterable):
        yield from (text for each in value for text in texts(each))


def test_the_prefix_is_in_all_that_a_job_reads_writes_or_is_given(tmp_path):
    # Params too, where no rule makes a file that a stage reads.
    (tmp_path / "Snakefile").write_text(MODULE.format(home=HOME))
    arguments = [tmp_path / "jobs", tmp_path / "Snakefile"]
    command = [sys.executable, HOME / "tests/rule_jobs.py", *arguments]
    subprocess.run(command, check=True, capture_output=True)
    jobs = pickle.loads((tmp_path / "jobs").read_bytes())
    assert len(jobs) > 40
    placed = 0
    for stage, job in jobs:
        parts = (job.input, job.output, job.params, job.log)
        for text in (text for part in parts for text in texts(part)):
            assert not text.startswith("results"), (stage, text)
            assert not text.startswith("circuits/data"), (stage, text)
            placed += text.startswith("circuits/results")
    assert placed > len(jobs)


def test_without_a_prefix_results_are_where_they_are_by_themselves(importer):
    for old, new in ((PREFIX, ""), ("circuits/results", "results")):
        assert old in importer.files["Snakefile"]
        importer.files["Snakefile"] = importer.files["Snakefile"].replace(old, new)
    importer.write("Snakefile", importer.files["Snakefile"])
    assert {"circuits_attribute_nodes", "best"} < importer.planned()


def test_several_studies_with_transfers_are_planned_side_by_side(importer):
    importer.write("Snakefile", importer.files["Snakefile"] + SECOND)
    transfers = yaml.safe_load(TINY.read_text())
    importer.configure(circuits=direct_study(), second=transfers)
    rules = importer.planned("--", "both")
    for name in ("train_model", "attribute_nodes", "evaluate_gold", "summarise_gold"):
        assert f"circuits_{name}" in rules
    assert {"second_train_model", "second_summarise_leaderboard"} < rules
    assert {"second_fit_alignment", "second_evaluate_aligned"} < rules
    assert "circuits_fit_alignment" not in rules


@pytest.fixture
def own(importer) -> Importer:
    """A module whose model and task are in the folder of the importing workflow."""
    (importer.folder / "my").mkdir()
    model = HOME / "data/models/llama-small"
    shutil.copytree(model, importer.folder / "my/model")
    readme = (HOME / "README.md").read_text()
    pairs = re.search(r"^```csv\n(.*?)^```", readme, re.M | re.S)[1]
    importer.write("my/pairs.csv", pairs)
    study = {"tasks": ["own"], "methods": ["nap"], "models": ["mine"], "transfers": []}
    importer.configure(
        circuits={
            "study": study,
            "models": {"mine": {"path": "my/model"}},
            "tasks": {"own": {"file": "my/pairs.csv"}},
        }
    )
    return importer


def test_own_files_are_found_without_the_prefix(own):
    printed = own.printed("--cores", "2", "--dry-run")
    assert "circuits/results/prompts/own/train.parquet" in printed
    assert "circuits/my" not in printed


def test_files_are_checked_before_the_first_job_under_any_names_of_rules(own):
    own.write("my/pairs.csv", "clean,answer\na,b\n")
    result = own.snakemake("--cores", "2")
    assert result.returncode != 0
    assert "tasks.own.file: my/pairs.csv" in result.stderr
    assert not (own.folder / "circuits").exists()


def test_a_wrong_configuration_names_its_module(importer):
    text = importer.files["Snakefile"].replace(
        "config: study", 'config: config["circuits"]'
    )
    importer.write("Snakefile", text)
    result = importer.snakemake("--cores", "2", "--dry-run")
    assert result.returncode != 0
    assert "config: 'models' is a required property" in result.stdout
    assert "the module 'circuits', which must be a whole" in result.stdout


def test_a_rule_of_the_importing_workflow_may_have_any_name(importer):
    own = '\nrule my_preflight:\n    output: touch("mine")\n'
    ending = "\nonsuccess:\n    circuits.onsuccess()\n"
    importer.write("Snakefile", importer.files["Snakefile"] + own + ending)
    importer.printed("--cores", "1", "--", "my_preflight")


def test_a_rule_can_be_changed(importer):
    changed = "use rule attribute_nodes from circuits as circuits_attribute_nodes with:"
    changed = f'\n{changed}\n    message: "Changed for {{wildcards.model}}"\n'
    importer.write("Snakefile", importer.files["Snakefile"] + changed)
    printed = importer.printed("--cores", "2", "--dry-run")
    assert "Changed for llama-small" in printed
