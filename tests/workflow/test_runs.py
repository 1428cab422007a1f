"""Crash small real workflows, and check the next run."""

import fcntl
import os
import pwd
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil
import pytest

HOME = Path(__file__).parents[2]
SNAKEMAKE = [sys.executable, "-m", "snakemake", "--cores", "2", "--keep-going"]
LIBRARY = HOME / "workflow/lib"
SNAKEFILE = f"""
import sys
sys.path.insert(0, "{LIBRARY}")
from running import sources
from running.runs import hold_folder, start_run
from running.warm import warm_up

# Its scripts are forked as those of the stages are.
sources.SCRIPTS = sources.Path(workflow.basedir)
hold_folder(workflow)

onstart:
    start_run(workflow)
    warm_up(workflow)

rule tell:
    output: 'results/{{name}}.json'
    log: 'results/logs/{{name}}'
    script: 'tell.py'
"""
SCRIPT = """
import os
import time
from pathlib import Path
from circuit_transfer.artifacts.files import atomic
from circuit_transfer.artifacts.text import write_json
from circuit_transfer.jobs.job import job

with job(snakemake.log[0], "tell"):
    name = snakemake.wildcards.name
    {body}
    write_json(name, snakemake.output[0])
"""
# A job writes half of its file, then its process id, and waits for a file `go`.
WAIT = """
    with atomic(snakemake.output[0]) as partial:
        partial.write_text('half')
        Path('pids').mkdir(exist_ok=True)
        Path('pids', name).write_text(str(os.getpid()))
        while not Path('go').exists(): time.sleep(0.05)
"""


class Workflow:
    """A folder with a Snakefile of one rule, with one job per name."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.started: list[subprocess.Popen] = []
        (folder / "Snakefile").write_text(SNAKEFILE)
        self.write("")

    def write(self, body: str) -> None:
        (self.folder / "tell.py").write_text(SCRIPT.format(body=body.strip()))

    def start(self, *arguments: str, names: str = "abc", prefix: Sequence[str] = ()):
        results = [f"results/{name}.json" for name in names]
        process = subprocess.Popen(
            [*prefix, *SNAKEMAKE, *arguments, "--", *results],
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": str(LIBRARY)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def run(self, *arguments: str, **more) -> tuple[int, str]:
        """Run to the end, and return the exit status and all that was printed."""
        process = self.start(*arguments, **more)
        output, _ = process.communicate(timeout=120)
        return process.returncode, output

    def waiting(self, count: int = 2) -> list[int]:
        """Wait until so many jobs wait, and return their process ids."""
        pids = self.folder / "pids"
        wait_until(lambda: sum(p.stat().st_size > 0 for p in pids.glob("*")) == count)
        return [int(path.read_text()) for path in pids.glob("*")]

    def results(self) -> dict[str, str]:
        return {p.name: p.read_text() for p in self.folder.glob("results/*.json")}

    def hidden(self) -> list[str]:
        return [path.name for path in self.folder.glob("results/.*")]


WHOLE = {f"{name}.json": f'"{name}"\n' for name in "abc"}


@pytest.fixture
def workflow(tmp_path) -> Iterator[Workflow]:
    workflow = Workflow(tmp_path)
    yield workflow
    for process in workflow.started:
        process.kill()  # what a test that failed has left; its jobs end with it


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie"


@pytest.mark.parametrize("warm", ["0", "1"])
def test_the_same_command_resumes_after_a_killed_run(workflow, monkeypatch, warm):
    monkeypatch.setenv("WARM", warm)
    workflow.write(WAIT)
    process = workflow.start()
    jobs = workflow.waiting()
    process.kill()
    process.communicate(timeout=60)  # they hold the other end of the pipe
    # Jobs do not outlive the run, so that none gets in the way of the next.
    wait_until(lambda: all(map(gone, jobs)), seconds=20)
    assert workflow.results() == {}
    assert len(workflow.hidden()) == 2
    assert list(workflow.folder.glob(".snakemake/locks/*"))
    (workflow.folder / "go").touch()
    code, output = workflow.run("--rerun-incomplete")
    assert code == 0, output
    assert workflow.results() == WHOLE
    assert workflow.hidden() == []


def test_a_folder_in_use_stays_locked(workflow):
    workflow.write(WAIT)
    process = workflow.start()
    workflow.waiting()
    assert workflow.run("--dry-run")[0] == 0  # which must not loosen anything
    code, output = workflow.run("--rerun-incomplete")
    assert code != 0
    assert "Directory cannot be locked" in output
    assert len(workflow.hidden()) == 2
    (workflow.folder / "go").touch()
    output, _ = process.communicate()
    assert process.returncode == 0, output
    assert workflow.results() == WHOLE


def test_a_lock_is_respected_while_a_process_of_its_run_lives(workflow):
    # On a cluster the jobs of a killed run continue; each holds the lock.
    locks = workflow.folder / ".snakemake/locks"
    locks.mkdir(parents=True)
    (locks / "0.output.lock").write_text("results/a.json\n")
    with open(workflow.folder / ".snakemake/in-use", "a") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        code, output = workflow.run()
        assert code != 0
        assert "Directory cannot be locked" in output
    assert workflow.run()[0] == 0


@pytest.mark.parametrize("warm", ["0", "1"])
def test_a_killed_job_is_reported_and_the_others_are_not_lost(
    workflow, monkeypatch, warm
):
    monkeypatch.setenv("WARM", warm)
    workflow.write("if name == 'b': os.kill(os.getpid(), 9)")
    code, output = workflow.run()
    assert code == 1
    assert "A job of tell was killed by SIGKILL: out of memory? Try smaller" in output
    assert workflow.results().keys() == {"a.json", "c.json"}


GREEDY = """
    if name == 'b':
        import resource
        import numpy
        resource.setrlimit(resource.RLIMIT_AS, (3 * 2**30, -1))
        numpy.ones(2**40)
"""


@pytest.mark.parametrize("warm", ["0", "1"])
def test_a_job_without_memory_is_reported(workflow, monkeypatch, warm):
    monkeypatch.setenv("WARM", warm)
    workflow.write(GREEDY)
    code, output = workflow.run("--show-failed-logs")
    assert code == 1
    assert "Unable to allocate 8.00 TiB" in output
    assert "out of memory? Try smaller batches (batch_size of attribution" in output
    assert "Traceback" not in output
    assert workflow.results().keys() == {"a.json", "c.json"}


def mount(folder: Path, options: str) -> None:
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")


@pytest.fixture
def disk(workflow):
    """A function that mounts a file system of its own on a folder of a workflow."""
    mounted = []

    def on(name: str, options: str) -> Path:
        folder = workflow.folder / name
        folder.mkdir(exist_ok=True)
        mount(folder, options)
        mounted.append(folder)
        return folder

    yield on
    for folder in mounted:
        subprocess.run(["umount", str(folder)], check=True)


def remount(folder: Path, options: str) -> None:
    command = ["mount", "-o", f"remount,{options}", str(folder)]
    subprocess.run(command, check=True)


def test_results_that_are_read_only_stop_a_run_before_it_starts(workflow, disk):
    results = disk("results", "size=1m")
    (results / "a.json").write_text("mine")
    remount(results, "ro")
    code, output = workflow.run()
    assert code != 0
    assert f"{results}: its file system is read-only" in output
    assert "Traceback" not in output
    assert "rule tell" not in output
    assert workflow.results() == {"a.json": "mine"}
    remount(results, "rw")
    (results / "a.json").unlink()
    assert workflow.run()[0] == 0


def test_results_that_may_not_be_written_stop_a_run_before_it_starts(workflow):
    results = workflow.folder / "results"
    results.mkdir(mode=0o555)
    prefix = []
    if os.geteuid() == 0:  # who may write everywhere, unless that is taken away
        if not shutil.which("setpriv"):
            pytest.skip("no setpriv to take root's rights away")
        prefix = ["setpriv", "--bounding-set", "-dac_override"]
    code, output = workflow.run(prefix=prefix)
    assert code != 0
    user = pwd.getpwuid(os.geteuid()).pw_name
    told = f"{results}: {user} has no permission to write, the owner is {user} ("
    assert told in output
    assert "Traceback" not in output
    assert "rule tell" not in output


def test_a_read_only_working_directory_is_reported(disk):
    folder = disk("study", "size=1m")
    workflow = Workflow(folder)
    remount(folder, "ro")
    code, output = workflow.run()
    assert code != 0
    assert f"Read-only file system: '.snakemake' in {folder}" in output
    assert "Traceback" not in output
