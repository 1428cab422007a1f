"""What a study does: every job that runs a model, and how often it runs it.

Counted from the configuration alone, so that a study's costs are known beforehand.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, product
from math import ceil

from circuit_transfer.circuits.head_roles import MOST, SCREENED
from circuit_transfer.circuits.methods import (
    Nodes,
    has_run_gradients,
    method_of,
    method_passes,
    step_shares,
    steps_of,
)
from circuit_transfer.models.shape import FLOAT32_BYTES
from circuit_transfer.study.checks import studied_models, studied_targets
from circuit_transfer.study.convergence import compared_counts, compared_methods
from circuit_transfer.study.distillation_work import distillation_work
from circuit_transfer.study.edge_transfer_work import edge_transfer_work
from circuit_transfer.study.edge_work import edge_work
from circuit_transfer.study.learning import learning_methods
from circuit_transfer.study.rankings import count_circuits, count_rankings
from circuit_transfer.study.work import (
    Work,
    available,
    in_a_pass,
    with_comparisons,
)
from circuit_transfer.transfer.controls import TARGET_ONLY, other_task, trained_controls
from circuit_transfer.transfer.maps import (
    CARRIED,
    STITCHED,
    TRAINED_MAPS,
    fits,
    fitted_maps,
)
from circuit_transfer.transfer.training_sets import (
    family_of,
    study_families,
    training_sets,
    training_tasks,
)

COMPARING = "compare_steps"


def study_work(config: Mapping, nodes: Mapping[str, Nodes]) -> list[Work]:
    """Return every job of a study that runs a model.

    A task is assumed to have as many usable pairs as requested, so that counts are
    upper bounds where it has fewer. A map by lineage is counted for every pair.

    Args:
        config: a valid configuration, defaults filled in.
        nodes: the nodes of every model that the study uses.
    """
    stages = (_baselines, _attributions, _step_comparisons, _stitched)
    stages += (_alignments, _free_masks, _evaluations, edge_work, _heads)
    stages += (edge_transfer_work, distillation_work)
    return list(chain.from_iterable(stage(config, nodes) for stage in stages))


def _baselines(config: Mapping, nodes: Mapping[str, Nodes]) -> Iterator[Work]:
    study, settings = config["study"], config["evaluation"]
    models = studied_models(study, config["models"])
    for model, task in product(models, study["tasks"]):
        yield Work(
            stage="measure_baseline",
            model=model,
            pairs={task: available(config, task, "test", settings["examples"])},
            # The clean and the corrupted prompt.
            forwards=2,
            forward_backwards=0,
            batch_size=in_a_pass(settings),
            copies=0,
            logits=2,
        )


def _attributions(config: Mapping, nodes: Mapping[str, Nodes]) -> Iterator[Work]:
    count = config["attribution"]["ig_steps"]
    methods = config["study"]["methods"]
    return _scored("attribute_nodes", methods, [count], config, nodes)


def _step_comparisons(config: Mapping, nodes: Mapping[str, Nodes]) -> Iterator[Work]:
    methods, counts = compared_methods(config), compared_counts(config)
    return _scored(COMPARING, methods, counts, config, nodes)


def _scored(
    stage: str,
    methods: Sequence[str],
    counts: Sequence[int],
    config: Mapping,
    nodes: Mapping[str, Nodes],
) -> Iterator[Work]:
    """Yield the jobs that score nodes with one or several numbers of steps."""
    settings, tasks = config["attribution"], config["study"]["tasks"]
    models = studied_models(config["study"], config["models"])
    steps = len(step_shares(counts))
    for model, method, task in product(models, methods, tasks):
        forwards, forward_backwards = method_passes(method, nodes[model], steps)
        yield Work(
            stage=stage,
            model=model,
            pairs={task: available(config, task, "train", settings["examples"])},
            # The mean over the task takes a run of its prompts.
            forwards=forwards + (settings["ablation"] == "mean"),
            forward_backwards=forward_backwards,
            layers=method_of(method).layers,
            batch_size=in_a_pass(settings),
            # Clean, corrupted, their gradient, and the sums of gradients.
            copies=3 + len(counts),
            logits=2,
            written_bytes=len(counts) * nodes[model].count * FLOAT32_BYTES,
        )


def _stitched(config: Mapping, nodes: Mapping[str, Nodes]) -> Iterator[Work]:
    """Yield the jobs that stitch two models; the source runs next to the target."""
    study, settings = config["study"], config["attribution"]
    tasks, compared = study["tasks"], config["alignment"]["compare"]
    families = study_families(tasks, study["families"])
    gradients = [each for each in study["methods"] if has_run_gradients(each)]
    jobs = (
        list(product(study["transfers"], tasks, [None])) if STITCHED in compared else []
    )
    if CARRIED in compared:
        jobs += product(study["transfers"], tasks, gradients)
    for pair, task, method in jobs:
        family, seeds = family_of(task, families), study["seeds"]
        others = [each for each in tasks if family_of(each, families) != family]
        # Of another family, a task that two seeds choose runs once.
        chosen = {other_task(task, others, seed=seed) for seed in seeds if others}
        controls = len(seeds) * (1 + bool(others))
        steps = steps_of(method, settings["ig_steps"]) if method else 0
        n_source, n_target = (nodes[pair[role]].count for role in ("source", "target"))
        of_target = Work(
            stage="carry_gradients" if method else "stitch_alignment",
            model=pair["target"],
            pairs={task: available(config, task, "train", settings["examples"])},
            # Clean and corrupted; clean again for the gradients and for all controls.
            forwards=4 if method else 2,
            forward_backwards=0,
            batch_size=in_a_pass(settings),
            # In float32, node outputs, the stream and what is mapped into it;
            # in float64, the regressions at all points.
            copies=8 if method else 6,
            logits=2,
            holds_all=True,
            written_bytes=FLOAT32_BYTES
            * n_target
            * (2 + controls if method else n_source + len(TARGET_ONLY)),
        )
        yield of_target
        yield replace(
            of_target,
            model=pair["source"],
            forwards=2,
            # The control of another family: as if its task had as many pairs.
            forward_backwards=steps * (1 + len(chosen)),
            written_bytes=0,
            beside=True,
        )


def _alignments(config: Mapping, nodes: Mapping[str, Nodes]) -> Iterator[Work]:
    study, settings = config["study"], config["alignment"]
    families = study_families(study["tasks"], study["families"])
    sets = training_sets(study["tasks"], families)
    for pair, _, name in product(study["transfers"], study["methods"], sets):
        tasks = training_tasks(name, study["tasks"], families)
        share = ceil(settings["examples"] / len(tasks))
        maps = fitted_maps(name, settings["map"], settings["compare"])
        fitted = fits(maps, trained_controls(name, settings["controls"]))
        trained = sum(each in TRAINED_MAPS for each, _ in fitted)
        matrix = nodes[pair["source"]].count * nodes[pair["target"]].count
        # Of trained maps, what training starts from too.
        started = sum(name in TRAINED_MAPS for name in maps)
        written = len(study["seeds"]) * (len(fitted) + started) * matrix
        of_target = _fit(
            "fit_alignment", pair["target"], config, tasks, share, trained, written
        )
        yield from with_comparisons(of_target, pair["source"], maps, config)


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
    steps = settings["epochs"] * len(config["study"]["seeds"])
    return Work(
        stage=stage,
        model=target,
        pairs={task: available(config, task, "train", share) for task in tasks},
        forwards=2,
        forward_backwards=steps * fits,
        batch_size=in_a_pass(settings),
        copies=1 if settings["intervention"] == "circuit" else 2,
        logits=2,
        holds_all=True,
        written_bytes=numbers * FLOAT32_BYTES,
    )


def _evaluations(config: Mapping, nodes: Mapping[str, Nodes]) -> Iterator[Work]:
    study, tasks = config["study"], config["study"]["tasks"]
    methods = study["methods"]
    targets = studied_targets(study, config["models"])
    # How many rankings, and of how many of them the complements are measured as well.
    one, random = (1, 1), (config["evaluation"]["random_rankings"], 0)
    jobs = [
        ("evaluate_gold", *each[:2], one) for each in product(targets, tasks, methods)
    ]
    jobs += [("evaluate_random", *each, random) for each in product(targets, tasks)]
    if study["transfers"]:
        # They are the same for every pair.
        for task, method in product(tasks, methods):
            rankings = count_rankings(task, method, config)
            jobs += [
                ("evaluate_aligned", pair["target"], task, rankings)
                for pair in study["transfers"]
            ]
    for circuit in config["evaluation"]["circuits"].values():
        jobs.append(("evaluate_imported", circuit["target"], circuit["task"], one))
    for stage, target, task, rankings in jobs:
        yield _evaluation(stage, target, task, rankings, config, nodes[target].count)


def _evaluation(
    stage: str,
    target: str,
    task: str,
    rankings: tuple[int, int],
    config: Mapping,
    n_nodes: int,
) -> Work:
    settings = config["evaluation"]
    circuits = count_circuits(sum(rankings), n_nodes, settings["proportions"])
    # In addition to the circuits, the clean run and one of the prompts that ablate.
    ablated = [each != "zero" for each in settings["ablations"]]
    forwards = len(ablated) * (circuits + 1) + sum(ablated)
    return Work(
        stage=stage,
        model=target,
        pairs={task: available(config, task, "test", settings["examples"])},
        forwards=forwards if sum(rankings) else 0,
        forward_backwards=0,
        batch_size=in_a_pass(settings),
        copies=1,
        logits=2,
    )


def _heads(config: Mapping, nodes: Mapping[str, Nodes]) -> Iterator[Work]:
    """Yield the jobs that ablate heads: each alone, and some with a strong one."""
    study, settings = config["study"], config["evaluation"]
    learning = learning_methods(config)
    models = studied_models(study, config["models"]) if learning else []
    of_mean = settings["ablations"][0] == "mean"
    for model, task in product(models, study["tasks"]):
        heads = nodes[model].count - nodes[model].sites // 2
        strong = min(heads, 2 * MOST)
        named = config["evaluation"]["heads"].get(model)
        chosen = len(named) if named else min(heads, 2 * MOST + SCREENED)
        # Of all heads alone, with a run of the prompts that ablate for each gradient.
        alone, _ = method_passes("exact", nodes[model], 1)
        gradients = 1 if named else 2 + strong
        together = 2 + strong * (1 + chosen)
        whole = gradients + together + 3 * of_mean
        yield Work(
            stage="find_heads",
            model=model,
            pairs={task: available(config, task, "test", settings["examples"])},
            forwards=alone + whole,
            forward_backwards=gradients,
            layers=(method_of("exact").layers * alone + whole) / (alone + whole),
            batch_size=in_a_pass(settings),
            copies=3,
            logits=2,
        )
