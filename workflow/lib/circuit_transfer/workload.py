"""What a study does: every job that runs a model, and how often it runs it.

Counted from the configuration alone, so that a study's costs are known beforehand.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, product
from math import ceil

import numpy as np

from circuit_transfer.artifacts import Alignment, Scores
from circuit_transfer.checks import studied_models, studied_targets
from circuit_transfer.controls import (
    TRAINED_CONTROLS,
    evaluated_training_sets,
    trained_controls,
    training_sets,
    training_tasks,
)
from circuit_transfer.nodes import count_kept, node_names
from circuit_transfer.projection import projected_rankings

FLOAT32_BYTES = 4
# About how many tokens a prompt has, by the name of its generator or of its MIB task:
# of Llama-3 and Qwen-2.5 tokenizers, which differ by a few tokens.
PROMPT_TOKENS = {
    "ioi": 22,
    "mcqa": 40,
    "copycolors_mcqa": 40,
    "arithmetic-addition": 16,
    "arithmetic_addition": 16,
    "arithmetic-subtraction": 16,
    "arithmetic_subtraction": 16,
    "arc-easy": 80,
    "arc_easy": 80,
    "arc-challenge": 100,
    "arc_challenge": 100,
}
OTHER_PROMPT_TOKENS = 50  # of a task from a file, which is not read for an estimate


@dataclass(frozen=True)
class Nodes:
    """How many nodes a model has, and at how many sites."""

    count: int
    sites: int


@dataclass(frozen=True)
class Work:
    """One job of a stage that runs a model.

    Attributes:
        stage: the rule.
        model: the model that runs.
        pairs: how many pairs, by task.
        forwards: passes without a backward pass, of every pair.
        forward_backwards: passes with one, of every pair.
        batch_size: pairs in one pass.
        copies: how often what all nodes write is held at once.
        logits: how many times logits `(vocabulary,)` are held at once.
        holds_all: whether they are held of all pairs, or only of a batch.
        written_bytes: size of the tensors that the job writes.
    """

    stage: str
    model: str
    pairs: Mapping[str, int]
    forwards: int
    forward_backwards: int
    batch_size: int
    copies: int
    logits: int
    holds_all: bool = False
    written_bytes: int = 0


def study_work(config: Mapping, nodes: Mapping[str, Nodes]) -> list[Work]:
    """Return every job of a study that runs a model.

    A task is taken to have as many usable pairs as are asked for, so that counts are
    upper bounds where it has fewer.

    Args:
        config: a valid configuration, defaults filled in.
        nodes: the nodes of every model that the study uses.
    """
    stages = (_attributions, _alignments, _free_masks, _evaluations)
    return list(chain.from_iterable(stage(config, nodes) for stage in stages))


def prompt_tokens(tasks: Mapping[str, Mapping]) -> dict[str, int]:
    """Return about how many tokens a prompt of every task of a config has."""
    origins = {
        name: entry.get("mib") or entry.get("generator")
        for name, entry in tasks.items()
    }
    return {
        name: PROMPT_TOKENS.get(origin, OTHER_PROMPT_TOKENS)
        for name, origin in origins.items()
    }


def method_passes(method: str, nodes: Nodes, ig_steps: int) -> tuple[int, int]:
    """Return how often a method runs a pair, without and with a backward pass.

    Raises:
        ValueError: the method is unknown.
    """
    passes = {
        "nap": (1, 1),
        "nap-ig-inputs": (1, ig_steps),
        "nap-ig-activations": (2, nodes.sites * ig_steps),
        "exact": (2 + nodes.count, 0),
    }
    if method not in passes:
        raise ValueError(f"method {method!r} is not one of {', '.join(passes)}")
    return passes[method]


def count_circuits(rankings: int, n_nodes: int, proportions: Sequence[float]) -> int:
    """Return how many circuits run at most, the empty one among them.

    Sizes of equally many nodes run once, and the whole model is not run as a circuit.
    Rankings that agree on their first nodes save more.
    """
    sizes = {count_kept(each, n_nodes) for each in proportions} - {0, n_nodes}
    return 1 + rankings * len(sizes)


def count_rankings(
    task: str, tasks: Sequence[str], seeds: Sequence[int], controls: Sequence[str]
) -> int:
    """Return how many rankings the alignments and controls of one task give.

    They are made, from the smallest artefacts there can be, and counted.
    """
    nodes = node_names(1, 1)
    square = np.zeros((len(nodes), len(nodes)), np.float32)
    trained = [f"alignment/{control}" for control in TRAINED_CONTROLS]
    tensors = dict.fromkeys(["alignment", "initial", *trained], square)
    names = {"source_nodes": nodes, "target_nodes": nodes}
    fits = [
        Alignment(tensors, {**names, "training_set": each, "seed": seed})
        for each in evaluated_training_sets(task, tasks)
        for seed in seeds
    ]
    masks = [Alignment(tensors, {"seed": seed}) for seed in seeds]
    scores = Scores(square[0], nodes, {"task": task})
    return len(projected_rankings(scores, fits, masks, controls=controls))


def _attributions(config: Mapping, nodes: Mapping[str, Nodes]) -> Iterator[Work]:
    settings = config["attribution"]
    models = studied_models(config["study"], config["models"])
    study = config["study"]
    for model, method, task in product(models, study["methods"], study["tasks"]):
        forwards, forward_backwards = method_passes(
            method, nodes[model], settings["ig_steps"]
        )
        yield Work(
            stage="attribute_nodes",
            model=model,
            pairs={task: _available(config, task, "train", settings["examples"])},
            forwards=forwards,
            forward_backwards=forward_backwards,
            batch_size=settings["batch_size"],
            # Clean, corrupted, their gradient, and the sum of gradients.
            copies=4,
            logits=2,
            written_bytes=nodes[model].count * FLOAT32_BYTES,
        )


def _alignments(config: Mapping, nodes: Mapping[str, Nodes]) -> Iterator[Work]:
    study, settings = config["study"], config["alignment"]
    sets = training_sets(study["tasks"])
    for pair, _, name in product(study["transfers"], study["methods"], sets):
        tasks = training_tasks(name, study["tasks"])
        share = ceil(settings["examples"] / len(tasks))
        trained = 1 + len(trained_controls(name, settings["controls"]))
        matrix = nodes[pair["source"]].count * nodes[pair["target"]].count
        # Beside the trained ones, the matrix that training starts from.
        written = len(study["seeds"]) * (trained + 1) * matrix
        yield _fit(
            "fit_alignment", pair["target"], config, tasks, share, trained, written
        )


def _free_masks(config: Mapping, nodes: Mapping[str, Nodes]) -> Iterator[Work]:
    study, settings = config["study"], config["alignment"]
    if "free-mask" not in settings["controls"] or not study["transfers"]:
        return
    for target, task in product(
        studied_targets(study, config["models"]), study["tasks"]
    ):
        written = len(study["seeds"]) * 2 * nodes[target].count
        examples = settings["examples"]
        yield _fit("fit_free_mask", target, config, [task], examples, 1, written)


def _fit(
    stage: str,
    target: str,
    config: Mapping,
    tasks: Sequence[str],
    share: int,
    fits: int,
    numbers: int,
) -> Work:
    """Return the job that trains `fits` matrices a seed on `share` pairs a task."""
    settings = config["alignment"]
    return Work(
        stage=stage,
        model=target,
        pairs={task: _available(config, task, "train", share) for task in tasks},
        forwards=2,
        forward_backwards=settings["epochs"] * len(config["study"]["seeds"]) * fits,
        batch_size=settings["batch_size"],
        copies=2,
        logits=1,
        holds_all=True,
        written_bytes=numbers * FLOAT32_BYTES,
    )


def _evaluations(config: Mapping, nodes: Mapping[str, Nodes]) -> Iterator[Work]:
    study, seeds = config["study"], config["study"]["seeds"]
    tasks, methods = study["tasks"], study["methods"]
    targets = studied_targets(study, config["models"])
    jobs = [("evaluate_gold", *each, 1) for each in product(targets, tasks, methods)]
    random = config["evaluation"]["random_rankings"]
    jobs += [("evaluate_random", *each, "", random) for each in product(targets, tasks)]
    controls = config["alignment"]["controls"]
    for pair, task, method in product(study["transfers"], tasks, methods):
        rankings = count_rankings(task, tasks, seeds, controls)
        jobs.append(("evaluate_aligned", pair["target"], task, method, rankings))
    for circuit in config["evaluation"]["circuits"].values():
        job = (circuit["target"], circuit["task"], "", 1)
        jobs.append(("evaluate_imported", *job))
    for stage, target, task, _, rankings in jobs:
        yield _evaluation(stage, target, task, rankings, config, nodes[target].count)


def _evaluation(
    stage: str, target: str, task: str, rankings: int, config: Mapping, n_nodes: int
) -> Work:
    settings = config["evaluation"]
    circuits = count_circuits(rankings, n_nodes, settings["proportions"])
    return Work(
        stage=stage,
        model=target,
        pairs={task: _available(config, task, "test", settings["examples"])},
        # Beside the circuits, the clean and the corrupted run.
        forwards=circuits + 2 if rankings else 0,
        forward_backwards=0,
        batch_size=settings["batch_size"],
        copies=1,
        logits=2,
    )


def _available(config: Mapping, task: str, split: str, wanted: int) -> int:
    return min(wanted, config["tasks"][task].get(split, wanted))
