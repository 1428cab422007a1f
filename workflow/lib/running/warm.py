"""Fork jobs from one server process that has already imported their modules.

Snakemake starts a new interpreter for every script, and importing torch and
transformers takes longer than most stages. The server, the forkserver of
`multiprocessing`, imports the common modules of the scripts once per run, and every job
is a fork of it. Jobs that cannot be forked with the same result are run by Snakemake as
usual: see `warm_up` for runs, `_can_be_forked` for jobs. `WARM=0` switches the server
off.
"""

import ast
import multiprocessing
import os
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing import forkserver
from multiprocessing.connection import wait
from pathlib import Path
from runpy import run_path
from subprocess import CalledProcessError
from threading import Lock

import psutil
from snakemake.benchmark import benchmarked
from snakemake.logging import logger
from snakemake.script import PythonScript

from running.interrupts import handle_interrupts, ignored_interrupts
from running.sources import library_modules, script_of, stage_script

# Modules that modules of the library import at run time, inside functions.
IMPORTED_LATE = {
    "circuit_transfer.models.loading": (
        "torch",
        "transformers.models.auto.modeling_auto",
        # Imports nearly all modules that the families share.
        "transformers.models.llama.modeling_llama",
        "transformers.tokenization_utils_tokenizers",
    ),
    "circuit_transfer.figures.style": (
        "matplotlib.backends.backend_agg",
        "matplotlib.backends.backend_pdf",
    ),
}
# Fewest jobs that import a module for the server to pay off: starting it takes longer
# than starting a job.
FEWEST_JOBS = 3
# A process that has initialised a GPU must not be forked, and importing a library may
# initialise it.
GPUS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
# Libraries of linear algebra start this number of threads when they are imported, and a
# fork does not inherit threads. Jobs with more than one thread are not forked.
ONE_THREAD = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)

# Interval at which the resources of a job are sampled, after as many samples every half
# second. A sample takes 10 ms: at Snakemake's own interval, a tenth of the run time.
SAMPLING_SECONDS = 5

_execute_script = PythonScript.execute_script
# Starting a process also reaps processes that have ended. Two threads that reap the
# same process concurrently would leave one of them without its exit code.
_lock = Lock()


def warm_up(workflow) -> None:
    """Start the server for the run that is about to start, if that saves time.

    It is not started if fewer than `FEWEST_JOBS` local jobs import a common module, if
    another process runs the jobs, if they may use a GPU, or if the operating system is
    not Linux. The server ends with the process that started it.
    """
    PythonScript.execute_script = _execute_script
    modules = sorted(_worth_importing(_scripts(workflow)))
    if not modules or not _can_fork(workflow):
        return
    # Forks and scripts also import the modules of the main program, `snakemake`.
    multiprocessing.set_forkserver_preload(["snakemake.cli", *modules])
    logger.info("Importing the libraries of all jobs, once.")
    if _starts():
        PythonScript.execute_script = _execute_forked
    else:
        logger.warning("jobs run in new interpreters: the server did not start")


def _can_fork(workflow) -> bool:
    return (
        os.environ.get("WARM") != "0"
        and sys.platform == "linux"
        and not any(Path(device).exists() for device in GPUS)
        and workflow.is_main_process
        and workflow.local_exec
        and not workflow.touch
        and not workflow.deployment_settings.deployment_method
    )


def _scripts(workflow) -> Iterator[Path]:
    """Return the script of every job of this workflow that will run."""
    scripts = (script_of(job.rule) for job in workflow.dag.needrun_jobs())
    return filter(None, scripts)


def _worth_importing(scripts: Iterable[Path]) -> Iterator[str]:
    jobs = Counter()
    for script, count in Counter(scripts).items():
        for module in _imports(script):
            jobs[module] += count
    return (module for module, count in jobs.items() if count >= FEWEST_JOBS)


def _imports(script: Path) -> set[str]:
    """Return the modules that a script imports, with their `IMPORTED_LATE`."""
    try:
        statements = ast.parse(script.read_bytes()).body
    except (OSError, SyntaxError):
        return set()  # the job itself reports the error
    modules = set()
    for statement in statements:
        if isinstance(statement, ast.Import):
            modules |= {alias.name for alias in statement.names}
        elif isinstance(statement, ast.ImportFrom) and not statement.level:
            modules.add(statement.module)
    late = (IMPORTED_LATE.get(module, ()) for module in library_modules(script))
    return modules.union(*late)


def _starts() -> bool:
    """Start the server and wait for its imports; return whether a fork succeeds."""
    # The server needs the module search path of this process, set by the Snakefile.
    path = os.pathsep.join(filter(None, sys.path))
    with _environment(PYTHONPATH=path, **dict.fromkeys(ONE_THREAD, "1")):
        with ignored_interrupts():
            forkserver.ensure_running()
        process = _process(int)
        try:
            process.start()
            process.join()
        except (EOFError, OSError):
            return False
        except SystemExit:  # interrupted, which the server ignores
            _kill_servers()
            raise
    return process.exitcode == 0


def _kill_servers() -> None:
    """End the imports of the server at once; otherwise it would first finish them."""
    for child in psutil.Process().children():
        with suppress(psutil.Error):
            if any("forkserver" in each for each in child.cmdline()):
                child.kill()


@contextmanager
def _environment(**variables: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def _process(target, *args, **kwargs):
    context = multiprocessing.get_context("forkserver")
    return context.Process(target=target, args=args, kwargs=kwargs)


def _execute_forked(script: PythonScript, fname: str, edit: bool = False) -> None:
    """Run a script that Snakemake has written to a file, in a fork of the server.

    Replaces `PythonScript.execute_script`.

    Raises:
        CalledProcessError: the script failed or was killed.
    """
    if edit or not _can_be_forked(script):
        return _execute_script(script, fname, edit)
    process = _process(_run, fname)
    with _lock:
        process.start()
    with ExitStack() as stack:
        if script.bench_record is not None:
            _measure(process.pid, script.bench_record, stack)
        wait([process.sentinel])
    with _lock:
        process.join()
    if process.exitcode:
        raise CalledProcessError(process.exitcode, f"{sys.executable} {fname}")


def _run(fname: str) -> None:
    """Run a script in a fork, which an interrupt ends."""
    handle_interrupts()
    try:
        run_path(fname, run_name="__main__")
    except KeyboardInterrupt:
        # Outside of the job proper, which logs it: there is nothing to say.
        sys.exit(128 + signal.SIGINT)


def _can_be_forked(script: PythonScript) -> bool:
    environments = (script.conda_env, script.container_img, script.env_modules)
    return (
        # Scripts of another workflow may expect an interpreter of their own.
        stage_script(script.path.get_path_or_uri(secret_free=True))
        and not any(environments)
        and script.threads == 1
        # A fork inherits the environment of the server, including TMPDIR.
        and script.resources.get("tmpdir") in (None, tempfile.gettempdir())
    )


def _measure(pid: int, record, stack: ExitStack) -> None:
    record.running_time = 0.0
    try:
        stack.enter_context(benchmarked(pid, record, SAMPLING_SECONDS))
    except psutil.NoSuchProcess:
        # Only the server waits for the process, which may end before the first sample.
        record.process_gone = True
