"""Real runs are interrupted at every moment of their start, as Ctrl-C does."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

LIBRARY = Path(__file__).parents[2] / "workflow/lib"
LINE = "Interrupted. Finished results are saved: run the same command again."
# `pause` shows where a run is, and keeps it there until the file `go` is there.
PAUSE = """
import time
from pathlib import Path

def pause(place):
    if Path("stop").read_text() == place:
        Path("reached").touch()
        while not Path("go").exists(): time.sleep(0.05)
"""
SNAKEFILE = f"""
import sys
sys.path[:0] = [".", "{LIBRARY}"]
from running.interrupts import end_on_interrupt
end_on_interrupt()
from pausing import pause
from running import sources
from running.runs import hold_folder, start_run
from running.warm import warm_up
# Its script is forked as those of the stages are.
sources.SCRIPTS = sources.Path(workflow.basedir)
hold_folder(workflow)
pause("reading")

def planned(wildcards):
    pause("planning")
    return []

onstart:
    start_run(workflow)
    pause("checking")
    warm_up(workflow)

rule tell:
    input: planned
    output: "results/{{name}}"
    log: "results/logs/{{name}}"
    script: "tell.py"
"""
SCRIPT = """
import importing
from pathlib import Path
from pausing import pause
from circuit_transfer.jobs.job import job

with job(snakemake.log[0], f"tell {snakemake.wildcards.name}"):
    pause("running")
    Path(snakemake.output[0]).touch()
"""
PLACES = ["reading", "planning", "checking", "importing", "running"]


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


@pytest.fixture
def folder(tmp_path) -> Path:
    files = {"Snakefile": SNAKEFILE, "tell.py": SCRIPT, "pausing.py": PAUSE}
    files["importing.py"] = "from pausing import pause\npause('importing')\n"
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def start(folder: Path, *arguments: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "snakemake", "--cores", "1", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": f"{folder}{os.pathsep}{LIBRARY}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def interrupt(process: subprocess.Popen) -> str:
    """Interrupt all processes of a run, as a terminal does; return what it printed."""
    started = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGINT)
    # Whoever held the other end of the pipe has ended too.
    output, _ = process.communicate(timeout=20)
    assert psutil.wait_procs(started, timeout=5)[1] == []
    return output


@pytest.mark.parametrize("place", PLACES)
def test_an_interrupt_ends_a_run_with_a_line_wherever_it_is(folder, place):
    (folder / "stop").write_text(place)
    targets = [f"results/{name}" for name in "abc"]
    process = start(folder, *targets)
    wait_until((folder / "reached").exists)
    output = interrupt(process)
    assert output.count(LINE) == 1, output
    assert "Traceback" not in output, output
    # While jobs run Snakemake ends them, and has a code of its own.
    assert process.returncode == (1 if place == "running" else 130)
    assert ("ERROR: interrupted" in output) == (place == "running")


def test_the_same_command_starts_again_after_an_interrupt(folder):
    (folder / "stop").write_text("checking")  # when the folder is locked
    process = start(folder, "results/a")
    wait_until((folder / "reached").exists)
    interrupt(process)
    (folder / "stop").write_text("nowhere")
    process = start(folder, "results/a")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output


def test_the_study_itself_ends_with_a_line_while_it_is_read_or_planned(new_study):
    held = new_study.folder / ".snakemake/in-use"
    process = subprocess.Popen(
        new_study.command("--cores", "2"),
        cwd=new_study.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    wait_until(held.exists)
    output = interrupt(process)
    assert output.splitlines()[-1] == LINE
    assert "Traceback" not in output, output
    assert process.returncode == 130
