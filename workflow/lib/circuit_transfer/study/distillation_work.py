"""The jobs of a study that distil, counted from its configuration."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import product
from math import ceil

from circuit_transfer.circuits.methods import Nodes, method_passes, steps_of
from circuit_transfer.distillation.frames import PATHS
from circuit_transfer.distillation.matchings import MATCHINGS
from circuit_transfer.distillation.variants import (
    CKA,
    EVERYTHING,
    LOGITS,
    VARIANTS,
)
from circuit_transfer.study.distillation import (
    SECTION,
    distillations,
    distilled_tasks,
    measuring_settings,
    training_settings,
)
from circuit_transfer.study.work import EdgeWork, Work, available, in_a_pass

# Groups of heads that path patching finds, each by patching every head.
GROUPS = 4
# About the share of a layer's weights that are of its heads: where some heads are
# trained, the gradients of all of these are computed.
ATTENTION = 1 / 3
# Students are trained on every training pair that there is.
ALL_PAIRS = 10**9


def distillation_work(config: Mapping, nodes: Mapping[str, Nodes]) -> Iterator[Work]:
    """Yield the jobs that distil; arguments as in `workload.study_work`."""
    for each in distillations(config):
        (teacher,), (student,) = each["teacher"], each["student"]
        for model, task in product((teacher, student), each["task"]):
            yield _critical(config, nodes[model], model, task)
        for task, matching in product(each["task"], each["matching"]):
            yield from _matching(config, teacher, student, task, matching)
        for task, variant in product(each["task"], each["variant"]):
            for _ in each["seed"]:
                yield from _training(config, teacher, student, task, variant)
            yield from _measuring(config, nodes, teacher, student, task)


def _critical(config: Mapping, nodes: Nodes, model: str, task: str) -> Work:
    heads, attribution = config[SECTION]["heads"], config["attribution"]
    n_heads = nodes.count - nodes.sites // 2
    # The whole model, the means that ablate, and each head alone.
    forwards = 2 + n_heads
    if heads["by"] == PATHS:
        # The pairs that it answers; both prompts for every group.
        forwards += 1 + GROUPS * (2 + n_heads)
    return Work(
        stage="find_critical_heads",
        model=model,
        pairs={task: available(config, task, "train", heads["examples"])},
        forwards=forwards,
        forward_backwards=0,
        batch_size=in_a_pass(attribution),
        copies=3,
        logits=2,
    )


def _matching(
    config: Mapping, teacher: str, student: str, task: str, matching: str
) -> Iterator[Work]:
    runs = "activations" in MATCHINGS[matching].needs
    examples = config[SECTION]["heads"]["examples"]
    of_student = Work(
        stage="match_heads",
        model=student,
        pairs={task: available(config, task, "train", examples)},
        forwards=int(runs),
        forward_backwards=0,
        batch_size=in_a_pass(config["attribution"]),
        copies=2,
        logits=1,
        holds_all=runs,
    )
    yield of_student
    yield replace(of_student, model=teacher, beside=True)


def _training(
    config: Mapping, teacher: str, student: str, task: str, variant: str
) -> Iterator[Work]:
    how, settings = VARIANTS[variant], training_settings(config)
    pairs = available(config, task, "train", ALL_PAIRS)
    tested = available(config, task, "test", config["evaluation"]["examples"])
    probes = 1 + ceil(settings.steps / settings.probe_every)
    # Of the student, in passes of every training pair: those of the probes, and of
    # the features before the first step.
    before = ceil((probes * tested + settings.queue) / pairs)
    steps = ceil(settings.steps * min(settings.batch_size, pairs) / pairs)
    of_student = Work(
        stage="distil_student",
        model=student,
        pairs={task: pairs},
        forwards=before,
        forward_backwards=steps,
        batch_size=settings.batch_size,
        copies=1,
        logits=2,
        trained=1.0 if how.trains == EVERYTHING else ATTENTION,
        writes_weights=True,
    )
    yield of_student
    # Its features are computed once, as those of the test pairs are; its logits in
    # every step.
    features = CKA in how.terms
    yield replace(
        of_student,
        model=teacher,
        forwards=1 + features + steps * (LOGITS in how.terms),
        forward_backwards=0,
        trained=0.0,
        writes_weights=False,
        beside=True,
    )


def _measuring(
    config: Mapping, nodes: Mapping[str, Nodes], teacher: str, student: str, task: str
) -> Iterator[Work]:
    """Yield the job that measures the students of a variant, as they are and trained.

    On every task the answers, on their own also the circuit and the matched heads.
    """
    settings, tasks = measuring_settings(config), distilled_tasks(config)
    seeds = len(config[SECTION]["seeds"])
    batch_sizes = [in_a_pass(config[each]) for each in ("attribution", "evaluation")]
    forwards, forward_backwards = 0, 0
    scoring = settings["node_scoring"] | settings["edge_scoring"]
    for method, how in scoring.items():
        steps = steps_of(method, how["ig_steps"])
        without, with_gradient = method_passes(method, nodes[student], steps)
        forwards += without + (how["ablation"] == "mean")
        forward_backwards += with_gradient
    # Whole and as a circuit with its means, and the matched heads.
    own = len(tasks) + 4
    every = (settings["held_out"], *scoring.values())
    examples = max(each["examples"] for each in every)
    kv = config["attribution"]["kv"] if settings["edge_scoring"] else None
    of_student = Work(
        stage="evaluate_student",
        model=student,
        pairs={task: available(config, task, "train", examples)},
        forwards=(1 + seeds) * own + seeds * forwards,
        forward_backwards=seeds * forward_backwards,
        batch_size=max(batch_sizes),
        copies=3,
        logits=2,
        edges=EdgeWork(kv, nodes[student].edges, 1, 1) if kv else None,
    )
    yield of_student
    yield replace(
        of_student,
        model=teacher,
        forwards=own + 1 + seeds,
        forward_backwards=0,
        edges=None,
        beside=True,
    )
