"""Whatever a stage asks for, every rule that runs it gives, under the same name."""

import pickle
import subprocess
import sys
from importlib import import_module
from inspect import signature
from pathlib import Path

import pytest

from circuit_transfer.jobs.stage import RESUME, bind

HOME = Path(__file__).parents[2]
STAGES = sorted(path.stem for path in (HOME / "workflow/scripts").glob("*.py"))
# What rules record so that their jobs run again, and where a job leaves its state.
RECORDED = {"code", "content", "state"}


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    """One job of every rule with a script, by stage."""
    path = tmp_path_factory.mktemp("jobs") / "jobs"
    script = HOME / "tests/rule_jobs.py"
    made = subprocess.run(
        [sys.executable, script, path], capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stderr
    found = pickle.loads(path.read_bytes())
    return {name: [job for stage, job in found if stage == name] for name in STAGES}


def unused(params, asked):
    """Yield the params, and the keys of mappings, that no parameter is named after."""
    for name, value in params.items():
        if name in asked:
            continue
        keys = value if isinstance(value, dict) else [name]
        yield from (key for key in keys if key not in asked)


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_can_be_called_by_its_rules(name, jobs):
    stage = getattr(import_module(name), name)
    asked = signature(stage).parameters
    assert jobs[name]
    for job in jobs[name]:
        signature(stage).bind(**bind(stage, job))
        params = dict(job.params.items())
        assert (RESUME in asked) == ("state" in params)
        # What no stage asks for would make jobs run again for nothing.
        assert set(unused(params, asked)) <= RECORDED
