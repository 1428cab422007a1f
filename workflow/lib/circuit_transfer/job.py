"""What every job of the workflow does around its stage: logging, threads, device."""

import atexit
import gc
import logging
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from circuit_transfer.messages import printable

T = TypeVar("T")
log = logging.getLogger(__name__)

LINE = "%(asctime)s %(levelname)s %(name)s: %(message)s"
DONE = "done in %.2f s, begun %.2f s after the process, %.2f s of CPU in all"
DONE_PATTERN = re.compile(
    re.escape(DONE).replace(re.escape("%.2f"), r"(\d+\.\d\d)") + "$", re.MULTILINE
)


@contextmanager
def job(log_path: Path | str) -> Iterator[None]:
    """Run a stage with its log written to a file and to the console.

    The log ends in how long it took, see `read_startup`. An exception is logged with
    its traceback to both and ends the job.
    """
    startup = _process_seconds()
    start = time.monotonic()
    _log_to(log_path)
    _spare_the_collector()
    _one_thread()
    try:
        yield
    except Exception as error:
        log.exception("%s", error)
        sys.exit(1)
    log.info(DONE, time.monotonic() - start, startup, time.process_time())


def read_startup(log_path: Path | str) -> tuple[float, float]:
    """Return how many seconds a job took to start, and its CPU seconds in all.

    A job starts with its process; the start is over when the stage is about to begin.
    What the stage imports is the stage's own time. CPU seconds are of user and system.

    Raises:
        ValueError: the log does not tell, as those of unfinished jobs do not.
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


def progress(items: Iterable[T], total: int, what: str) -> Iterator[T]:
    """Yield the items and log every few seconds how far the loop has come."""
    start = last = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - last > 5 and done < total:
            last = now
            left = (now - start) / done * (total - done)
            log.info("%s: %d of %d, about %.0f s left", what, done, total, left)


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


class _Printable(logging.Formatter):
    """What a log quotes from files cannot give orders to the terminal that shows it."""

    def format(self, record: logging.LogRecord) -> str:
        lines = super().format(record).split("\n")
        return "\n".join(map(printable, lines))


def _log_to(log_path: Path | str) -> None:
    Path(log_path).parent.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(
        level=logging.INFO,
        handlers=[logging.FileHandler(log_path, mode="w"), logging.StreamHandler()],
        force=True,
    )
    for handler in logging.getLogger().handlers:
        handler.setFormatter(_Printable(LINE))
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
