import logging
import subprocess
import sys
from pathlib import Path

import pytest

import circuit_transfer
from circuit_transfer.job import progress

LIBRARY = Path(circuit_transfer.__file__).parents[1]


def run_job(tmp_path, body, before=""):
    """Run a job with one line of body in a process of its own."""
    code = (
        f"{before}\nfrom circuit_transfer.job import job\nwith job('new/log'): {body}"
    )
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


def test_a_job_starts_its_log_anew(tmp_path):
    run_job(tmp_path, "raise ValueError('first')")
    run_job(tmp_path, "pass")
    assert "first" not in (tmp_path / "new" / "log").read_text()


def test_a_job_that_uses_torch_takes_one_thread(tmp_path):
    body = "print(torch.get_num_threads())"
    result = run_job(tmp_path, body, before="import torch")
    assert result.stdout == "1\n"
    assert "torch 2." in result.stderr


def test_a_job_does_not_import_torch_for_itself(tmp_path):
    result = run_job(tmp_path, "print('torch' in sys.modules)", before="import sys")
    assert result.stdout == "False\n"


def test_progress_yields_everything_and_reports_only_when_it_takes_long(
    monkeypatch, caplog
):
    clock = iter(range(0, 1000, 2))
    monkeypatch.setattr("circuit_transfer.job.time.monotonic", lambda: next(clock))
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
