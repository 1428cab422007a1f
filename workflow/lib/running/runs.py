"""Lock the working directory, remove stale locks, and end jobs with their run.

Snakemake locks its working directory with files, which a killed run leaves behind. In
addition every process that reads the workflow holds a shared kernel lock (`flock`),
which is released when the process ends. A process that can acquire the lock exclusively
knows that all lock files are stale, and removes them: after a crash the same command
resumes the run, while a directory in use stays locked.
"""

import fcntl
import os
import pwd
import signal
import stat
from collections.abc import Iterable
from pathlib import Path
from subprocess import CalledProcessError
from typing import IO

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger
from snakemake.script import PythonScript

from circuit_transfer.artifacts.files import remove_partial
from circuit_transfer.jobs.job import RUN
from circuit_transfer.jobs.resource_errors import MEMORY, advice, existing

FOLDER = Path(".snakemake")

_evaluate = PythonScript.evaluate
_lock: IO | None = None  # open, and thus locked, until this process ends
_alone = False


def hold_folder(workflow) -> None:
    """Acquire the shared lock of the working directory and remove stale lock files.

    On file systems without `flock` only the locks of Snakemake are used.

    Raises:
        WorkflowError: the working directory cannot be written to.
    """
    global _lock, _alone
    held = Path.cwd() / FOLDER / "in-use"
    if _lock is not None and _lock.name == str(held):
        return  # by a workflow that is imported beside this one
    PythonScript.evaluate = _evaluate_explained
    try:
        FOLDER.mkdir(exist_ok=True)
        _lock = open(held, "a")  # noqa: SIM115
    except OSError as error:
        message = f"{error} in {Path.cwd()}: {advice(error) or 'expected a folder'}"
        raise WorkflowError(message) from None
    try:
        _alone = workflow.is_main_process and _is_exclusive(_lock)
        if _alone:
            for stale in FOLDER.glob("locks/*.lock"):
                stale.unlink()
        # Waits while another process holds the exclusive lock, for an instant.
        fcntl.flock(_lock, fcntl.LOCK_SH)
    except OSError as error:
        logger.debug(f"no kernel lock: {error}")


def start_run(workflow, results: str = "results") -> None:
    """Check that all output folders are writable, and make jobs end with the run.

    Args:
        workflow: about to start its jobs.
        results: the folder of what the stages write.

    Raises:
        WorkflowError: a folder cannot be written to.
    """
    _check_folders(workflow.dag.needrun_jobs())
    if not workflow.is_main_process or workflow.touch:
        return
    if _alone:
        remove_partial(results)
    # Jobs on other machines are terminated by the scheduler there.
    if workflow.local_exec:
        os.environ[RUN] = str(os.getpid())


def _is_exclusive(file: IO) -> bool:
    """Return whether no other process holds the lock, and acquire it if so."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _check_folders(jobs: Iterable) -> None:
    paths = (path for job in jobs for path in (*job.output, *job.log))
    folders = sorted({existing(Path(path).parent) for path in paths})
    closed = [folder for folder in folders if not os.access(folder, os.W_OK | os.X_OK)]
    if closed:
        reasons = "\n".join(f"{folder}: {_why_closed(folder)}" for folder in closed)
        raise WorkflowError(f"Results cannot be written:\n{reasons}")


def _why_closed(folder: Path) -> str:
    if not folder.is_dir():
        return "expected a folder, but this is a file"
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        return "its file system is read-only"
    found = folder.stat()
    owner, user = _name(found.st_uid), _name(os.geteuid())
    mode = stat.filemode(found.st_mode)
    return f"{user} has no permission to write, the owner is {owner} ({mode})"


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"user {user}"


def _evaluate_explained(script: PythonScript, edit: bool = False) -> None:
    try:
        _evaluate(script, edit)
    except CalledProcessError as error:
        # A shell reports a child that was killed by signal n as exit status 128 + n.
        number = -error.returncode if error.returncode < 0 else error.returncode - 128
        if number in {signal.SIGKILL, signal.SIGABRT}:
            name = signal.Signals(number).name
            logger.error(f"A job of {script.rulename} was killed by {name}: {MEMORY}")
        raise
