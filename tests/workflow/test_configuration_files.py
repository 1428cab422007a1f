"""Where the configuration is looked for, in a run from another folder."""

import subprocess
import sys
from pathlib import Path

import pytest

HOME = Path(__file__).parents[2]
STUDY = "{tasks: [ioi], methods: [nap], models: [llama-small], transfers: []}"


def planned(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--dry-run"]
    command += ["--quiet", "host", "--snakefile", str(HOME / "Snakefile"), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder with an overlay and without `config.yaml`."""
    (tmp_path / "my.yaml").write_text(f"study: {STUDY}\n")
    return tmp_path


@pytest.mark.parametrize("arguments", [(), ("--configfile", "my.yaml")])
def test_an_error_says_where_the_configuration_was_looked_for(folder, arguments):
    result = planned(folder, *arguments)
    assert result.returncode != 0
    assert f"({folder / 'config.yaml'})" in result.stdout
    assert "A file given by --configfile adds to it" in result.stdout
    for remedy in (f"Copy {HOME / 'config.yaml'}", f"--directory {HOME}"):
        assert remedy in result.stdout
    assert f"--configfile {HOME / 'config.yaml'} my.yaml" in result.stdout


def test_every_remedy_helps(folder):
    remedies = [
        ["--configfile", str(HOME / "config.yaml"), "my.yaml"],
        ["--directory", str(HOME), "--configfile", "my.yaml"],
    ]
    for arguments in remedies:
        result = planned(folder, *arguments)
        assert result.returncode == 0, result.stdout
        assert "attribute_nodes" in result.stdout
        assert "There is no" not in result.stdout
    (folder / "config.yaml").write_bytes((HOME / "config.yaml").read_bytes())
    assert planned(folder, "--configfile", "my.yaml").returncode == 0


def test_the_log_names_the_paths_that_the_working_directory_lacks(folder):
    with_default = ("--configfile", str(HOME / "config.yaml"), "my.yaml")
    lacking = planned(folder, *with_default).stdout
    assert f"Not in {folder}, read from {HOME}: data/models/llama-small\n" in lacking
    shipped = HOME / "data/models/llama-small"
    (folder / "data/models").mkdir(parents=True)
    (folder / "data/models/llama-small").symlink_to(shipped)
    assert "Not in" not in planned(folder, *with_default).stdout
