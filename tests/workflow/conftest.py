"""The tiny study, run once for all tests that look at a finished study."""

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml
from kill_loop import read_artefacts
from opened_files import can_trace, tracing

HOME = Path(__file__).parents[2]
TINY = Path(__file__).with_name("tiny.yaml")


class Study:
    """A folder with a config, in which the workflow runs."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.config = yaml.safe_load(TINY.read_text())
        self.finished: dict[str, bytes] = {}
        # What `opened_files` reads.
        self.trace: Path | None = None

    def command(self, *arguments: str) -> list[str]:
        """Write the config and return the command that runs the workflow on it."""
        (self.folder / "study.yaml").write_text(yaml.safe_dump(self.config))
        command = [sys.executable, "-m", "snakemake"]
        command += ["--snakefile", str(HOME / "Snakefile"), "--directory", "."]
        return [*command, "--configfile", "study.yaml", *arguments]

    def snakemake(
        self, *arguments: str, cores: int = 2, under: Sequence[str] = ()
    ) -> subprocess.CompletedProcess:
        """Run the workflow, if asked for under a program such as a tracer."""
        return subprocess.run(
            [*under, *self.command("--cores", str(cores), *arguments)],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )

    def planned(self) -> dict[str, int]:
        """Return how many jobs of each rule a run would start."""
        result = self.snakemake("--dry-run", "--quiet", "host")
        assert result.returncode == 0, result.stderr
        text = result.stdout + result.stderr
        counts = re.findall(r"^(\w+) +(\d+)$", text.split("total")[0], re.MULTILINE)
        return {rule: int(count) for rule, count in counts}

    def result(self, path: str) -> Path:
        return self.folder / "results" / path


@pytest.fixture(scope="session")
def study(tmp_path_factory) -> Study:
    """The tiny study, finished, and traced where that is possible: see `trace`."""
    study = Study(tmp_path_factory.mktemp("study"))
    study.trace = tmp_path_factory.mktemp("trace") if can_trace() else None
    under = tracing(study.trace) if study.trace else []
    result = study.snakemake(under=under)
    assert result.returncode == 0, result.stdout + result.stderr
    study.finished = read_artefacts(study.folder)
    return study


@pytest.fixture(scope="session")
def undisturbed(study) -> dict[str, bytes]:
    """What the tiny study ends in, whatever other tests make of it; see `damage`."""
    return study.finished


@pytest.fixture
def changed(study):
    """The finished study, whose config a test may change: it is put back."""
    config = yaml.safe_load(TINY.read_text())
    yield study
    study.config = config


@pytest.fixture
def new_study(tmp_path) -> Study:
    """The tiny study in a folder of its own, not run yet."""
    return Study(tmp_path)
