"""Kill a long job for real, alone and with Snakemake: it goes on where it was."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import yaml

HOME = Path(__file__).parents[2]
TINY = Path(__file__).with_name("tiny.yaml")
FIT = "source/target/nap/only-ioi"
RESULTS = [f"results/alignments/{FIT}/seed-{seed}.safetensors" for seed in (0, 1)]
COST = f"results/costs/fit_alignment/{FIT}.json"
STATE = f"results/resume/fit_alignment/{FIT}/state.safetensors"
RESUMED = f"resumed from {STATE}"
LOG = f"results/logs/fit_alignment/{FIT}.log"


class Study:
    """One fit of some seconds on a shipped model, in a folder."""

    def __init__(self, folder: Path):
        self.folder = folder
        config = yaml.safe_load(TINY.read_text())
        config["study"] |= {"tasks": ["ioi"], "methods": ["nap"], "siblings": []}
        config["study"] |= {"transfers": [{"source": "source", "target": "target"}]}
        config["study"]["families"] = {}
        shipped = {"source": "llama-small", "target": "llama-medium"}
        config["models"] = {
            role: {"path": f"data/models/{name}"} for role, name in shipped.items()
        }
        config["alignment"] |= {"epochs": 40, "compare": [], "controls": []}
        (folder / "study.yaml").write_text(yaml.safe_dump(config))

    def start(self, *arguments: str, seconds: float) -> subprocess.Popen:
        """Start Snakemake in a group of its own."""
        command = [sys.executable, "-m", "snakemake"]
        command += ["--snakefile", str(HOME / "Snakefile"), "--directory", "."]
        command += ["--configfile", "study.yaml", "--cores", "2", *arguments]
        return subprocess.Popen(
            [*command, "--", *RESULTS],
            cwd=self.folder,
            env=os.environ | {"CHECKPOINT_SECONDS": str(seconds)},
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )

    def run(self, *arguments: str) -> None:
        assert self.start(*arguments, seconds=300).wait() == 0

    def written(self) -> list[bytes]:
        return [(self.folder / path).read_bytes() for path in RESULTS]


def wait_until(happened: Callable[[], bool], process: subprocess.Popen) -> None:
    """Wait for something that a run does."""
    while not happened():
        assert process.poll() is None
        time.sleep(0.01)


def jobs(process: subprocess.Popen) -> list[psutil.Process]:
    """Return the processes that run the scripts of a Snakemake."""
    return [
        each
        for each in psutil.Process(process.pid).children(recursive=True)
        if ".snakemake/scripts" in " ".join(each.cmdline()) and not each.children()
    ]


def test_a_job_goes_on_after_it_and_then_all_of_snakemake_was_killed(tmp_path):
    study = Study(tmp_path)
    study.run()
    undisturbed = study.written()
    state, log = tmp_path / STATE, tmp_path / LOG
    assert not (tmp_path / "results/resume").exists()
    assert "resumed" not in log.read_text()
    for path in (*RESULTS, COST):
        (tmp_path / path).unlink()

    process = study.start("--retries", "1", seconds=0)
    wait_until(state.exists, process)
    (job,) = jobs(process)
    job.kill()
    # It is tried again, with a log of its own.
    wait_until(lambda: log.exists() and RESUMED in log.read_text(), process)
    running = jobs(process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    psutil.wait_procs(running)

    study.run("--unlock")
    study.run("--rerun-incomplete")
    assert study.written() == undisturbed
    assert RESUMED in log.read_text()
    assert not (tmp_path / "results/resume").exists()
