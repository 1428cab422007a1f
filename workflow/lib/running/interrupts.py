"""Ctrl-C ends a run, or its start, with a line instead of a traceback.

Snakemake handles it only while jobs run: reading the workflow, planning, checks and the
start of the server of `warm` would each end in the traceback of whatever was at work.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from circuit_transfer.jobs.resource_errors import KEPT


def end_on_interrupt() -> None:
    """Make an interrupt end this process, unless someone else already handles it.

    With exit code 130; while jobs run Snakemake ends them first, and exits with its own
    code. Only a main thread may do so, and not in a program that uses Snakemake.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    if in_main_thread and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


@contextmanager
def ignored_interrupts() -> Iterator[None]:
    """Ignore interrupts meanwhile, as do the processes that are started here."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def handle_interrupts() -> None:
    """Handle interrupts again in a process that was started ignoring them."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(number: int, _frame: object) -> None:
    # Not by print, which may be what was interrupted.
    os.write(2, f"\nInterrupted. {KEPT}\n".encode())
    raise SystemExit(128 + number)
