"""Write where nothing can be written: on a disk that is full or closed."""

import errno
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from matplotlib.figure import Figure

import circuit_transfer
from circuit_transfer.artifacts.alignments import write_alignment
from circuit_transfer.artifacts.frames import write_frame
from circuit_transfer.artifacts.text import write_text
from circuit_transfer.figures.style import save
from circuit_transfer.jobs.resource_errors import advice, existing

LIBRARY = Path(circuit_transfer.__file__).parents[1]
NOISE = np.random.default_rng(0).random((300, 300))


def draw(path: Path) -> None:
    figure = Figure()
    figure.figimage(NOISE)
    save(figure, path)


WRITERS = {
    "it.parquet": lambda path: write_frame(pl.DataFrame(NOISE), path),
    "it.safetensors": lambda path: write_alignment(path, {"alignment": NOISE}, {}),
    "it.json": lambda path: write_text("x" * 200_000, path),
    "it.png": draw,
    "it.pdf": draw,
}


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """A folder on a disk with room for 48 kB."""
    folder = tmp_path_factory.mktemp("disk")
    command = ["mount", "-t", "tmpfs", "-o", "size=48k", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_keeps_what_is_there_and_nothing_half_written(full, name):
    path = full / name
    path.write_text("as it was")
    with pytest.raises(OSError, match=name) as caught:
        WRITERS[name](path)
    assert caught.value.errno == errno.ENOSPC
    assert f"the disk is full: {full} has 0.0 of 0.0 MB left." in advice(caught.value)
    assert path.read_text() == "as it was"
    assert list(full.iterdir()) == [path]
    path.unlink()


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_that_may_not_be_so_large_is_not_half_written(tmp_path, name):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(OSError, match=name) as caught:
            WRITERS[name](tmp_path / name)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.errno == errno.EFBIG
    assert "ulimit -f" in advice(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_job_whose_log_cannot_be_written_tells_the_console(full):
    (full / "everything").write_bytes(b"x" * 44_000)
    code = "from circuit_transfer.jobs.job import job\nimport logging\n"
    code += (
        "with job('log', 'x'): [logging.info('x' * 999) for _ in range(9)]; open('a/b')"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(LIBRARY)},
        cwd=full,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert result.stderr.count("x" * 999) == 9
    assert "No such file or directory: 'a/b'" in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr


def test_what_is_no_shortage_has_no_advice():
    for error in (ValueError("odd"), FileNotFoundError(errno.ENOENT, "none", "a")):
        assert advice(error) is None


def test_the_nearest_place_that_is_there(tmp_path):
    assert existing(tmp_path / "a" / "b") == tmp_path
