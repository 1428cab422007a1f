"""What every job of the workflow does around its stage: logging, threads, device."""

import atexit
import gc
import logging
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
log = logging.getLogger(__name__)


@contextmanager
def job(log_path: Path | str) -> Iterator[None]:
    """Run a stage with its log written to a file and to the console.

    An exception is logged with its traceback to both and ends the job.
    """
    _log_to(log_path)
    _spare_the_collector()
    _one_thread()
    start = time.monotonic()
    try:
        yield
    except Exception as error:
        log.exception("%s", error)
        sys.exit(1)
    log.info("done in %.1f s", time.monotonic() - start)


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


def _log_to(log_path: Path | str) -> None:
    Path(log_path).parent.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        handlers=[logging.FileHandler(log_path, mode="w"), logging.StreamHandler()],
        force=True,
    )
    logging.captureWarnings(True)


def _spare_the_collector() -> None:
    # The imports of a model stage make a million objects that live to the end. Looking
    # through them again and again, and once more on exit, is a third of a short job.
    gc.set_threshold(50_000)
    atexit.register(gc.freeze)


def _one_thread() -> None:
    # Sums depend on how they are split among threads; results must not depend on the
    # machine's number of cores. Jobs run side by side instead.
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)
        log.info("torch %s on %s", torch.__version__, pick_device())
