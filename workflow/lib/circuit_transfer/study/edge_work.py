"""The jobs of a study that score and measure edges, counted from its configuration."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product

from circuit_transfer.artifacts.edge_scores import keeps_examples
from circuit_transfer.circuits.edge_controls import GROWN
from circuit_transfer.circuits.methods import Nodes, method_of, method_passes, steps_of
from circuit_transfer.models.shape import FLOAT32_BYTES
from circuit_transfer.study.checks import studied_models, studied_targets
from circuit_transfer.study.edges import is_exact, verified_methods
from circuit_transfer.study.learning import (
    attributing_methods,
    circuits_at_once,
    learned_settings,
    learning_methods,
    mask_copies,
    scoring_methods,
    training_passes,
)
from circuit_transfer.study.rankings import count_circuits
from circuit_transfer.study.work import EdgeWork, Work, available, in_a_pass

# By signed and by absolute score: circuits, their complements, and random ones.
RANKINGS = 2 * (2 + len(GROWN))
DISCOGP = "discogp"
# Of every seed of a learned method: the circuits that it ranks, and those of its own
# sizes, with complements; and a random one for each size.
RANKED, OWN = 2, 3


def edge_work(config: Mapping, nodes: Mapping[str, Nodes]) -> Iterator[Work]:
    """Yield the jobs that score or measure edges; arguments as in `study_work`."""
    if config["study"]["edge_methods"]:
        yield from _attributions(config, nodes)
        yield from _verifications(config, nodes)
        yield from _trainings(config, nodes)
        yield from _evaluations(config, nodes)


def _attributions(config: Mapping, nodes: Mapping[str, Nodes]) -> Iterator[Work]:
    study, settings = config["study"], config["attribution"]
    models = studied_models(study, config["models"])
    for model, method, task in product(models, scoring_methods(config), study["tasks"]):
        of_model = nodes[model]
        steps = steps_of(method, settings["ig_steps"])
        forwards, forward_backwards = method_passes(method, of_model, steps)
        yield Work(
            stage="attribute_edges",
            model=model,
            pairs={task: available(config, task, "train", settings["examples"])},
            # The mean over the task takes a run of its prompts.
            forwards=forwards + (settings["ablation"] == "mean"),
            forward_backwards=forward_backwards,
            layers=method_of(method).layers,
            batch_size=in_a_pass(settings),
            copies=3,
            logits=2,
            written_bytes=_written(config, task, of_model),
            edges=(
                replace(_patching(config), scored=True)
                if is_exact(method)
                else EdgeWork(settings["kv"], of_model.edges, 1, steps, scored=True)
            ),
        )


def _patching(config: Mapping) -> EdgeWork:
    """Return what patching edges one by one takes: no other edge differs from a run."""
    return EdgeWork(config["attribution"]["kv"], carried=0, buffers=2)


def _written(config: Mapping, task: str, nodes: Nodes) -> int:
    """Return the size of a file of scores: two matrices, and scores by example."""
    settings = config["attribution"]
    examples = available(config, task, "train", settings["examples"])
    kept = keeps_examples(settings["keep_examples"], examples, nodes.edges)
    matrix = (nodes.count + 1) * nodes.readers * (FLOAT32_BYTES + 1)
    return matrix + kept * examples * nodes.edges * FLOAT32_BYTES // 2


def _verifications(config: Mapping, nodes: Mapping[str, Nodes]) -> Iterator[Work]:
    study, settings = config["study"], config["attribution"]
    models, methods = studied_models(study, config["models"]), verified_methods(config)
    for model, _, task in product(models, methods, study["tasks"]):
        yield Work(
            stage="verify_edges",
            model=model,
            pairs={task: available(config, task, "train", settings["examples"])},
            forwards=2 + min(settings["verify"], nodes[model].edges),
            forward_backwards=0,
            layers=method_of("eap-exact").layers,
            batch_size=in_a_pass(settings),
            copies=3,
            logits=2,
            edges=_patching(config),
        )


def _trainings(config: Mapping, nodes: Mapping[str, Nodes]) -> Iterator[Work]:
    study, settings = config["study"], config["pruning"]
    models, methods = studied_models(study, config["models"]), learning_methods(config)
    # By stage, how often a job trains: of all seeds, or on one resample of the pairs.
    jobs = [("learn_edges", len(study["seeds"]))]
    jobs += [("learn_resampled", 1)] * settings["resamples"]
    for model, method, task in product(models, methods, study["tasks"]):
        for stage, trainings in jobs:
            yield _training(config, method, task, model, nodes[model], stage, trainings)


def _training(
    config: Mapping,
    method: str,
    task: str,
    model: str,
    nodes: Nodes,
    stage: str,
    trainings: int,
) -> Work:
    settings = config["pruning"]
    pairs = available(config, task, "train", settings["examples"])
    forwards, forward_backwards = training_passes(config, method, pairs)
    at_once = circuits_at_once(config, learned_settings(config, method))
    return Work(
        stage=stage,
        model=model,
        pairs={task: pairs},
        # The mean over the task takes a run of its prompts.
        forwards=trainings * (forwards + (settings["ablation"] == "mean")),
        forward_backwards=trainings * forward_backwards,
        batch_size=settings["batch_size"],
        copies=0,
        # Of both runs; the divergence takes as many again.
        logits=4,
        holds_all=True,
        written_bytes=trainings * _learned_bytes(config, nodes),
        circuits=at_once * method_of(method).passes(nodes, 1)[1],
        splits=method != DISCOGP,
        masks=mask_copies(learned_settings(config, method)),
        edges=EdgeWork(config["attribution"]["kv"], nodes.edges, 1, cached=2),
    )


def _learned_bytes(config: Mapping, nodes: Nodes) -> int:
    """Return the size of a file of circuits: matrices of every size and the first."""
    sizes = len(config["pruning"]["sizes"])
    matrix = (nodes.count + 1) * nodes.readers
    return matrix * ((1 + sizes) * (FLOAT32_BYTES + 1) + 1)


def _beside_learned(config: Mapping) -> dict[str, tuple[list, list]]:
    """Return stages that compare all methods at the sizes of learned circuits.

    By stage as in `_evaluations`; all circuits have their complements measured.
    """
    learning, attributing = learning_methods(config), attributing_methods(config)
    study, sizes = config["study"], config["pruning"]["sizes"]
    # Edges by signed and by absolute score, and nodes.
    ranked = 2 * (2 * len(attributing) + len(study["methods"]))
    trained = 2 * (len(study["seeds"]) * len(learning) + len(attributing))
    # Attribution also at DiscoGP's own size.
    with_weights = [(trained, sizes), (2 * len(attributing), sizes[:1])]
    return {
        "evaluate_at_sizes": ([None] if learning else [], [(ranked, sizes)]),
        "evaluate_weights": ([None] if DISCOGP in learning else [], with_weights),
    }


def _evaluations(config: Mapping, nodes: Mapping[str, Nodes]) -> Iterator[Work]:
    study, settings = config["study"], config["evaluation"]
    targets, tasks = studied_targets(study, config["models"]), study["tasks"]
    sizes, seeds = settings["proportions"], len(study["seeds"])
    learned = [(seeds * RANKED, sizes), (seeds * OWN, config["pruning"]["sizes"])]
    # By stage, the methods, and of how many rankings circuits of which sizes run.
    stages = {
        "evaluate_edges": (attributing_methods(config), [(RANKINGS, sizes)]),
        "evaluate_learned": (learning_methods(config), learned),
        **_beside_learned(config),
        "evaluate_random_edges": ([None], [(settings["random_rankings"], sizes)]),
        "evaluate_lifted": (study["methods"], [(1, sizes)]),
    }
    for stage, (methods, rankings) in stages.items():
        for target, task, _ in product(targets, tasks, methods):
            yield measured_edges(stage, target, task, rankings, config, nodes[target])


def measured_edges(
    stage: str,
    target: str,
    task: str,
    rankings: Sequence[tuple[int, Sequence[float]]],
    config: Mapping,
    nodes: Nodes,
) -> Work:
    """Return the job that measures circuits of edges.

    Args:
        stage: the rule.
        target: the model.
        task: of which the prompts are.
        rankings: how many have circuits of which sizes.
        config: a valid configuration, defaults filled in.
        nodes: of the model.
    """
    settings = config["evaluation"]
    counts = [count_circuits(n, nodes.edges, sizes) for n, sizes in rankings]
    # The empty circuit runs once.
    circuits = sum(counts) - len(counts) + 1
    # In addition to the circuits, the clean run and one of the prompts that ablate.
    ablated = [each != "zero" for each in settings["ablations"]]
    forwards = len(ablated) * (circuits + 1) + sum(ablated)
    return Work(
        stage=stage,
        model=target,
        pairs={task: available(config, task, "test", settings["examples"])},
        forwards=forwards if any(n for n, _ in rankings) else 0,
        forward_backwards=0,
        batch_size=in_a_pass(settings),
        copies=1,
        logits=2,
        edges=EdgeWork(config["attribution"]["kv"], nodes.edges, buffers=1),
    )
