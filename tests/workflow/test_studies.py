"""The ready studies: valid, planned without a network, with jobs that one can count."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
import yaml
from planner import plan
from transformers import AutoConfig

from circuit_transfer.circuits.methods import Nodes
from circuit_transfer.models.shape import model_shape
from circuit_transfer.study.checks import check_config
from circuit_transfer.study.validation import validate_config
from circuit_transfer.study.workload import study_work

HOME = Path(__file__).parents[2]
STUDIES = sorted((HOME / "workflow/studies").glob("*.yaml"))
PUBLISHED = ("llama-3", "qwen-2.5", "gpt2")
# Their models are on the hub; their shapes are known without it.
ESTIMATED = (*PUBLISHED, "gpt2-edges", "distillation-llama-3")
# With six tasks there are 6 training sets of one, 6 without one, 2 without a family of
# several, and all: 15. Two of the three methods have gradients to carry.
SIX, METHODS, WITH_GRADIENTS = 6, 3, 2
THIRTEEN = 13  # of the relatives
PLANNED = {
    "llama-3": {
        "download_model": 3,
        "describe_model": 3,
        "write_prompts": 2 * SIX,
        "join_prompts": SIX,
        "tokenize_pairs": 2 * 3 * SIX,
        "join_pairs": 3 * SIX,
        "measure_baseline": 3 * SIX,
        "attribute_nodes": 3 * SIX * METHODS,
        "stitch_alignment": 4 * SIX,
        "carry_gradients": 4 * SIX * WITH_GRADIENTS,
        "fit_alignment": 4 * METHODS * 15,
        "fit_free_mask": 3 * SIX,
        "evaluate_gold": 3 * SIX * METHODS,
        "evaluate_random": 3 * SIX,
        "evaluate_aligned": 4 * SIX * METHODS,
    },
    # Two of its three models are targets.
    "qwen-2.5": {
        "download_model": 3,
        "describe_model": 3,
        "write_prompts": 2 * SIX,
        "join_prompts": SIX,
        "tokenize_pairs": 2 * 3 * SIX,
        "join_pairs": 3 * SIX,
        "measure_baseline": 3 * SIX,
        "attribute_nodes": 3 * SIX * METHODS,
        "stitch_alignment": 3 * SIX,
        "carry_gradients": 3 * SIX * WITH_GRADIENTS,
        "fit_alignment": 3 * METHODS * 15,
        "fit_free_mask": 2 * SIX,
        "evaluate_gold": 2 * SIX * METHODS,
        "evaluate_random": 2 * SIX,
        "evaluate_aligned": 3 * SIX * METHODS,
    },
    # Three tasks, two of them a family: 3 sets of one, 3 without one, 1 without the
    # family, and all.
    "gpt2": {
        "download_model": 3,
        "describe_model": 3,
        "write_prompts": 2 * 3,
        "join_prompts": 3,
        "tokenize_pairs": 2 * 3 * 3,
        "join_pairs": 3 * 3,
        "measure_baseline": 3 * 3,
        "attribute_nodes": 3 * 3 * METHODS,
        "stitch_alignment": 2 * 3,
        "carry_gradients": 2 * 3 * WITH_GRADIENTS,
        "fit_alignment": 2 * METHODS * 8,
        "fit_free_mask": 2 * 3,
        "evaluate_gold": 2 * 3 * METHODS,
        "evaluate_random": 2 * 3,
        "evaluate_aligned": 2 * 3 * METHODS,
    },
    # No transfers: the circuits of one model on six tasks.
    "smollm2": {
        "convert_gguf": 1,
        "download_model": None,
        "describe_model": 1,
        "measure_baseline": SIX,
        "attribute_nodes": SIX * METHODS,
        "evaluate_gold": SIX * METHODS,
        "evaluate_random": SIX,
        "summarise_gold": 1,
    },
    # Circuits of edges of three models by four methods, beside those of nodes by one.
    "edges": {
        "fit_alignment": None,
        "attribute_nodes": 3 * SIX,
        "evaluate_gold": 3 * SIX,
        "evaluate_lifted": 3 * SIX,
        "attribute_edges": 3 * SIX * 4,
        "verify_edges": 3 * SIX * 4,
        "evaluate_edges": 3 * SIX * 4,
        "evaluate_random_edges": 3 * SIX,
        "summarise_edge_circuits": 3,
        "correlate_edges": 3,
    },
    # With six tasks 15 training sets, as above.
    "edge-alignment": {
        "fit_alignment": 15,
        "stitch_alignment": SIX,
        "evaluate_aligned": SIX,
        "attribute_edges": 2 * SIX,
        "evaluate_edges": SIX,
        "learn_edges": None,
        "fit_edge_alignment": 15,
        "stitch_edges": SIX,
        "evaluate_aligned_edges": SIX,
    },
    # One model by eight methods of edges, of which six learn.
    "learned": {
        "fit_alignment": None,
        "attribute_nodes": SIX,
        "evaluate_lifted": SIX,
        "attribute_edges": SIX * 2,
        "evaluate_edges": SIX * 2,
        "learn_edges": SIX * 6,
        "find_heads": SIX,
        "evaluate_learned": SIX * 6,
        "evaluate_at_sizes": SIX,
        "evaluate_weights": SIX,
        "summarise_methods": 1,
        "summarise_head_survival": 1,
        "evaluate_random_edges": SIX,
    },
    # One model on one task, by five methods of edges, of which three learn.
    "gpt2-edges": {
        "download_model": 1,
        "fit_alignment": None,
        "attribute_nodes": None,
        "attribute_edges": 2,
        "evaluate_edges": 2,
        "learn_edges": 3,
        "evaluate_learned": 3,
        "find_heads": 1,
        "summarise_head_survival": 1,
    },
    # Both models, four tasks; five matchings, and five seeds of eight variants.
    "distillation": {
        "fit_alignment": None,
        "find_critical_heads": 2 * 4,
        "match_heads": 4 * 5,
        "distil_student": 4 * 8 * 5,
        "evaluate_student": 4 * 8,
    },
    # The third model is there to be named.
    "distillation-llama-3": {
        "download_model": 2,
        "fit_alignment": None,
        "find_critical_heads": 2 * 2,
        "match_heads": 2 * 5,
        "distil_student": 2 * 8 * 5,
        "evaluate_student": 2 * 8,
    },
    # Six models, ten transfers and thirteen tasks, of which two are one family: 13
    # training sets of one, 13 without one, 1 without the family, and all.
    "relatives": {
        "attribute_nodes": 6 * THIRTEEN,
        "stitch_alignment": 10 * THIRTEEN,
        "carry_gradients": 10 * THIRTEEN,
        "fit_alignment": 10 * 28,
        "fit_free_mask": None,
        "evaluate_aligned": 10 * THIRTEEN,
        "summarise_source_use": 1,
    },
    "training-families": {"attribute_nodes": 4 * THIRTEEN, "fit_alignment": 3 * 28},
    "train-relatives": {"train_model": 6, "fit_alignment": None},
    # Sixteen models; each by six methods of edges on the task that it answers.
    "planted": {"plant_model": 16, "score_planted": 1},
    "planted-learned": {"plant_model": 8, "score_planted": 1},
    # Two models, by both methods that integrate.
    "convergence": {"compare_steps": 2 * SIX * 2, "plot_convergence": 2},
}
# The beginning of a GGUF file without tensors: version 3, and two zeros of 64 bits.
EMPTY_GGUF = b"GGUF" + (3).to_bytes(4, "little") + bytes(16)
# A row of the IOI data of Edge Pruning in either split.
IOI_ROWS = [
    {
        "ioi_sentences": f"Ann and Bob met at {place}. Bob gave a ring to Ann",
        "corr_ioi_sentences": f"Cid and Dan met at {place}. Eve gave a ring to Cid",
        "a": "Ann",
        "b": "Bob",
        "split": split,
    }
    for place, split in (("home", "train"), ("work", "test"))
]
# A proxy that nobody listens at: whoever asks the network fails at once.
NO_NETWORK = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")


def merge(base, overlay):
    """Add an overlay to a config as Snakemake does: dicts add up, lists replace."""
    for key, value in overlay.items():
        if isinstance(value, dict):
            merge(base.setdefault(key, {}), value)
        else:
            base[key] = value


def study_config(name, folder=HOME):
    config = yaml.safe_load((HOME / "config.yaml").read_text())
    merge(config, yaml.safe_load((HOME / f"workflow/studies/{name}.yaml").read_text()))
    validate_config(config, HOME / "workflow/schemas/config.schema.yaml")
    check_config(config, folder, HOME)
    return config


def snakemake(folder, study, *arguments):
    """Run the workflow on a study in an empty folder."""
    shutil.copy(HOME / "config.yaml", folder)
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--snakefile",
        str(HOME / "Snakefile"),
    ]
    command += ["--configfile", str(study), "--cores", "1", *arguments]
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **NO_NETWORK},
        capture_output=True,
        text=True,
        check=False,
    )


def planned_jobs(folder, study, *values):
    config = ["--config", *values] if values else []
    shutil.copy(HOME / "config.yaml", folder)
    arguments = ["--snakefile", str(HOME / "Snakefile"), "--configfile", str(study)]
    arguments += ["--cores", "1", "--dry-run", "--quiet", "host", *config]
    result = plan(*arguments, folder=folder, environment=NO_NETWORK)
    assert result.returncode == 0, result.stdout + result.stderr
    text = (result.stdout + result.stderr).split("total")[0]
    counts = re.findall(r"^(\w+) +(\d+)$", text, re.MULTILINE)
    return {rule: int(count) for rule, count in counts}


def write_data(folder, study):
    """Write the files of prompts that a study expects from its user."""
    for entry in yaml.safe_load(study.read_text()).get("tasks", {}).values():
        if "file" in entry:
            path = folder / entry["file"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(json.dumps(row) + "\n" for row in IOI_ROWS))


def estimated_jobs(name, folder):
    """Count the jobs of every stage that the cost estimate knows of."""
    config = study_config(name, folder)
    nodes = {}
    for model, entry in config["models"].items():
        if "hub" in entry:
            path = HOME / f"data/configurations/{entry['hub']}.json"
            shape = model_shape(AutoConfig.from_pretrained(path))
            nodes[model] = Nodes(shape.n_nodes, 2 * shape.layers)
    jobs = {}
    for work in study_work(config, nodes):
        jobs[work.stage] = jobs.get(work.stage, 0) + (not work.beside)
    return jobs


@pytest.mark.parametrize("study", STUDIES, ids=lambda path: path.stem)
def test_every_study_plans_a_run_without_a_network(tmp_path, study):
    for entry in yaml.safe_load(study.read_text()).get("models", {}).values():
        if "gguf" in entry:
            file = tmp_path / entry["gguf"]
            file.parent.mkdir(parents=True)
            file.write_bytes(EMPTY_GGUF)
    write_data(tmp_path, study)
    jobs = planned_jobs(tmp_path, study)
    expected = PLANNED.get(study.stem) or {"fit_alignment": jobs["fit_alignment"]}
    assert {rule: jobs.get(rule) for rule in expected} == expected
    if study.stem in ESTIMATED:
        # The estimate counts the jobs that Snakemake plans.
        estimated = estimated_jobs(study.stem, tmp_path)
        assert {rule: jobs[rule] for rule in estimated} == estimated


OVERLAY = """
study:
  tasks: [arithmetic]        # the name of a family of the default study
  methods: [nap]
  models: [llama-small]
  families: {}
tasks:
  arithmetic: {generator: ioi}
"""


def test_an_overlay_that_names_models_has_no_transfers(tmp_path):
    study = tmp_path / "study.yaml"
    study.write_text(OVERLAY)
    jobs = planned_jobs(tmp_path, study)
    assert jobs["attribute_nodes"] == jobs["summarise_top_nodes"] == 1
    assert not jobs.keys() & {"fit_alignment", "plot_break_even"}
    # The command line has the last word.
    pair = "{source: llama-small, target: llama-medium}"
    jobs = planned_jobs(tmp_path, study, f"study={{transfers: [{pair}]}}")
    assert jobs["attribute_nodes"] == 2
    assert jobs["fit_alignment"] == 2  # on the task alone, and on all


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_studies_are_complete(name):
    """Nothing but the embedded models and tasks is left to the default study."""
    study = yaml.safe_load((HOME / f"workflow/studies/{name}.yaml").read_text())
    default = yaml.safe_load((HOME / "config.yaml").read_text())
    for part in ("study", "attribution", "alignment", "evaluation"):
        assert set(study[part]) == set(default[part]), part
    used = {pair[role] for pair in study["study"]["transfers"] for role in pair}
    assert used == set(study["models"])
    assert set(study["study"]["tasks"]) == set(study["tasks"])


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_studies_have_the_settings_of_the_paper(name):
    config = study_config(name)
    # The paper has no GPT-2, and 5 steps are too few for some models.
    assert config["attribution"]["ig_steps"] == (10 if name == "gpt2" else 5)
    assert config["attribution"]["examples"] == 100
    alignment = config["alignment"]
    settings = ("epochs", "learning_rate", "sparsity", "batch_size")
    assert [alignment[key] for key in settings] == [3, 0.1, 0.1, 8]


def test_costs_are_estimated_without_weights_or_network(tmp_path):
    study = HOME / "workflow/studies/llama-3.yaml"
    result = snakemake(tmp_path, study, "--", "estimate_cost")
    assert result.returncode == 0, result.stdout + result.stderr
    table = (tmp_path / "results/tables/cost-estimate.csv").read_text()
    # Weights of 1.24, 3.21 and 8.03 thousand million parameters in two bytes each.
    for size in ("2.4716", "6.4254", "16.0605"):
        assert f",{size}" in table
    lines = (HOME / "workflow/docs/cluster.md").read_text().splitlines()
    shown = [line for line in lines if re.match(r"\| [`\d]", line)]
    assert shown == [*_by_stage(tmp_path), *_by_gpus(tmp_path)]


def _by_stage(folder):
    costs = pl.read_csv(folder / "results/tables/cost-estimate.csv").fill_null(0)
    peaks = pl.col("longest_job_hours", "peak_memory_gb").max()
    sums = pl.col("jobs", "gpu_hours", "moved_gb").sum()
    stages = costs.group_by("stage", maintain_order=True).agg(sums, peaks)
    for row in stages.rows(named=True):
        minutes = 60 * row["longest_job_hours"]
        memory, moved = row["peak_memory_gb"], row["moved_gb"]
        cells = f"{row['gpu_hours']:.1f} | {minutes:.0f} | {memory:.0f} | {moved:.0f}"
        yield f"| `{row['stage']}` | {row['jobs']} | {cells} |"


def _by_gpus(folder):
    times = pl.read_csv(folder / "results/tables/cost-schedule.csv")
    for row in times.rows(named=True):
        yield f"| {row['gpus']} | {row['hours']:.1f} | {row['busy_percent']:.0f} % |"
