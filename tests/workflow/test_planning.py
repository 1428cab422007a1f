"""Groups are planned once each, and come out as Snakemake itself plans them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from running import groups

LIBRARY = Path(__file__).parents[2] / "workflow/lib"
OURS = f"""
import sys
sys.path.insert(0, {str(LIBRARY)!r})
from running.groups import plan_by_group
plan_by_group()
"""
# Two ends in a group, and between them what is in none.
CHAIN = """
rule last:
    input: "middle"
    output: "last"
    group: "ends"
    shell: "cat {input} > {output}"

rule middle:
    input: "first"
    output: "middle"
    shell: "cat {input} > {output}"

rule first:
    output: "first"
    group: "ends"
    shell: "echo 1 > {output}"
"""
# A group of two jobs, the second of which waits for one that is in none. They would
# come first if they could.
FORK = """
rule last:
    input: "inside", "outside"
    output: "last"
    group: "ends"
    priority: 1
    shell: "cat {input} > {output}"

rule inside:
    output: "inside"
    group: "ends"
    priority: 1
    shell: "echo 1 > {output}"

rule outside:
    output: "outside"
    shell: "echo 2 > {output}"
"""
# Runs the job where it is submitted, and prints a number for it.
SUBMIT = "sh -c 'sh \"$0\" >&2; echo 1'"


def snakemake(folder: Path, text: str, *arguments: str) -> subprocess.CompletedProcess:
    (folder / "Snakefile").write_text(text)
    command = [sys.executable, "-m", "snakemake", "--jobs", "1", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize("arguments", [(), ("--group-components", "ends=2")])
def test_groups_are_accepted_and_refused_as_by_snakemake(tmp_path, arguments):
    ours, theirs = (
        snakemake(tmp_path, text + CHAIN, "--dry-run", *arguments)
        for text in (OURS, "")
    )
    # Two ends that are put in one group depend on themselves.
    refused = bool(arguments)
    assert ("depends on itself" in ours.stdout) == bool(ours.returncode) == refused
    ours, theirs = (
        re.findall(r"Remove .* to the group", each.stdout) for each in (ours, theirs)
    )
    assert ours == theirs


def test_a_group_waits_for_what_is_outside_of_it(tmp_path):
    submit = ("--executor", "cluster-generic", "--cluster-generic-submit-cmd", SUBMIT)
    impatient = ("--seconds-between-status-checks", "1")
    result = snakemake(tmp_path, OURS + FORK, *submit, *impatient)
    said = result.stdout + result.stderr
    assert result.returncode == 0, said
    assert (tmp_path / "last").read_text() == "1\n2\n"
    # The group, and the job outside of it.
    assert said.count("Submitted") == 2, said


def test_paths_are_followed_out_of_a_group_and_back():
    # e needs d needs c needs b needs a.
    dependencies = {"a": {}, "b": {"a": 0}, "c": {"b": 0}, "d": {"c": 0}, "e": {"d": 0}}
    closed = ("a", "ab", "abc", "cde", "e", "abcde")
    open_ = ("ac", "ae", "abd", "bde")
    found = {
        each: groups._depends_on_itself(frozenset(each), dependencies)
        for each in (*closed, *open_)
    }
    assert found == dict.fromkeys(closed, False) | dict.fromkeys(open_, True)


def test_long_planning_says_that_it_is_still_at_it(tmp_path):
    text = OURS.replace(
        "groups import plan_by_group", "planning import log_while_planning"
    )
    # Set twice, as by a workflow that is used twice: said once all the same.
    text = text.replace("plan_by_group()", "log_while_planning(0.2)\n" * 2)
    text += """
import time

rule slow:
    input: lambda w: time.sleep(0.5) or []
    output: "slow"
    shell: "sleep 0.7; touch {output}"
"""
    result = snakemake(tmp_path, text, "--cores", "1", "slow")
    assert result.returncode == 0, result.stderr
    before, after = result.stderr.split("Job stats:")
    assert before.count("Still planning, ") == 2
    # Jobs that run are not planning.
    assert "Still planning" not in after
