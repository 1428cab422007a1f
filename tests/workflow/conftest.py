"""The tiny study, run once for all tests that look at a finished study."""

import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import yaml
from kill_loop import read_artefacts
from opened_files import can_trace, tracing
from planner import plan

HOME = Path(__file__).parents[2]
TINY = Path(__file__).with_name("tiny.yaml")


class Study:
    """A folder with a config, in which the workflow runs."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.config = yaml.safe_load(TINY.read_text())
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
        _, _, _, *arguments = self.command(
            "--cores", "2", "--dry-run", "--quiet", "host"
        )
        result = plan(*arguments, folder=self.folder)
        assert result.returncode == 0, result.stderr
        text = result.stdout + result.stderr
        counts = re.findall(r"^(\w+) +(\d+)$", text.split("total")[0], re.MULTILINE)
        return {rule: int(count) for rule, count in counts}

    def result(self, path: str) -> Path:
        return self.folder / "results" / path


@pytest.fixture(scope="session")
def original(tmp_path_factory) -> Study:
    """The tiny study, finished once for all processes of the tests.

    It was traced where that is possible: see `trace`. Nothing else runs in its folder.
    """
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    study = Study(shared / "original")
    study.trace = shared / "trace" if can_trace() else None
    finished = shared / "original.finished"
    with open(shared / "original.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not finished.exists():
            for folder in filter(None, (study.folder, study.trace)):
                folder.mkdir()
            result = study.snakemake(under=tracing(study.trace) if study.trace else [])
            assert result.returncode == 0, result.stdout + result.stderr
            finished.touch()
    return study


@pytest.fixture(scope="session")
def study(original, tmp_path_factory) -> Study:
    """The tiny study, finished, in a copy that the tests of one process may change."""
    folder = tmp_path_factory.mktemp("study") / "copy"
    shutil.copytree(original.folder, folder)
    return Study(folder)


@pytest.fixture(scope="session")
def undisturbed(original) -> dict[str, bytes]:
    """What the tiny study ends in, whatever other tests make of it; see `damage`."""
    return read_artefacts(original.folder)


@pytest.fixture
def changed(study):
    """The finished study, whose config a test may change: it is put back."""
    config = yaml.safe_load(TINY.read_text())
    yield study
    study.config = config


@pytest.fixture(scope="session")
def study_in() -> Callable[[Path], Study]:
    """A function that makes the tiny study in a folder, not run yet."""
    return Study


@pytest.fixture
def new_study(study_in, tmp_path) -> Study:
    """The tiny study in a folder of its own, not run yet."""
    return study_in(tmp_path)
