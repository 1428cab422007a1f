"""Every file that a stage opens is among its inputs, so that a change reruns it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from opened_files import (
    can_trace,
    declared_by_jobs,
    read_by,
    read_by_jobs,
    tracing,
)

from circuit_transfer.study.origins import Origins

HOME = Path(__file__).parents[2]
# What Snakemake itself reads for a job; and the code, of which jobs record a hash.
NEITHER = (".snakemake", "workflow")
LOAD = """
import sys
from circuit_transfer.models.description import describe_model
from circuit_transfer.models.loading import load_described
load_described(describe_model(sys.argv[1]))
"""

pytestmark = pytest.mark.skipif(not can_trace(), reason="no strace that may trace")


def test_every_stage_opens_only_what_it_declares(original):
    declared, read = declared_by_jobs(original.folder), read_by_jobs(original.trace)
    # Every job was watched, and was seen to read.
    assert declared.keys() == read.keys()
    undeclared = {
        f"{Path(log).relative_to(original.folder)}: {file}"
        for log, files in read.items()
        for file in files - declared[log]
        for home in (original.folder, HOME)
        # A partial file is what the job itself writes, before it is renamed.
        if file.suffix != ".partial"
        and not file.is_relative_to(Path(sys.prefix).resolve())
        and file.is_relative_to(home)
        and file.relative_to(home).parts[0] not in NEITHER
    }
    assert undeclared == set()
    scores = original.result("logs/attribute_nodes/tiny-source/ioi/nap-ig-inputs.log")
    weights = original.result("models/tiny-source/checkpoint/model.safetensors")
    assert weights in read[str(scores)]  # by a library that is not in Python


def test_the_inputs_of_a_given_model_are_what_is_opened_of_its_folder(tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(HOME / "data/models/llama-small", folder)
    for name in ("added_tokens.json", "special_tokens_map.json"):
        (folder / name).write_text("{}")
    (folder / "additional_chat_templates").mkdir()
    for name in ("chat_template.jinja", "additional_chat_templates/tool.jinja"):
        (folder / name).touch()
    for name in ("README.md", "trainer_state.json"):
        (folder / name).touch()
    (tmp_path / "trace").mkdir()
    subprocess.run(
        [*tracing(tmp_path / "trace"), sys.executable, "-c", LOAD, str(folder)],
        env=os.environ | {"PYTHONPATH": str(HOME / "workflow/lib")},
        check=True,
    )
    opened = {each for each in read_by(tmp_path / "trace") if folder in each.parents}
    config = {"models": {"given": {"path": str(folder)}}, "tasks": {}}
    declared = Origins(config, HOME).weights("given")
    assert {str(each) for each in opened} == set(declared)
