"""Names, paths and texts that would be commands elsewhere do no harm.

What would be run makes a file `ran`, or changes the title of a page to that.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import polars as pl
import pytest
import yaml

from circuit_transfer.study.checks import check_config
from circuit_transfer.study.validation import validate_config

HOME = Path(__file__).parents[2]
SCHEMA = HOME / "workflow/schemas/config.schema.yaml"
TINY = yaml.safe_load(Path(__file__).with_name("tiny.yaml").read_text())
SCRIPT = "<script>document.title='ran'</script>"
IMAGE = "<img src=x onerror=document.title='ran'>"
TEXTS = (
    SCRIPT,
    IMAGE,
    f"</td></table></script>{SCRIPT}",
    r"\input{/etc/passwd} & % $ # _",
    "=HYPERLINK(1)",
    "$x_{",
    "{{snakemake.config}} {task} %s",
    "; touch ran; $(touch ran) `touch ran` | touch ran",
    "\x1b[31mred\x1b]0;ran\x07",
    "two\nlines",
    "\u202eright to left \U0001f600",
)
# Paths may hold nearly everything.
FILE = "-x; $(touch ran) `touch ran` & | 'q' \"d\" é \U0001f600 %s * [a] ~ #\\.jsonl"
MODEL = "a model's; $(touch ran)"


def snakemake(folder, *arguments):
    command = [sys.executable, "-m", "snakemake", "--snakefile", HOME / "Snakefile"]
    command += ["--directory", ".", "--cores", "2", *arguments]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False
    )


def traces(folder):
    """Return what commands in names would have made."""
    return [path for path in folder.rglob("*") if path.name == "ran"]


# Names


NAMES = [
    *("..", ".", "../x", "a/../../x", "/etc/passwd", "a/b", "a\\b", "~", "-a", ".a"),
    *("a b", "a\n", "a\nb", "a\t", "a\x00", "\x1b[31m", "A", "é", "\u0430", "ａ"),
    *(SCRIPT, "<x>", "a;b", "$(ran)", "`ran`", "a'b", 'a"b', "a&b", "a|b", "a*", "a%s"),
    *("{task}", "{", "a_b", "$x_{", "=a", "@a", "a" * 101, "", " ", "a:b", "http://a"),
]
PLACES = {
    "models": lambda config, name: _rename(config["models"], "tiny-source", name),
    "tasks": lambda config, name: _rename(config["tasks"], "ioi", name),
    "study.tasks": lambda config, name: config["study"]["tasks"].append(name),
    "study.models": lambda config, name: config["study"].update(models=[name]),
    "study.transfers": lambda config, name: config["study"].update(
        transfers=[{"source": name, "target": "tiny-target"}]
    ),
    "study.families": lambda config, name: config["study"].update(
        families={name: ["ioi"]}
    ),
    "study.siblings": lambda config, name: config["study"].update(
        siblings=[[name, "ioi"]]
    ),
    "evaluation.circuits": lambda config, name: config["evaluation"].update(
        circuits={name: {"importances": "x", "target": "tiny-target", "task": "ioi"}}
    ),
    "sensitivity.proportions": lambda config, name: config.update(
        sensitivity={"proportions": {name: [0.5, 1.0]}}
    ),
    "benchmark": lambda config, name: config.update(benchmark={name: {"model": "x"}}),
}


def _rename(entries, old, new):
    entries[new] = entries.pop(old)


@pytest.mark.parametrize("place", PLACES)
def test_only_a_name_becomes_part_of_a_path(place):
    for name in NAMES:
        config = deepcopy(TINY)
        PLACES[place](config, name)
        with pytest.raises(ValueError) as caught:
            validate_config(config, SCHEMA)
        assert str(caught.value).isprintable()
        assert place.split(".")[0] in str(caught.value)
    config = deepcopy(TINY)
    PLACES[place](config, "a.9-b")
    validate_config(config, SCHEMA)


@pytest.mark.parametrize("text", ["{task}", "a{", "<results>/x", "<b>", "a\nb"])
def test_a_path_that_snakemake_would_read_as_its_own_is_refused(text, tmp_path):
    config = deepcopy(TINY)
    config["tasks"]["ioi"] = {"file": f"{text}.jsonl"}
    validate_config(config, SCHEMA)
    with pytest.raises(
        ValueError, match=r"tasks.ioi.file: .*Snakemake reads"
    ) as caught:
        check_config(config, tmp_path)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(
            ("hub", name)
            for name in ("../..", "a/..", "a", "a/b/c", "https://x/y", "-a/b")
        ),
        *(
            ("revision", name)
            for name in ("../x", "a/../../b", "/x", "-x", "a b", "$(x)")
        ),
    ],
)
def test_a_repository_and_its_revision_lead_nowhere_else(key, value):
    config = deepcopy(TINY)
    config["models"]["far"] = {"hub": "a/b", "revision": "refs/pr/1"}
    validate_config(deepcopy(config), SCHEMA)
    config["models"]["far"][key] = value
    with pytest.raises(ValueError, match=f"models.far.{key}"):
        validate_config(config, SCHEMA)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--config", 'study={tasks: ["../../ran"], methods: [nap]}'], "study.tasks.0"),
        (["--config", "pathvars={results: ran}"], "unknown key 'pathvars'"),
        (["--configfile", "study.yaml", "tagged.yaml"], "not valid JSON or YAML"),
        (["results/prompts/../../../ran.parquet"], "MissingRule"),
    ],
    ids=["name", "variable", "tag", "target"],
)
def test_the_command_line_is_no_way_around(arguments, told, tmp_path):
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(TINY))
    tag = "study: !!python/object/apply:os.system ['touch ran']\n"
    (tmp_path / "tagged.yaml").write_text(tag)
    if "--configfile" not in arguments:
        arguments = ["--configfile", "study.yaml", *arguments]
    if "=" not in arguments[-1] and "yaml" not in arguments[-1]:
        arguments.insert(-1, "--")
    result = snakemake(tmp_path, "--dry-run", *arguments)
    assert result.returncode != 0 and told in result.stdout + result.stderr
    assert not traces(tmp_path)


# A study whose files, prompts and rejected rows are hostile


def pair(clean, corrupted):
    return {
        "clean": clean,
        "corrupted": corrupted,
        "answer": " 46",
        "wrong_answer": " 31",
    }


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A finished study of one model on two files, and its report."""
    folder = tmp_path_factory.mktemp("a study's $(touch ran)")
    sums = [
        pair(f"The sum of {a} and {b} is", f"The sum of {b + 1} and {a + 2} is")
        for a in range(10, 14)
        for b in range(20, 24)
    ]
    rejected = [pair(text, f"{text} and more") for text in TEXTS]
    _write(folder / FILE, sums + rejected)
    years = [{"clean": text, "corrupted": text, "label": text} for text in TEXTS]
    _write(folder / f"years {FILE}", years)
    shutil.copytree(HOME / "data/models/llama-small", folder / MODEL)
    config = deepcopy(TINY)
    config["models"] = {"m": {"path": MODEL}}
    config["tasks"] = {
        "sums": {"file": FILE},
        "years": {"file": f"years {FILE}", "format": "eap-ig"},
    }
    config["study"] = {"tasks": ["sums", "years"], "methods": ["nap"]}
    config["alignment"].update(controls=[], compare=[])
    config["evaluation"].update(proportions=[0.5, 1.0], random_rankings=1, examples=4)
    (folder / "study.yaml").write_text(yaml.safe_dump(config))
    arguments = ["--configfile", "study.yaml", "--", "results/tables/rejects.csv"]
    for more in ([], ["--report", "report.html"]):
        result = snakemake(folder, *more, *arguments)
        assert result.returncode == 0, result.stdout + result.stderr
    return folder


def _write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_every_hostile_row_is_listed_as_it_is(study):
    table = pl.read_csv(study / "results/tables/rejects.csv")
    counts = dict(table.group_by("task").len().iter_rows())
    assert counts == {"sums": len(TEXTS), "years": len(TEXTS)}
    shown = table.filter(task="sums")["clean"].to_list()
    assert [text.removeprefix("'") for text in shown] == list(TEXTS)
    files = {"sums": f"'{FILE}", "years": f"years {FILE}"}
    assert dict(table.select("task", "file").unique().iter_rows()) == files


def test_nothing_in_names_and_prompts_is_run(study):
    assert not traces(study.parent)
    assert {*os.listdir(study)} == {
        *(".snakemake", "results", "report.html", "study.yaml"),
        *(FILE, f"years {FILE}", MODEL),
    }


def test_no_log_has_control_characters(study):
    logs = [*(study / "results/logs").rglob("*.log")]
    assert logs
    for log in logs:
        assert all(line.isprintable() for line in log.read_text().splitlines()), log


@pytest.mark.parametrize(
    "page",
    [
        "report.html",
        "results/tables/rejects.html",
        "results/tables/rejects-summary.html",
    ],
)
def test_no_page_runs_what_it_shows(study, page, tmp_path):
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no chromium to open the report in")
    control = tmp_path / "control.html"
    control.write_text(f"<title>not yet</title>{SCRIPT}")
    assert "<title>ran</title>" in _opened(browser, control)
    shown = _opened(browser, study / page)
    assert "<title>" in shown and "<title>ran</title>" not in shown
    assert not re.search(r"<img[^>]+onerror", shown)


def _opened(browser, page):
    """Return a page as a browser has it, after its scripts have run."""
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    command += ["--virtual-time-budget=3000", page.as_uri()]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=True
    ).stdout
