import logging
import subprocess
import sys
from pathlib import Path

import pytest

import circuit_transfer
from circuit_transfer.jobs.job import progress, read_startup

LIBRARY = Path(circuit_transfer.__file__).parents[1]


def run_job(tmp_path, body, before=""):
    """Run a job with one line of body in a process of its own."""
    code = f"{before}\nfrom circuit_transfer.jobs.job import job\n"
    code += f"with job('new/log'): {body}"
    return subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(LIBRARY), "OMP_NUM_THREADS": "2"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )


def test_a_job_logs_to_the_file_and_the_console(tmp_path):
    body = "import logging, warnings; logging.info('17 pairs'); warnings.warn('odd')"
    result = run_job(tmp_path, body)
    log = (tmp_path / "new" / "log").read_text()
    assert result.returncode == 0
    assert result.stderr == log
    for text in ("17 pairs", "odd", "done in"):
        assert text in log


def test_a_failed_job_logs_its_traceback_and_exits_with_one(tmp_path):
    result = run_job(tmp_path, "raise KeyError('gone')")
    log = (tmp_path / "new" / "log").read_text()
    assert result.returncode == 1
    assert result.stderr == log
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
    log = (tmp_path / "new" / "log").read_text()
    assert result.returncode == 1
    assert result.stderr == log
    assert told in log.splitlines()[-1]
    assert " ERROR circuit_transfer.jobs.job: " in log.splitlines()[-1]
    assert "Traceback" not in log
    traceback = (tmp_path / "new" / "log.traceback").read_text()
    assert traceback.startswith("Traceback (most recent call last)")


def test_a_job_starts_its_log_anew(tmp_path):
    run_job(tmp_path, "raise ValueError('first')")
    run_job(tmp_path, "pass")
    assert "first" not in (tmp_path / "new" / "log").read_text()
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


def test_progress_yields_everything_and_reports_only_when_it_takes_long(
    monkeypatch, caplog
):
    clock = iter(range(0, 1000, 2))
    monkeypatch.setattr("circuit_transfer.jobs.job.time.monotonic", lambda: next(clock))
    with caplog.at_level(logging.INFO):
        assert list(progress("abcdefgh", 8, "letters")) == list("abcdefgh")
    assert caplog.messages == [
        "letters: 3 of 8, about 10 s left",
        "letters: 6 of 8, about 4 s left",
    ]


def test_a_broken_loop_is_not_hidden():
    def broken():
        yield 1
        raise RuntimeError("second item")

    with pytest.raises(RuntimeError, match="second item"):
        list(progress(broken(), 2, "items"))
