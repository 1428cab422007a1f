"""How far a job is: the loops that it is in, in a line every few seconds.

Loops report themselves by `progress` and single long steps by `activity`. Those within
others are reported together, whatever functions they are in: "batch 2 of 5, site 7 of
60, about 40 s left". Where a long call logs nothing, `heartbeat` does.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import TypeVar

T = TypeVar("T")
log = logging.getLogger(__name__)

# Seconds from any line of the log to the next one about progress.
INTERVAL = 10.0
# Seconds without a line after which the heartbeat logs one: less than half a minute.
SILENCE = 25.0


@dataclass(eq=False)
class _Part:
    """A loop, or a step without a known end, that the job is in.

    Attributes:
        what: an item of the loop, or the step, or how to say where it is now.
        total: number of items; None for a step.
        done: how many are done, also by an earlier run that this one resumes.
        resumed: how many of them the earlier run did.
        start: when it began, in seconds of the monotonic clock.
    """

    what: str | Callable[[], str]
    total: int | None = None
    done: int = 0
    resumed: int = 0
    start: float = field(default_factory=lambda: time.monotonic())

    def __str__(self) -> str:
        if self.total is None:
            return self.what() if callable(self.what) else self.what
        return f"{self.what} {min(self.done + 1, self.total):,} of {self.total:,}"

    def share(self, of_item: float) -> float:
        """Return how much of this run's part is done, with a share of an item."""
        if self.total is None:
            return of_item
        done = self.done + of_item - self.resumed
        return min(1.0, done / max(1, self.total - self.resumed))


class _Progress:
    """Of this process: what it is in, the outermost first, and when it last logged."""

    def __init__(self) -> None:
        self.parts: list[_Part] = []
        self.logged = time.monotonic()

    @contextmanager
    def inside(self, part: _Part) -> Iterator[_Part]:
        self.parts.append(part)
        try:
            yield part
        finally:
            # A loop that was left early may end after the next one has begun.
            self.parts.remove(part)

    def place(self) -> str:
        # A loop with a single item says nothing.
        return ", ".join(str(part) for part in [*self.parts] if part.total != 1)

    def left(self) -> str:
        """Return how long the outermost part still takes, if that can be estimated."""
        parts, share = [*self.parts], 0.0
        for part in reversed(parts):
            share = part.share(share)
        if not share:
            return ""
        passed = time.monotonic() - parts[0].start
        return f", about {duration(passed / share - passed)} left"


_progress = _Progress()


class Listener(logging.Handler):
    """Notices when a line is logged, so that the next one can wait."""

    def emit(self, record: logging.LogRecord) -> None:
        """Take the time of a line."""
        _progress.logged = time.monotonic()


def progress(
    items: Iterable[T],
    total: int,
    what: str,
    *,
    done: int = 0,
    size: Callable[[T], int] = lambda _: 1,
) -> Iterator[T]:
    """Yield the items of a loop and log now and then which one it is at.

    With the loops around it and the time left, but only if nothing else was logged in
    the last seconds.

    Args:
        items: what the loop is over.
        total: the sum of their sizes, and of `done`.
        what: names an item, in the singular.
        done: how much an earlier run has done.
        size: of an item that counts for several, such as a group of circuits.
    """
    with _progress.inside(_Part(what, total, done, done)) as part:
        for item in items:
            now = time.monotonic()
            if now - _progress.logged > INTERVAL:
                _progress.logged = now
                log.info("%s%s", _progress.place(), _progress.left())
            yield item
            part.done += size(item)


@contextmanager
def activity(what: str | Callable[[], str]) -> Iterator[None]:
    """Let a heartbeat say what the job does meanwhile, such as loading a model.

    Args:
        what: it does, or a function that returns how far it is with that.
    """
    with _progress.inside(_Part(what)):
        yield


@contextmanager
def heartbeat(silence: float = SILENCE) -> Iterator[None]:
    """Log where the job is whenever it has logged nothing for some seconds.

    Args:
        silence: how many.
    """
    _progress.logged = time.monotonic()
    ended = Event()
    thread = Thread(target=_beat, args=(ended, silence), daemon=True)
    thread.start()
    try:
        yield
    finally:
        # Nothing may follow the last line of the job.
        ended.set()
        thread.join()


def _beat(ended: Event, silence: float) -> None:
    start = time.monotonic()
    while not ended.wait(max(0.0, _progress.logged + silence - time.monotonic())):
        now = time.monotonic()
        if now - _progress.logged < silence:
            continue
        _progress.logged = now
        # Not while the job starts: most end before they are silent for so long.
        import psutil

        place = _progress.place()
        log.info(
            "%sstill at work after %s, with %.1f GB of memory",
            f"{place}: " if place else "",
            duration(now - start),
            psutil.Process().memory_info().rss / 1e9,
        )


def duration(seconds: float) -> str:
    """Return a duration in seconds, minutes or hours, whichever reads best."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"
