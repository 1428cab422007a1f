"""What the README tells a new user to type does what it says."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

HOME = Path(__file__).parents[2]


def tutorial() -> str:
    """Return the commands of the README's tutorial, one after the other."""
    readme = (HOME / "README.md").read_text()
    section = readme.split("## Tutorial")[1].split("\n## ")[0]
    return "\n".join(re.findall(r"```sh\n(.*?)```", section, re.DOTALL))


@pytest.fixture(scope="module")
def typed(tmp_path_factory):
    """The folder of a clone in which the tutorial was typed, and what it printed."""
    clone = tmp_path_factory.mktemp("clone")
    for name in ("Snakefile", "config.yaml", "workflow", "data", "envs"):
        source = HOME / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, clone / name)
    # The environment is the one that runs the tests.
    (clone / ".venv").symlink_to(Path(sys.prefix))
    result = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", tutorial()],
        cwd=clone,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return clone, result.stdout


def test_the_tutorial_ends_in_scores_curves_and_tables(typed):
    clone, printed = typed
    assert re.search(r"│ +[am]\d(\.h\d)? +┆ +-?\d\.\d+", printed), printed
    assert "faithfulness" in printed
    assert "gold" in printed
    curves = pl.read_parquet(clone / "results/tables/curves.parquet")
    assert set(curves["task"]) == {"ioi", "who-gets-it"}
    assert curves["faithfulness"].is_finite().any()


def test_its_pairs_are_all_usable(typed):
    clone, _ = typed
    pairs = pl.read_parquet(clone / "results/pairs/my-model/who-gets-it.parquet")
    assert len(pairs) == 10
    assert set(pairs["split"]) == {"train", "test"}
