"""Jobs forked from one process that has imported what they need.

Snakemake starts a fresh interpreter for every script, and importing torch and
transformers takes longer than most stages. Here a server, the forkserver of
`multiprocessing`, imports once per run what many of its scripts import, and every job
is a fork of it. Whatever cannot be forked with the same outcome is run by Snakemake as
ever: see `warm_up` for runs, `_can_be_forked` for jobs. `WARM=0` turns it off.
"""

import ast
import multiprocessing
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import wait
from pathlib import Path
from runpy import run_path
from subprocess import CalledProcessError
from threading import Lock

import psutil
from snakemake.benchmark import benchmarked
from snakemake.logging import logger
from snakemake.script import PythonScript

from running.sources import library_modules

# What modules of the library import only when they are used.
IMPORTED_LATE = {
    "circuit_transfer.models.loading": (
        "torch",
        "transformers.models.auto.modeling_auto",
        # Nearly all of what it imports is what every family imports.
        "transformers.models.llama.modeling_llama",
        "transformers.tokenization_utils_tokenizers",
    ),
    "circuit_transfer.figures.style": (
        "matplotlib.backends.backend_agg",
        "matplotlib.backends.backend_pdf",
    ),
}
# A server takes longer to start than a job: two jobs at once are not worth one.
WORTH = 3
# A process that has touched a GPU must not be forked, and nothing keeps the libraries
# from doing so when they are imported.
GPUS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
# Libraries of linear algebra start their threads when they are imported, as many as
# these say, and a fork has none of them. Jobs that ask for more are not forked.
ONE_THREAD = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)

# Between two looks at a job, after as many looks every half second. A look takes the
# system 10 ms: with Snakemake's own 30, a tenth of a run goes into them.
SECONDS_BETWEEN_LOOKS = 5

_execute_script = PythonScript.execute_script
# Starting a process looks after those that have ended; two threads doing so at the same
# time could both read the exit code of one, and the second would find none.
_lock = Lock()


def warm_up(workflow) -> None:
    """Fork the scripts of a run that is about to start, if it gains by that.

    It does not where fewer than three local jobs import the same module, where they are
    run by something else than this process, where they may use a GPU, and where the
    operating system is not Linux. The server ends with the process that has started it.
    """
    PythonScript.execute_script = _execute_script
    modules = sorted(_worth_importing(_scripts(workflow)))
    if not modules or not _can_fork(workflow):
        return
    # A fork imports what the main program, `snakemake`, imports, and so do scripts.
    multiprocessing.set_forkserver_preload(["snakemake.cli", *modules])
    if _starts():
        PythonScript.execute_script = _execute_forked
    else:
        logger.warning("jobs run in fresh interpreters: the server did not start")


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
    """Yield the script of every job that is to run, once for every job."""
    for job in workflow.dag.needrun_jobs():
        if job.is_script and job.rule.script.endswith(".py"):
            folder = job.rule.basedir.get_path_or_uri(secret_free=True)
            yield Path(folder, job.rule.script)


def _worth_importing(scripts: Iterable[Path]) -> Iterator[str]:
    jobs = Counter()
    for script, count in Counter(scripts).items():
        for module in _imports(script):
            jobs[module] += count
    return (module for module, count in jobs.items() if count >= WORTH)


def _imports(script: Path) -> set[str]:
    """Return the modules that a script imports first, and what those import later."""
    try:
        statements = ast.parse(script.read_bytes()).body
    except (OSError, SyntaxError):
        return set()  # its job will tell
    modules = set()
    for statement in statements:
        if isinstance(statement, ast.Import):
            modules |= {alias.name for alias in statement.names}
        elif isinstance(statement, ast.ImportFrom) and not statement.level:
            modules.add(statement.module)
    late = (IMPORTED_LATE.get(module, ()) for module in library_modules(script))
    return modules.union(*late)


def _starts() -> bool:
    """Start the server, wait until it has imported everything, and fork once."""
    # It finds modules where this process does, which has been told by the Snakefile.
    path = os.pathsep.join(filter(None, sys.path))
    with _environment(PYTHONPATH=path, **dict.fromkeys(ONE_THREAD, "1")):
        process = _process(int)
        try:
            process.start()
        except (EOFError, OSError):
            return False
        process.join()
    return process.exitcode == 0


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
    """Run what Snakemake has written to a file, as `PythonScript.execute_script` does.

    Raises:
        CalledProcessError: the script has failed or was killed.
    """
    if edit or not _can_be_forked(script):
        return _execute_script(script, fname, edit)
    process = _process(run_path, fname, run_name="__main__")
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


def _can_be_forked(script: PythonScript) -> bool:
    environments = (script.conda_env, script.container_img, script.env_modules)
    return (
        not any(environments)
        and script.threads == 1
        # The server has its variables from Snakemake, so from it a job has these.
        and script.resources.get("tmpdir") in (None, tempfile.gettempdir())
    )


def _measure(pid: int, record, stack: ExitStack) -> None:
    record.running_time = 0.0
    try:
        stack.enter_context(benchmarked(pid, record, SECONDS_BETWEEN_LOOKS))
    except psutil.NoSuchProcess:
        # Nobody waits for it but the server: it may be gone before it is looked at.
        record.process_gone = True
