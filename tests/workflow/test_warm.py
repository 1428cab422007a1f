"""Run small real workflows whose jobs report how they were started."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
import psutil
import pytest
from running import warm

HOME = Path(__file__).parents[2]
SNAKEMAKE = [sys.executable, "-m", "snakemake", "--keep-going", "--cores"]
# A module that nothing else imports.
ORIGIN = """
import os
import sys
early = "colorsys" in sys.modules
import colorsys
"""
TELL = """
text = f"{os.getppid()} {early} {os.environ['OMP_NUM_THREADS']}"
open(snakemake.output[0], "w").write(text)
"""
FIRST_LINES = """
import sys
sys.path.insert(0, "{library}")
from running import sources, warm

# Its scripts are forked as those of the stages are.
sources.SCRIPTS = sources.Path(workflow.basedir)

onstart:
    warm.warm_up(workflow)
"""


class Workflow:
    """A folder with a Snakefile of one rule, with one job per name."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.write("", body=TELL)

    def write(self, more: str, body: str, first: str = "") -> None:
        """Write the rule with more directives, and the body of its script."""
        lines = FIRST_LINES.format(library=Path(warm.__file__).parents[1]) + first
        lines += "\nrule tell:\n    output: 'told/{name}'\n    log: 'logs/{name}'\n"
        lines += f"    benchmark: 'benchmarks/{{name}}.tsv'\n{more}\n"
        (self.folder / "Snakefile").write_text(lines + "    script: 'tell.py'\n")
        (self.folder / "tell.py").write_text(ORIGIN + body)

    def command(self, names: str, *arguments: str, cores: int = 2) -> list[str]:
        return [*SNAKEMAKE, str(cores), *arguments, *(f"told/{n}" for n in names)]

    def run(self, names: str, *arguments: str, cores: int = 2, **environment: str):
        return subprocess.run(
            self.command(names, *arguments, cores=cores),
            cwd=self.folder,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def start(self, names: str) -> subprocess.Popen:
        return subprocess.Popen(
            self.command(names),
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def told(self) -> dict[str, list[str]]:
        paths = sorted(self.folder.glob("told/*"))
        return {path.name: path.read_text().split() for path in paths}


@pytest.fixture
def workflow(tmp_path) -> Workflow:
    return Workflow(tmp_path)


def wait_until(condition: Callable[[], bool], seconds: float = 30) -> bool:
    """Wait until a condition holds; return whether it does."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.1)
    return False


def gone(pid: int) -> bool:
    """Return whether a process has ended, whether reaped or not."""
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie"


def test_jobs_are_forked_from_one_process_with_their_imports(workflow):
    result = workflow.run("abc")
    assert result.returncode == 0, result.stderr
    told = workflow.told().values()
    assert len(told) == 3
    assert len({parent for parent, _, _ in told}) == 1
    assert {(early, threads) for _, early, threads in told} == {("True", "1")}


def test_the_command_snakemake_is_not_imported_by_every_job(workflow):
    # It is a script that imports Snakemake, and processes import their main program.
    workflow.write("", "open(snakemake.output[0], 'w').write(str(cpu))\n")
    script = (workflow.folder / "tell.py").read_text()
    measured = "import time\ncpu = time.process_time()\n"
    (workflow.folder / "tell.py").write_text(measured + script)
    command = [str(Path(sys.executable).with_name("snakemake"))]
    command += workflow.command("abc")[3:]
    subprocess.run(command, cwd=workflow.folder, capture_output=True, check=True)
    assert all(float(seconds) < 0.1 for [seconds] in workflow.told().values())


def assert_started_afresh(workflow, names):
    told = workflow.told().values()
    assert len(told) == len(names)
    assert {early for _, early, _ in told} == {"False"}


def test_two_jobs_start_no_server(workflow):
    assert workflow.run("ab").returncode == 0
    assert_started_afresh(workflow, "ab")


def test_it_is_turned_off_by_a_variable(workflow):
    assert workflow.run("abc", WARM="0").returncode == 0
    assert_started_afresh(workflow, "abc")


def test_nothing_is_forked_where_there_is_a_gpu(workflow):
    workflow.write("", TELL, first=f"warm.GPUS = ['{os.devnull}']\n")
    assert workflow.run("abc").returncode == 0
    assert_started_afresh(workflow, "abc")


@pytest.mark.parametrize("mode", ["subprocess", "remote"])
def test_nothing_is_forked_by_a_snakemake_that_is_a_job(workflow, mode):
    result = workflow.run("abc", "--mode", mode)
    assert result.returncode == 0, result.stderr
    assert_started_afresh(workflow, "abc")


@pytest.mark.parametrize(
    "more",
    [
        "    threads: 2",
        "    resources: tmpdir='elsewhere'",
        "    shadow: 'minimal'",
    ],
)
def test_jobs_that_cannot_be_forked_get_a_new_interpreter(workflow, more):
    workflow.write(more, TELL)
    result = workflow.run("abc")
    assert result.returncode == 0, result.stderr
    assert_started_afresh(workflow, "abc")


def test_output_of_a_job_is_printed(workflow):
    printed = "sys.stdout.write('on stdout\\n')\nsys.stderr.write('on stderr\\n')\n"
    workflow.write("", TELL + printed)
    result = workflow.run("abc")
    assert result.stdout.count("on stdout") == 3
    assert result.stderr.count("on stderr") == 3


FAILURES = {
    "exit": ("sys.exit(3)", "non-zero exit status 3"),
    "exception": ("raise ValueError('odd')", "ValueError: odd"),
    "signal": ("os.kill(os.getpid(), 9)", "died with <Signals.SIGKILL: 9>"),
}


@pytest.mark.parametrize(("statement", "told"), FAILURES.values(), ids=FAILURES)
def test_a_failure_is_the_failure_of_one_job(workflow, statement, told):
    body = TELL + "open(snakemake.log[0], 'w').write('its last words')\n"
    body += f"if snakemake.wildcards.name == 'b': {statement}\n"
    workflow.write("", body)
    result = workflow.run("abc", "--show-failed-logs")
    assert result.returncode == 1
    assert list(workflow.told()) == ["a", "c"]
    output = result.stdout + result.stderr
    for text in (told, "its last words", 'CalledProcessError in file "', "told/b"):
        assert text in output
    # The line of the rule, not one of the module that forks.
    line = f'CalledProcessError in file "{workflow.folder / "Snakefile"}", line '
    assert line in output


def test_a_failed_job_is_tried_again(workflow):
    body = "first = not os.path.exists('tried')\n"
    body += "if snakemake.wildcards.name == 'b' and first:\n"
    body += "    open('tried', 'w').close()\n    sys.exit(1)\n"
    workflow.write("    retries: 1", body + TELL)
    result = workflow.run("abc")
    assert result.returncode == 0, result.stderr
    assert "returned non-zero exit status 1" in result.stderr
    assert list(workflow.told()) == ["a", "b", "c"]


def test_a_failed_import_fails_only_its_own_jobs(workflow):
    (workflow.folder / "broken.py").write_text("raise RuntimeError('broken')\n")
    path = f"sys.path.insert(0, '{workflow.folder}')\n"
    more = path + "rule other:\n    output: 'other'\n    script: 'other.py'\n"
    workflow.write("", "import broken\n", first=more)
    (workflow.folder / "other.py").write_text("open('other', 'w').close()\n")
    result = workflow.run("abc", "other")
    assert "the server did not start" in result.stderr
    assert result.stderr.count("RuntimeError: broken") >= 3
    assert (workflow.folder / "other").exists()
    assert workflow.told() == {}


MANY = """
import multiprocessing
import sys
from concurrent.futures import ThreadPoolExecutor
from inspect import signature
from running import sources, warm
from snakemake.script import PythonScript
from snakemake.sourcecache import LocalSourceFile

sys.setswitchinterval(1e-6)
names = list(signature(PythonScript.__init__).parameters)[1:]
script = PythonScript(**dict.fromkeys(names) | {"threads": 1, "resources": {}})
script.path = LocalSourceFile(str(sources.SCRIPTS / "write_prompts.py"))
multiprocessing.set_forkserver_preload([])
assert warm._starts()
with ThreadPoolExecutor(8) as pool:
    runs = [pool.submit(warm._execute_forked, script, sys.argv[1]) for _ in range(500)]
print(sum(run.exception() is None for run in runs))
"""


def test_no_job_takes_the_exit_code_of_another(tmp_path):
    # Without the lock a few of these find none and seem to have failed.
    (tmp_path / "empty.py").touch()
    result = subprocess.run(
        [sys.executable, "-c", MANY, str(tmp_path / "empty.py")],
        env=os.environ | {"PYTHONPATH": str(HOME / "workflow/lib")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout == "500\n"


SLEEP = "import time\nprint(os.getpid(), file=open(snakemake.log[0], 'w'))\n"


def sleepers(workflow: Workflow, count: int) -> list[int]:
    """Wait until so many jobs have written their process ids, and return these."""

    def pids() -> list[int]:
        return [int(p.read_text() or 0) for p in workflow.folder.glob("logs/*")]

    assert wait_until(lambda: sum(map(bool, pids())) == count)
    return pids()


def test_no_process_is_left_of_a_killed_snakemake(workflow):
    workflow.write("", SLEEP + "time.sleep(3)\n" + TELL)
    process = workflow.start("abc")
    jobs = sleepers(workflow, 2)
    server = psutil.Process(jobs[0]).ppid()
    assert server not in (process.pid, 1)
    process.kill()
    process.wait()
    # Its jobs run to completion, as in new interpreters.
    assert wait_until(lambda: all(map(gone, [*jobs, server])), seconds=15)
    assert len(workflow.told()) == 2


def test_an_interrupt_stops_everything_at_once(workflow):
    workflow.write("", SLEEP + "time.sleep(60)\n" + TELL)
    process = workflow.start("abc")
    jobs = sleepers(workflow, 2)
    server = psutil.Process(jobs[0]).ppid()
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=20) != 0
    assert wait_until(lambda: all(map(gone, [*jobs, server])), seconds=5)
    assert workflow.told() == {}


BURN = """
import time
if snakemake.wildcards.name == "b":
    memory = b"x" * 300_000_000
    while time.process_time() < 1.5: pass
time.sleep(1.5)
"""


def test_a_benchmark_measures_its_own_job(workflow):
    workflow.write("", BURN + TELL)
    assert workflow.run("abc", cores=3).returncode == 0
    read = {
        name: pl.read_csv(workflow.folder / f"benchmarks/{name}.tsv", separator="\t")
        for name in "abc"
    }
    used = {name: frame.row(0, named=True) for name, frame in read.items()}
    # Sampled: what follows the last sample is not counted.
    assert 1 < used["b"]["cpu_time"] < 2
    assert 280 < used["b"]["max_rss"] - used["a"]["max_rss"] < 320
    for name in "ac":
        assert used[name]["cpu_time"] < 0.5
        # The clock starts just after the process, and shows hundredths of a second.
        assert 1.4 < used[name]["s"] < 10


def test_the_scripts_of_the_workflow_start_no_threads_when_they_are_imported():
    # A fork has only the thread that forks. jemalloc knows that and starts its own
    # again; Polars' cleaner waits for files to delete that only large frames make.
    code = (
        "import os, sys; from running import warm\n"
        "from importlib import import_module\n"
        "from pathlib import Path\n"
        "found = set().union(*(warm._imports(Path(p)) for p in sys.argv[1:]))\n"
        "[import_module(module) for module in found]\n"
        "threads = set(os.listdir('/proc/self/task')) - {str(os.getpid())}\n"
        "print(*(Path(f'/proc/self/task/{t}/comm').read_text() for t in threads))\n"
        "print('end')\n"
        "print('torch' in sys.modules, sys.modules['torch'].cuda.is_initialized())\n"
    )
    scripts = [str(path) for path in (HOME / "workflow/scripts").glob("*.py")]
    result = subprocess.run(
        [sys.executable, "-c", code, *scripts],
        env=os.environ
        | dict.fromkeys(warm.ONE_THREAD, "1")
        | {"PYTHONPATH": str(HOME / "workflow/lib")},
        capture_output=True,
        text=True,
        check=True,
    )
    threads, torch = result.stdout.split("end\n")
    assert set(threads.split()) <= {"jemalloc_bg_thd", "polars-ooc-clea"}
    assert torch == "True False\n"


def test_the_bytes_equal_those_of_new_interpreters(tmp_path):
    # Three of its four jobs import what runs a model.
    names = ["scores/llama-small/ioi/nap.safetensors", "pairs/llama-small/ioi.parquet"]
    found = []
    for switch in ("0", "1"):
        folder = tmp_path / switch
        folder.mkdir()
        command = [*SNAKEMAKE, "2", "--snakefile", str(HOME / "Snakefile")]
        command += ["--directory", ".", "--configfile", str(HOME / "config.yaml")]
        subprocess.run(
            [*command, "--", *(f"results/{name}" for name in names)],
            cwd=folder,
            env=os.environ | {"WARM": switch},
            capture_output=True,
            check=True,
        )
        found.append([(folder / "results" / name).read_bytes() for name in names])
    assert found[0] == found[1]
