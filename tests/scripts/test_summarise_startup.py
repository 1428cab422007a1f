"""Benchmarks and logs on disk, the logs as jobs write them."""

import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from summarise_startup import summarise_startup

import circuit_transfer
from circuit_transfer.artifacts.text import write_text

LIBRARY = str(Path(circuit_transfer.__file__).parents[1])
JOBS = ("plot_recovery", "fit_alignment/a-1.5/b/all", "fit_alignment/a-1.5/b/only-x")


@pytest.fixture
def folder(tmp_path):
    for name in JOBS:
        log = f"{tmp_path}/logs/{name}.log"
        code = (
            f"from circuit_transfer.jobs.job import job\nwith job({log!r}, 'a'): pass"
        )
        environment = {"PYTHONPATH": LIBRARY}
        subprocess.run([sys.executable, "-c", code], env=environment, check=True)
        benchmark = "s\th:m:s\tmax_rss\n40.0\t0:00:40\t-\n"
        write_text(benchmark, tmp_path / "benchmarks" / f"{name}.tsv")
    return tmp_path


def run(folder):
    paths = [folder / f"startup.{suffix}" for suffix in ("csv", "tex", "html")]
    folders = {name: folder / name for name in ("benchmarks", "logs")}
    summarise_startup(paths, **folders)
    return pl.read_csv(paths[0]), paths[2].read_text()


def test_every_job_is_counted_under_its_rule(folder):
    table, page = run(folder)
    assert table.select("rule", "jobs", "seconds").rows() == [
        ("fit_alignment", 2, 80.0),
        ("plot_recovery", 1, 40.0),
        ("all", 3, 120.0),
    ]
    # Fresh interpreters that import a small module.
    assert (table["startup_seconds"] / table["jobs"]).is_between(0.01, 10).all()
    assert (table["cpu_seconds"] / table["jobs"]).is_between(0.01, 10).all()
    assert "startup (%)" in page


def test_a_log_that_does_not_tell_is_named(folder):
    write_text("plot_recovery: done in 3.2 s", folder / f"logs/{JOBS[1]}.log")
    with pytest.raises(ValueError, match=r"a-1\.5/b/all\.log: .* run the job again"):
        run(folder)


def test_a_missing_log_is_named(folder):
    (folder / f"logs/{JOBS[0]}.log").unlink()
    with pytest.raises(FileNotFoundError, match=r"plot_recovery\.log"):
        run(folder)
