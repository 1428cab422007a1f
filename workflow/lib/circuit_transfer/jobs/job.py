"""What every job of the workflow does around its stage: logging, threads, device."""

import atexit
import gc
import logging
import os
import re
import select
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread

from circuit_transfer.jobs.progress import SILENCE, Listener, heartbeat
from circuit_transfer.jobs.resource_errors import advice
from circuit_transfer.messages import printable

log = logging.getLogger(__name__)

# The variable that holds the process id of the run that a job belongs to.
RUN = "CIRCUIT_TRANSFER_RUN"
# Beginning of a line: several jobs share a console, where the date is clear.
CONSOLE_TIME, FILE_TIME = "%H:%M:%S", "%Y-%m-%d %H:%M:%S"
DONE = "done in %.2f s, begun %.2f s after the process, %.2f s of CPU in all"
DONE_PATTERN = re.compile(
    re.escape(DONE).replace(re.escape("%.2f"), r"(\d+\.\d\d)") + "$", re.MULTILINE
)


class _LogFile(logging.FileHandler):
    """A file that a full disk cuts short: the console has every line all the same."""

    def handleError(self, record: logging.LogRecord) -> None:
        if not isinstance(sys.exception(), OSError):
            super().handleError(record)


@contextmanager
def job(log_path: Path | str, name: str, silence: float = SILENCE) -> Iterator[None]:
    """Run a stage with its log written to a file and to the console.

    The log ends in how long it took, see `read_startup`. An exception ends the job. One
    that describes a wrong input, or a lack of memory or disk, is logged in one
    line, and its traceback goes into a file next to the log, `<log>.traceback`; of any
    other the traceback is logged. A job does not outlive the run that it belongs to.

    Args:
        log_path: of the file.
        name: of the job, which begins every line.
        silence: seconds without a line after which one says where the job is.
    """
    startup = _process_seconds()
    start = time.monotonic()
    _end_with_the_run()
    try:
        _log_to(log_path, name)
        _spare_the_collector()
        _one_thread()
        with heartbeat(silence):
            yield
    except KeyboardInterrupt:
        log.error("interrupted")
        sys.exit(128 + signal.SIGINT)
    except Exception as error:
        _log_error(error, Path(f"{log_path}.traceback"))
        sys.exit(1)
    log.info(DONE, time.monotonic() - start, startup, time.process_time())


def read_startup(log_path: Path | str) -> tuple[float, float]:
    """Return how many seconds a job took to start, and its CPU seconds in all.

    A job starts with its process; the start is over when the stage is about to begin.
    What the stage imports is the stage's own time. CPU seconds are of user and system.

    Raises:
        ValueError: the log has no such line, as after an interrupted job.
    """
    found = DONE_PATTERN.findall(Path(log_path).read_text())
    if not found:
        raise ValueError(
            f"{log_path}: expected a line 'done in ..., begun ...': run the job again"
        )
    _, startup, cpu = map(float, found[-1])
    return startup, cpu


def pick_device() -> str:
    """Return the device to compute on: a GPU when there is one."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _log_error(error: Exception, traceback_path: Path) -> None:
    lacking = advice(error)
    if lacking is None and not isinstance(error, (ValueError, OSError)):
        log.exception("%s", error)
        return
    parts = (str(error) or type(error).__name__, lacking)
    log.error("%s", ": ".join(filter(None, parts)))
    # Where nothing can be written, that is what the line above says.
    with suppress(OSError):
        traceback_path.write_text(traceback.format_exc(), encoding="utf-8")


def _process_seconds() -> float:
    """Return how long ago this process was started or forked."""
    if not hasattr(time, "CLOCK_BOOTTIME"):
        import psutil

        return time.time() - psutil.Process().create_time()
    # psutil rounds the time of boot to seconds here. Field 22, in ticks since boot, is
    # counted from behind the name of the program, which may hold spaces.
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    created = int(fields[22 - 3]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - created


def _end_with_the_run() -> None:
    # What a job of a dead run still wrote would get in the way of the next run: that
    # does the job again, maybe with other settings.
    if RUN not in os.environ:
        return
    for process in (int(os.environ[RUN]), os.getppid()):
        Thread(target=_end_with, args=(process,), daemon=True).start()


def _end_with(process: int) -> None:
    try:
        _wait_for(process)
    except ProcessLookupError:
        os.kill(os.getpid(), signal.SIGKILL)
    except OSError as error:
        log.debug("cannot wait for process %d: %s", process, error)


def _wait_for(process: int) -> None:
    """Wait for the end of any process, and raise ProcessLookupError then."""
    if hasattr(os, "pidfd_open"):
        ended = select.poll()
        ended.register(os.pidfd_open(process), select.POLLIN)
        ended.poll()
        raise ProcessLookupError
    while True:
        os.kill(process, 0)
        time.sleep(5)


class _Line(logging.Formatter):
    """A line of the log: the time, the job, and what is more than information.

    What it quotes from files cannot give orders to the terminal that shows it.
    """

    def __init__(self, name: str, times: str):
        super().__init__(datefmt=times)
        self._name = name

    def formatMessage(self, record: logging.LogRecord) -> str:
        level = f"{record.levelname}: " if record.levelno > logging.INFO else ""
        when = self.formatTime(record, self.datefmt)
        return f"{when} {self._name}: {level}{record.message}"

    def format(self, record: logging.LogRecord) -> str:
        lines = super().format(record).split("\n")
        return "\n".join(map(printable, lines))


def _log_to(log_path: Path | str, name: str) -> None:
    Path(log_path).parent.mkdir(parents=True, exist_ok=True)
    Path(f"{log_path}.traceback").unlink(missing_ok=True)
    file, console = _LogFile(log_path, mode="w"), logging.StreamHandler()
    file.setFormatter(_Line(name, FILE_TIME))
    console.setFormatter(_Line(name, CONSOLE_TIME))
    logging.basicConfig(
        level=logging.INFO, handlers=[file, console, Listener()], force=True
    )
    logging.captureWarnings(True)


def _spare_the_collector() -> None:
    # The imports of a model stage make a million objects that live to the end. Looking
    # through them again and again, and once more on exit, is a third of a short job;
    # in a fork it would also copy them.
    gc.freeze()
    gc.set_threshold(50_000)
    atexit.register(gc.freeze)


def _one_thread() -> None:
    # Sums depend on how they are split among threads; results must not depend on the
    # machine's number of cores. Jobs run side by side instead.
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)
        log.info("torch %s on %s", torch.__version__, pick_device())
