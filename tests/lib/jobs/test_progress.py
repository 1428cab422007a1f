import logging

import pytest

from circuit_transfer.jobs import progress as module
from circuit_transfer.jobs.progress import Listener, activity, duration, progress


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still unless a test moves it; nothing was logged before."""

    class Clock:
        now = 0.0

    monkeypatch.setattr(module.time, "monotonic", lambda: Clock.now)
    monkeypatch.setattr(module, "_progress", module._Progress())
    return Clock


def test_a_loop_yields_everything_and_says_only_now_and_then_where_it_is(clock, caplog):
    caplog.set_level(logging.INFO)
    seen = []
    for letter in progress("abcdefgh", 8, "letter"):
        seen.append(letter)
        clock.now += 6
    assert seen == list("abcdefgh")
    # After 12, 24 and 36 seconds: more than ten since the last line.
    assert caplog.messages == [
        "letter 3 of 8, about 36 s left",
        "letter 5 of 8, about 24 s left",
        "letter 7 of 8, about 12 s left",
    ]


def test_loops_within_loops_are_said_together(clock, caplog):
    caplog.set_level(logging.INFO)

    def steps():
        for _ in progress(range(4), 4, "step"):
            clock.now += 20

    for _ in progress("ab", 2, "batch"):
        steps()
    assert caplog.messages[:3] == [
        "batch 1 of 2, step 2 of 4, about 2 min left",
        "batch 1 of 2, step 3 of 4, about 2 min left",
        "batch 1 of 2, step 4 of 4, about 100 s left",
    ]
    assert caplog.messages[-1] == "batch 2 of 2, step 4 of 4, about 20 s left"
    assert module._progress.parts == []


def test_a_loop_of_one_item_is_no_news(clock, caplog):
    caplog.set_level(logging.INFO)
    for _ in progress("a", 1, "ablation"):
        for _ in progress("ab", 2, "batch"):
            clock.now += 60
    assert caplog.messages == ["batch 2 of 2, about 60 s left"]


def test_what_an_earlier_run_did_counts_but_not_for_the_time_left(clock, caplog):
    caplog.set_level(logging.INFO)
    for _ in progress("ab", 100, "step", done=98):
        clock.now += 30
    assert caplog.messages == ["step 100 of 100, about 30 s left"]


def test_an_item_may_count_for_several(clock, caplog):
    caplog.set_level(logging.INFO)
    for _ in progress(["abc", "d"], 4, "circuit", size=len):
        clock.now += 30
    assert caplog.messages == ["circuit 4 of 4, about 10 s left"]


def test_any_line_of_the_log_puts_off_the_next_one(clock, caplog):
    caplog.set_level(logging.INFO)
    listener = Listener()
    for _ in progress("abcd", 4, "letter"):
        clock.now += 8
        listener.emit(logging.makeLogRecord({}))
    assert caplog.messages == []


def test_a_loop_that_is_left_early_is_over(clock):
    for _ in progress("abc", 3, "letter"):
        break
    left = progress("abc", 3, "other")
    next(left)
    for _ in progress("ab", 2, "inner"):
        left.close()
        assert "other" not in module._progress.place()
    assert module._progress.parts == []


def test_a_broken_loop_is_not_hidden(clock):
    def broken():
        yield 1
        raise RuntimeError("second item")

    with pytest.raises(RuntimeError, match="second item"):
        list(progress(broken(), 2, "item"))
    assert module._progress.parts == []


def test_a_step_may_say_by_itself_how_far_it_is(clock):
    done = 0
    with activity(lambda: f"downloaded {done} of 9 GB"):
        done = 4
        assert module._progress.place() == "downloaded 4 of 9 GB"
    assert module._progress.place() == ""


def test_durations_are_short():
    assert [*map(duration, (0.4, 94.4, 150, 7100, 9000))] == [
        *("0 s", "94 s", "2 min", "118 min", "2.5 h")
    ]
