"""What the Snakemake workflow catalog is given about this workflow is true of it.

The catalog reads `usage` of its file, and from there `mandatory-flags` (`desc`, and
`flags` as a text or a list), `software-stack-deployment` and `report`. It lists a
repository with a folder `workflow` only if that has a Snakefile. That reports can be
made is tested with the pages that show how.
"""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import yaml
from snakemake.cli import get_argument_parser
from test_docs import TYPED

HOME = Path(__file__).parents[2]
USAGE = yaml.safe_load((HOME / ".snakemake-workflow-catalog.yml").read_text())
RULES = sorted((HOME / "workflow/rules").glob("*.smk"))


def test_the_catalog_knows_every_key():
    (usage,) = USAGE.values()
    assert USAGE.keys() == {"usage"}
    assert usage.keys() == {"mandatory-flags", "software-stack-deployment", "report"}
    assert usage["mandatory-flags"].keys() == {"desc", "flags"}
    deployments = usage["software-stack-deployment"]
    assert deployments.keys() == {"conda", "apptainer", "apptainer+conda"}
    assert {type(each) for each in (*deployments.values(), usage["report"])} == {bool}


def test_the_flags_are_flags_of_snakemake():
    flags = USAGE["usage"]["mandatory-flags"]["flags"]
    flags = shlex.split(flags) if isinstance(flags, str) else flags
    described = re.findall(r"--[\w-]+", USAGE["usage"]["mandatory-flags"]["desc"])
    known = get_argument_parser()._option_string_actions
    assert {each for each in (*flags, *described) if each.startswith("--")} <= {*known}


def test_software_is_deployed_as_claimed():
    deployed = USAGE["usage"]["software-stack-deployment"]
    rules = [
        rule
        for path in RULES
        for rule in re.split(r"^rule ", path.read_text(), flags=re.M)[1:]
        if "    script:" in rule
    ]
    assert len(rules) > 40
    environments = [re.search(r'    conda:\s+"(.+)"', rule) for rule in rules]
    if deployed["conda"]:
        assert all(environments)
        files = {(HOME / "workflow/rules" / each[1]).resolve() for each in environments}
        assert files == {*(HOME / "envs").glob("*.yaml")}
    text = "".join(path.read_text() for path in [HOME / "Snakefile", *RULES])
    contained = bool(re.search(r"^ *container(ized)?:", text, re.M))
    assert contained == deployed["apptainer"] == deployed["apptainer+conda"]


def test_a_report_is_made_if_that_is_claimed():
    made = any("--report" in command for command in TYPED)
    assert made == USAGE["usage"]["report"]


def test_the_catalog_finds_readme_licence_and_workflow(tmp_path):
    readme = (HOME / "README.md").read_text().lower()
    assert "snakemake" in readme
    assert "workflow" in readme
    assert (HOME / "LICENSE").is_file()
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--cores", "1"]
    command += ["--configfile", str(HOME / "config.yaml"), "--quiet", "host"]
    command += ["--workflow-profile", "none"]
    one, other = (
        subprocess.run(
            [*command, "--snakefile", str(HOME / snakefile)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        for snakefile in ("Snakefile", "workflow/Snakefile")
    )
    counted = r"^(\w+) +(\d+)$"
    one, other = (dict(re.findall(counted, each.stdout, re.M)) for each in (one, other))
    assert len(one) > 20
    # Another target, of the same tables and figures.
    assert one.pop("all") == other.pop("study") == "1"
    assert one == other
