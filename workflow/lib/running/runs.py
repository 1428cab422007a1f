"""A run alone in its folder: before it starts, after one that was killed, and its end.

Snakemake locks its folder with files, which a killed run leaves behind. Here every
process that reads the workflow also shares a lock of the kernel's, which ends with it.
Who holds that lock alone knows that those files are nobody's, and removes them: the
same command goes on after a crash, and a folder in use stays locked.
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
_lock: IO | None = None  # open, and so locked, as long as this process lives
_alone = False


def hold_folder(workflow) -> None:
    """Share the working directory, and remove the locks that a killed run has left.

    Where the file system has no such locks, Snakemake's own are all there is.

    Raises:
        WorkflowError: nothing can be written in the working directory.
    """
    global _lock, _alone
    PythonScript.evaluate = _evaluate_explained
    try:
        FOLDER.mkdir(exist_ok=True)
        _lock = open(FOLDER / "in-use", "a")  # noqa: SIM115
    except OSError as error:
        told = f"{error} in {Path.cwd()}: {advice(error) or 'expected a folder'}"
        raise WorkflowError(told) from None
    try:
        _alone = workflow.is_main_process and _nobody_else(_lock)
        if _alone:
            for left in FOLDER.glob("locks/*.lock"):
                left.unlink()
        # Who reads the workflow at this very moment makes this wait for an instant.
        fcntl.flock(_lock, fcntl.LOCK_SH)
    except OSError as error:
        logger.debug(f"no lock of the kernel's: {error}")


def start_run(workflow) -> None:
    """Check that a run can write what it is to write, and tie its jobs to its life.

    Raises:
        WorkflowError: a folder cannot be written to.
    """
    _check_folders(workflow.dag.needrun_jobs())
    if not workflow.is_main_process or workflow.touch:
        return
    if _alone:
        remove_partial("results")
    # On other machines, whoever started the jobs there ends them.
    if workflow.local_exec:
        os.environ[RUN] = str(os.getpid())


def _nobody_else(file: IO) -> bool:
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
        told = "\n".join(f"{folder}: {_why_closed(folder)}" for folder in closed)
        raise WorkflowError(f"Nothing can be written where results belong:\n{told}")


def _why_closed(folder: Path) -> str:
    if not folder.is_dir():
        return "expected a folder, but this is a file"
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        return "its file system is read-only"
    found = folder.stat()
    owner, user = _name(found.st_uid), _name(os.geteuid())
    return f"{user} may not write, it is {owner}'s ({stat.filemode(found.st_mode)})"


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"user {user}"


def _evaluate_explained(script: PythonScript, edit: bool = False) -> None:
    try:
        _evaluate(script, edit)
    except CalledProcessError as error:
        # A shell that waits for a killed process makes 128 + n of it.
        number = -error.returncode if error.returncode < 0 else error.returncode - 128
        if number in {signal.SIGKILL, signal.SIGABRT}:
            name = signal.Signals(number).name
            logger.error(f"A job of {script.rulename} was ended by {name}: {MEMORY}")
        raise
