"""Loads the workflow and makes one job of every rule, as its script would have it.

In a process of its own: Snakemake and the workflow change what they run in.
"""

import pickle
import sys
from pathlib import Path

import yaml
from snakemake.api import SnakemakeApi
from snakemake.iocontainers import ResourceList, Snakemake, Wildcards
from snakemake.settings.types import ConfigSettings, OutputSettings, ResourceSettings

HOME = Path(__file__).parents[1]
# Something of every kind that the default configuration lacks.
CIRCUIT = {"target": "llama-medium", "task": "ioi", "importances": "config.yaml"}
SETTINGS = {
    "models": {
        "remote": {"hub": "owner/name"},
        "quantised": {"gguf": "quantised.gguf"},
    },
    "evaluation": {"circuits": {"own": CIRCUIT}},
    "distillation": {"teacher": "llama-medium", "student": "llama-small"},
    "sensitivity": {"sparsity": [0.1, 1.0], "ig_steps": [5], "training_families": [1]},
}
WILDCARDS = {
    "model": "llama-small",
    "source": "llama-small",
    "target": "llama-medium",
    "task": "ioi",
    "method": "nap-ig-inputs",
    "n": "30",
    "resample": "1",
    "edge_method": "eap",
    "learned_method": "hap",
    "training_set": "without-ioi",
    "split": "train",
    "circuit": "own",
    "setting": "sparsity",
    "teacher": "llama-medium",
    "student": "llama-small",
    "matching": "cka",
    "variant": "matched-cka",
    "seed": "0",
    "benchmark": "growing",
}
MODELS = {
    "download_model": {"model": "remote"},
    "convert_gguf": {"model": "quantised"},
}


def make_jobs(
    folder: Path, snakefile: Path | str = HOME / "Snakefile"
) -> list[tuple[str, Snakemake]]:
    """Return the name of the script, and the job, of every rule that has one."""
    (folder / "settings.yaml").write_text(yaml.safe_dump(SETTINGS))
    files = [HOME / "config.yaml", folder / "settings.yaml"]
    with SnakemakeApi(OutputSettings()) as api:
        loaded = api.workflow(
            ResourceSettings(cores=1),
            ConfigSettings(configfiles=files),
            snakefile=Path(snakefile),
            workdir=folder,
        )
        rules = [rule for rule in loaded._workflow.rules if rule.script]
        return [(Path(rule.script).stem, make_job(rule)) for rule in rules]


def make_job(rule) -> Snakemake:
    """Return the job of a rule for one choice of its wildcards."""
    names = WILDCARDS | MODELS.get(Path(rule.script).stem, {})
    names = {name: names[name] for name in rule.wildcard_names}
    wildcards = Wildcards(fromdict=names)
    inputs, *_ = rule.expand_input(wildcards)
    outputs, _ = rule.expand_output(wildcards)
    params, _ = rule.expand_params(wildcards, inputs, outputs, None)
    logs = rule.expand_log(wildcards)
    nothing = (1, ResourceList(), logs, {}, rule.name, None)
    return Snakemake(inputs, outputs, params, wildcards, *nothing)


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.write_bytes(pickle.dumps(make_jobs(target.parent, *sys.argv[2:])))
