"""The source files that determine the result of a stage."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from running import sources

HOME = Path(__file__).parents[2]
SCRIPTS = HOME / "workflow/scripts"
# Imports every stage anew and prints which files of the library that brought in.
IMPORT = """
import importlib, json, sys
sys.path[:0] = sys.argv[1:3]
found = {}
for stage in sys.argv[3:]:
    for name in [name for name in sys.modules if name.startswith("circuit_transfer")]:
        del sys.modules[name]
    importlib.import_module(stage)
    library = (each for name, each in sys.modules.items() if "circuit_transfer" in name)
    found[stage] = [each.__file__ for each in library]
print(json.dumps(found))
"""


def test_every_module_that_python_imports_counts():
    library = str(HOME / "workflow/lib")
    stages = sorted(path.stem for path in SCRIPTS.glob("*.py"))
    output = subprocess.run(
        [sys.executable, "-c", IMPORT, library, str(SCRIPTS), *stages],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    imported = json.loads(output.splitlines()[-1])
    for stage, files in imported.items():
        counted = set(map(str, sources.source_files(SCRIPTS / f"{stage}.py")))
        assert set(files) <= counted, stage
    assert any("attribution" in file for file in imported["attribute_nodes"])


def test_a_start_imports_no_package_that_takes_long():
    rules = "".join(path.read_text() for path in sources.RULES.glob("*.smk"))
    names = re.findall(r"^from (circuit_transfer[.\w]*) import", rules, re.M)
    assert len(names) > 10
    imports = "".join(f"import {name}\n" for name in sorted({*names}))
    slow = {"torch", "transformers", "scipy.stats", "matplotlib"}
    result = subprocess.run(
        [
            sys.executable,
            "-c",
            f"{imports}import sys; print({slow} & {{*sys.modules}})",
        ],
        env=os.environ | {"PYTHONPATH": str(HOME / "workflow/lib")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout == "set()\n"


def modules(script: str, unused: tuple[str, ...] = ()) -> set[str]:
    """Return the library's modules that count for a stage."""
    _, *files = sources.source_files(SCRIPTS / script, unused)
    package = HOME / "workflow/lib/circuit_transfer"
    return {file.relative_to(package).with_suffix("").as_posix() for file in files}


def test_science_does_not_depend_on_figures():
    for script in SCRIPTS.glob("*.py"):
        draws = any(name.startswith("figures/") for name in modules(script.name))
        assert draws == script.name.startswith("plot_"), script.name


def test_imports_inside_of_functions_count_and_those_for_types_do_not():
    assert "interventions/hooks" in modules("describe_model.py")
    assert "models/shape" in modules("summarise_costs.py")
    assert "models/shape" not in modules("plot_break_even.py")


LAST = "from circuit_transfer import jobs"


@pytest.mark.parametrize(
    "text",
    [
        LAST,
        f"{LAST}\nx = 'import' + 1\n",
        f'{LAST}\nx = """\nimport circuit_transfer.models\n"""\n',
        f"x = 1; {LAST}",
        f"if x:\n    pass\nelse: {LAST}\ny = 2\n",
        "from circuit_transfer import (  # those of jobs)\n    jobs,\n)\n",
        "from circuit_transfer import \\\n    jobs\n",
        f"def f():\n    try:\n        pass\n    finally:\n        {LAST}\n",
        f"match x:\n    case 1:\n        {LAST}\n    case 2:\n        y\n",
    ],
    ids=[
        *("alone", "before the word", "before a text", "on a line with another"),
        *("in a branch", "over lines with a comment", "over lines", "in a function"),
        "in a case",
    ],
)
def test_imports_are_found_wherever_they_are_the_last(tmp_path, text):
    (tmp_path / "stage.py").write_text(text)
    names = {"circuit_transfer", "circuit_transfer.jobs"}
    assert sources.library_modules(tmp_path / "stage.py").keys() == names


def test_modules_imported_only_by_excluded_ones_are_excluded():
    assert {"models/hub", "models/checkpoints", "importers/own"} < modules(
        "write_prompts.py"
    )
    rest = modules("write_prompts.py", unused=("importers", "models.hub"))
    assert rest.isdisjoint({"models/hub", "models/checkpoints", "importers/own"})
    assert {"generators/ioi", "artifacts/frames"} < rest


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": "1", "b": "2"}, {"a": "1", "b": "3"}),
        ({"a": "1", "b": "2"}, {"a": "2", "b": "1"}),
        ({"a": "1", "b": "2"}, {"a": "12", "b": ""}),
        ({"a": "1"}, {"b": "1"}),
    ],
    ids=["other content", "swapped", "moved", "other name"],
)
def test_different_files_have_different_digests(tmp_path, one, other):
    digests = []
    for folder, content in (("one", one), ("other", other)):
        (tmp_path / folder).mkdir()
        files = [tmp_path / folder / name for name in content]
        for file in files:
            file.write_text(content[file.name])
        digests.append(sources.files_digest(files))
    assert digests[0] != digests[1]


def test_the_digest_depends_on_content_alone(tmp_path):
    digests = set()
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "file").write_text("text")
        digests.add(sources.files_digest([tmp_path / folder / "file"]))
    assert len(digests) == 1


def test_jobs_use_the_library_beside_the_snakefile(tmp_path, monkeypatch):
    monkeypatch.setenv("WARM", "0")  # forks use it in any case
    left_out = shutil.ignore_patterns("__pycache__", "llama-*", "qwen-*")
    for name in ("data", "envs", "workflow"):
        shutil.copytree(HOME / name, tmp_path / name, ignore=left_out)
    shutil.copy(HOME / "Snakefile", tmp_path)
    shutil.copy(Path(__file__).with_name("tiny.yaml"), tmp_path / "config.yaml")
    job = tmp_path / "workflow/lib/circuit_transfer/jobs/job.py"
    job.write_text(job.read_text().replace("done in", "done here in"))
    target = "results/prompts/ioi.parquet"
    command = [sys.executable, "-m", "snakemake", "--cores", "1", target]
    subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
    log = tmp_path / "results/logs/write_prompts/ioi/train.log"
    assert "done here in" in log.read_text()
