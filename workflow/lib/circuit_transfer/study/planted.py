"""What a study compares with the circuits that were planted in its models."""

from collections.abc import Sequence

from circuit_transfer.embedded.planted import settings
from circuit_transfer.generators import GENERATORS
from circuit_transfer.study.paths import paths
from circuit_transfer.study.study import Study


def planted_models(study: Study) -> dict[str, str]:
    """Return the models with a planted circuit, with the generator of their prompts."""
    entries = {name: study.config["models"][name] for name in study.models}
    return {
        name: settings.GENERATORS[entry["planted"]["construction"]]
        for name, entry in entries.items()
        if "planted" in entry
    }


def planted_tasks(study: Study) -> dict[str, str]:
    """Return the tasks that these models answer, with the kind of corrupted prompts."""
    answered = set(planted_models(study).values())
    return {
        task: entry.get("counterfactual")
        or GENERATORS[entry["generator"]].counterfactuals[0]
        for task, entry in study.config["tasks"].items()
        if task in study.tasks and entry.get("generator") in answered
    }


def planted_scores(study: Study) -> list[str]:
    """Return the edge scores of these models on the tasks that they answer."""
    return _paths(study, "edge-scores", edge_method=study.edge_methods)


def planted_masks(study: Study) -> list[str]:
    """Return the learned circuits of these models on the tasks that they answer."""
    own = {"learned_method": study.learned_methods, "seed": study.seeds}
    return _paths(study, "edge-masks", **own)


def planted_node_scores(study: Study) -> list[str]:
    """Return the node scores of these models on the tasks that they answer."""
    return _paths(study, "scores", method=study.methods)


def _paths(study: Study, pattern: str, **values: Sequence) -> list[str]:
    generators = {
        task: study.config["tasks"][task]["generator"] for task in planted_tasks(study)
    }
    found = []
    for model, generator in planted_models(study).items():
        tasks = [task for task, of_task in generators.items() if of_task == generator]
        found += paths(pattern, model=model, task=tasks, **values)
    return found
