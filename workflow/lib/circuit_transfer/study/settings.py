"""Which settings of a configuration a stage gets, in the form that its script takes."""

from collections.abc import Mapping
from typing import Any

from circuit_transfer.circuits.methods import steps_of, takes_steps
from circuit_transfer.prompts.frame import SPLITS


def integration_steps(config: Mapping, method: str) -> int:
    """Return how many steps a method integrates over: one where it does not."""
    return steps_of(method, config["attribution"]["ig_steps"])


def attribution_settings(config: Mapping, method: str) -> dict[str, Any]:
    """Return how nodes are scored by a method."""
    keys = ["examples", "batch_size", "ablation"]
    how = {key: config["attribution"][key] for key in keys}
    return {"ig_steps": integration_steps(config, method), **how}


def edge_attribution_settings(config: Mapping, method: str) -> dict[str, Any]:
    """Return how edges are scored by a method."""
    keys = ["kv", "keep_examples"]
    keys += ["grid"] if takes_steps(method) else []
    own = {key: config["attribution"][key] for key in keys}
    return attribution_settings(config, method) | own


def ablated_settings(config: Mapping) -> dict[str, Any]:
    """Return how circuits of given sizes are evaluated on a target."""
    settings = evaluation_settings(config)
    return {key: value for key, value in settings.items() if key != "proportions"}


def verifying_settings(config: Mapping) -> dict[str, Any]:
    """Return how edges are patched one by one to verify their scores."""
    keys = ["examples", "batch_size", "ablation", "verify"]
    return {key: config["attribution"][key] for key in keys}


def split_entry(config: Mapping, task: str, split: str) -> dict[str, Any]:
    """Return the entry of a task without the number of pairs of the other split."""
    others = {each for each in SPLITS if each != split}
    entry = config["tasks"][task]
    return {key: value for key, value in entry.items() if key not in others}


def pairs_settings(config: Mapping, stage: str) -> dict[str, Any]:
    """Return how many pairs a stage reads, and how many it takes at once.

    Snakemake records the values of params without their names: numbers that could be
    taken for each other need names inside of one param.
    """
    return {key: config[stage][key] for key in ["examples", "batch_size"]}


def prior_settings(config: Mapping) -> dict[str, Any]:
    """Return what maps need to know which nodes are alike.

    See `correspondences.node_priors`.
    """
    prior = config["alignment"]["prior"]
    keys = ["depth_width", "temperature", "correspondence", "threshold"]
    return {key: prior[key] for key in keys}


def fit_settings(config: Mapping) -> dict[str, Any]:
    """Return what `objectives.FitSettings` needs."""
    alignment = config["alignment"]
    prior = alignment["prior"]
    keys = ["epochs", "intervention", "learning_rate", "objective", "sparsity"]
    by_area = alignment["objective"] == "area"
    return {
        **{key: alignment[key] for key in keys},
        "initial_scale": alignment["initial_scale"],
        "proportions": config["evaluation"]["proportions"] if by_area else [],
        "prior_penalty": prior["penalty"],
        "prior_scale": prior["scale"],
    }


def evaluation_settings(config: Mapping) -> dict[str, Any]:
    """Return how circuits are measured."""
    keys = ["ablations", "proportions", "examples", "batch_size"]
    return {key: config["evaluation"][key] for key in keys}


def heads_settings(config: Mapping) -> dict[str, Any]:
    """Return how heads are ablated to find those that matter."""
    settings = {key: config["evaluation"][key] for key in ["examples", "batch_size"]}
    return {"ablation": config["evaluation"]["ablations"][0], **settings}


def varied_settings(config: Mapping) -> dict[str, Any]:
    """Return what `sensitivity` varies, and what stays as it is meanwhile."""
    attribution, alignment = config["attribution"], config["alignment"]
    evaluation = config["evaluation"]
    return {
        "fit": fit_settings(config),
        "map": alignment["map"],
        "prior": prior_settings(config),
        "transform": alignment["transform"],
        "seeds": config["study"]["seeds"],
        "ig_steps": attribution["ig_steps"],
        "scored_examples": attribution["examples"],
        "scoring_batch_size": attribution["batch_size"],
        "examples": alignment["examples"],
        "batch_size": alignment["batch_size"],
        "proportions": evaluation["proportions"],
        "measured_examples": evaluation["examples"],
        "measuring_batch_size": evaluation["batch_size"],
        "random_rankings": evaluation["random_rankings"],
        "attribution_ablation": attribution["ablation"],
        "evaluation_ablation": evaluation["ablations"][0],
    }
