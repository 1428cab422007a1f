import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import circuit_transfer
from circuit_transfer.jobs.job import read_startup

LIBRARY = Path(circuit_transfer.__file__).parents[1]


NAME = "attribute_nodes mine/own/nap"


def run_job(tmp_path, body, before="", silence=25):
    """Run a job with one line of body in a process of its own."""
    code = f"{before}\nfrom circuit_transfer.jobs.job import job\n"
    code += f"with job('new/log', {NAME!r}, silence={silence}): {body}"
    return subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(LIBRARY), "OMP_NUM_THREADS": "2"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )


def read_log(tmp_path):
    return (tmp_path / "new" / "log").read_text()


def without_dates(log):
    """Return a log as the console shows it."""
    return re.sub(r"^\d{4}-\d\d-\d\d ", "", log, flags=re.MULTILINE)


def test_a_job_logs_to_the_file_and_the_console(tmp_path):
    body = "import logging, warnings; logging.info('17 pairs'); warnings.warn('odd')"
    result = run_job(tmp_path, body)
    log = read_log(tmp_path)
    assert result.returncode == 0
    assert without_dates(log) == result.stderr
    for text in ("17 pairs", "odd", "done in"):
        assert text in log


def test_a_line_says_when_which_job_and_whether_it_is_a_warning(tmp_path):
    body = "logging.info('17 pairs'); logging.warning('odd %'); warnings.warn('old')"
    result = run_job(tmp_path, body, before="import logging, warnings")
    texts = "17 pairs$", "WARNING: odd %$", "WARNING: <string>"
    for line, start in zip(result.stderr.splitlines(), texts, strict=False):
        assert re.match(rf"\d\d:\d\d:\d\d {NAME}: {start}", line), line
    for line in read_log(tmp_path).splitlines()[:3]:
        assert re.match(rf"\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d {NAME}: ", line), line


def test_a_failed_job_logs_its_traceback_and_exits_with_one(tmp_path):
    result = run_job(tmp_path, "raise KeyError('gone')")
    log = read_log(tmp_path)
    assert result.returncode == 1
    assert result.stderr == without_dates(log)
    assert "Traceback (most recent call last)" in log
    assert "KeyError: 'gone'" in log
    assert log.count("Traceback") == 1
    assert "done in" not in log


TOLD = {
    "bad input": ("raise ValueError('bad row 7')", "bad row 7"),
    "no file": ("open('a.csv')", "No such file or directory: 'a.csv'"),
    "no memory": ("raise MemoryError", "MemoryError: out of memory? Try smaller"),
    "too much memory": ("bytearray(2**62)", "out of memory? Try smaller batches"),
    "no memory for torch": (
        "import torch; torch.empty(2**60, dtype=torch.uint8)",
        "can't allocate memory",
    ),
    "no memory on a GPU": (
        "import torch; raise torch.OutOfMemoryError('CUDA out of memory.')",
        "CUDA out of memory.: out of memory? Try smaller batches",
    ),
}


@pytest.mark.parametrize(("body", "told"), TOLD.values(), ids=TOLD)
def test_what_the_user_can_mend_is_told_in_a_line(tmp_path, body, told):
    result = run_job(tmp_path, body)
    log = read_log(tmp_path)
    assert result.returncode == 1
    assert result.stderr == without_dates(log)
    assert told in log.splitlines()[-1]
    assert f" {NAME}: ERROR: " in log.splitlines()[-1]
    assert "Traceback" not in log
    traceback = (tmp_path / "new" / "log.traceback").read_text()
    assert traceback.startswith("Traceback (most recent call last)")


def test_a_job_starts_its_log_anew(tmp_path):
    run_job(tmp_path, "raise ValueError('first')")
    run_job(tmp_path, "pass")
    assert "first" not in read_log(tmp_path)
    assert not (tmp_path / "new" / "log.traceback").exists()


def test_a_job_that_uses_torch_takes_one_thread(tmp_path):
    body = "print(torch.get_num_threads())"
    result = run_job(tmp_path, body, before="import torch")
    assert result.stdout == "1\n"
    assert "torch 2." in result.stderr


def test_a_job_does_not_import_torch_for_itself(tmp_path):
    result = run_job(tmp_path, "print('torch' in sys.modules)", before="import sys")
    assert result.stdout == "False\n"


def test_a_job_tells_how_long_its_process_took_before_it(tmp_path):
    before = "import time; time.sleep(0.5)\nwhile time.process_time() < 0.5: pass"
    result = run_job(tmp_path, "pass", before)
    startup, cpu = read_startup(tmp_path / "new" / "log")
    assert result.returncode == 0
    assert 0.99 < startup < 5
    assert 0.5 <= cpu < 1


def test_a_fork_starts_anew(tmp_path):
    # A second of waiting and of computing that are not the fork's.
    before = (
        "import os, sys, time\n"
        "import circuit_transfer.jobs.job\n"
        "while time.process_time() < 1: pass\n"
        "if os.fork(): sys.exit(os.wait()[1])"
    )
    result = run_job(tmp_path, "pass", before)
    startup, cpu = read_startup(tmp_path / "new" / "log")
    assert result.returncode == 0
    assert -0.02 < startup < 0.5
    assert cpu < 0.5


def test_a_job_that_failed_does_not_tell(tmp_path):
    run_job(tmp_path, "raise ValueError('first')")
    with pytest.raises(ValueError, match="log: expected a line"):
        read_startup(tmp_path / "new" / "log")


def test_what_was_imported_is_no_matter_for_the_collector(tmp_path):
    body = "print(gc.get_freeze_count() > 1000, len(gc.get_objects()) < 1000)"
    result = run_job(tmp_path, body, before="import gc, decimal, email, http.client")
    assert result.stdout == "True True\n"


WAITS = "import time; from circuit_transfer.jobs.progress import activity"
WAITING = """
    with activity("loading a model"): time.sleep(0.9)
"""
FORKED = "\nimport os, sys\nif os.fork(): sys.exit(os.wait()[1] >> 8)"


@pytest.mark.parametrize("fork", ["", FORKED], ids=["started", "forked"])
def test_a_silent_job_says_where_it_is_until_it_ends(tmp_path, fork):
    before = f"{WAITS}; import circuit_transfer.jobs.job{fork}"
    result = run_job(tmp_path, WAITING, before, silence=0.2)
    assert result.returncode == 0, result.stderr
    *beats, last = result.stderr.splitlines()
    assert 2 <= len(beats) <= 4
    for beat in beats:
        assert f"{NAME}: loading a model: still at work after " in beat
        assert re.search(r", with \d+\.\d GB of memory$", beat)
    assert " done in " in last


def test_a_job_that_logs_enough_has_no_heartbeat(tmp_path):
    body = "[(time.sleep(0.1), logging.info('step')) for _ in range(10)]"
    result = run_job(tmp_path, body, "import logging, time", silence=0.8)
    assert result.stderr.count("step") == 10
    assert "still at work" not in result.stderr


@pytest.mark.parametrize(
    "end", ["raise ValueError('bad')", "raise KeyError('gone')", "pass"]
)
def test_nothing_is_logged_after_the_end_of_a_job(tmp_path, end):
    # The process lives on for as long as several heartbeats.
    code = f"""
import threading, time
from circuit_transfer.jobs.job import job
try:
    with job('log', 'x', silence=0.1): {end}
finally:
    ended = open('log').read()
    time.sleep(0.5)
    assert threading.active_count() == 1, threading.enumerate()
    assert open('log').read() == ended
"""
    command = [sys.executable, "-c", code]
    environment = {"PYTHONPATH": str(LIBRARY)}
    result = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert "AssertionError" not in result.stderr
    assert result.returncode == (end != "pass")


def test_an_interrupted_job_ends_in_a_line(tmp_path):
    body = f"os.kill(os.getpid(), {signal.SIGINT.value}); time.sleep(9)"
    result = run_job(tmp_path, body, "import os, time")
    assert result.returncode == 130
    assert "Traceback" not in result.stderr
    assert result.stderr.splitlines()[-1].endswith(f"{NAME}: ERROR: interrupted")
