"""The numbers of steps of integrated gradients that a study compares."""

from collections.abc import Mapping
from typing import Any

from circuit_transfer.circuits.methods import node_methods, takes_steps


def compared_counts(config: Mapping) -> list[int]:
    """Return the numbers of steps whose scores are compared, in order; may be none."""
    varied = config["sensitivity"].get("ig_steps", [])
    return sorted({*varied, config["attribution"]["ig_steps"]}) if varied else []


def compared_methods(config: Mapping) -> list[str]:
    """Return the methods of which numbers of steps are compared."""
    methods = config["study"]["methods"] if compared_counts(config) else []
    return [method for method in methods if takes_steps(method)]


def comparison_settings(config: Mapping) -> dict[str, Any]:
    """Return how nodes are scored with every number of steps."""
    keys = ["ablation", "batch_size", "examples"]
    how = {key: config["attribution"][key] for key in keys}
    return {**how, "counts": compared_counts(config)}


def check_step_counts(config: Mapping) -> None:
    """Check that numbers of steps that are compared are several, and have a method."""
    counts = compared_counts(config)
    if len(counts) == 1:
        raise ValueError(
            f"sensitivity.ig_steps: {counts[0]} alone, which is attribution.ig_steps "
            "too; expected at least one other number of steps"
        )
    if counts and not compared_methods(config):
        methods = [each for each in node_methods() if takes_steps(each)]
        raise ValueError(
            "sensitivity.ig_steps: no method of study.methods "
            f"({', '.join(config['study']['methods']) or 'none'}) integrates over "
            f"steps; expected {' or '.join(methods)} among them"
        )
