"""What a run prints at its end, in any terminal."""

import io
import sys
from types import SimpleNamespace

from running.endings import end_run, show


def shown(monkeypatch, encoding):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding))
    show("a → b: 0.5 ± 0.1, ü")
    return raw.getvalue().decode(encoding)


def test_a_terminal_is_given_only_what_it_can_show(monkeypatch):
    assert shown(monkeypatch, "utf-8") == "a → b: 0.5 ± 0.1, ü\n"
    assert shown(monkeypatch, "ascii") == "a > b: 0.5 +- 0.1, ?\n"
    assert shown(monkeypatch, "latin-1") == "a > b: 0.5 +- 0.1, ü\n"


def test_a_closed_terminal_does_not_fail_the_run(monkeypatch):
    class Closed(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Closed())
    show("text")


def test_a_job_of_a_run_prints_nothing():
    end_run(SimpleNamespace(is_main_process=False))
