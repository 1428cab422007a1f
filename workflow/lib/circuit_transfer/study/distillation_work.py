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
    LOGITS,
    VARIANTS,
)
from circuit_transfer.study.distillation import (
    SECTION,
    distillations,
    measuring_settings,
    training_settings,
)
from circuit_transfer.study.work import EdgeWork, Work, available, in_a_pass

# Groups of heads that path patching finds, each by patching every head.
GROUPS = 4


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
        # The pairs that it answers; both prompts for every group; and every head once
        # in the first group, but twice where other heads read it.
        forwards += 1 + 2 * GROUPS + n_heads * (1 + 2 * (GROUPS - 1))
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
    # All that there are; of a file, whose rows are not counted here, all that one
    # training could take.
    most = settings.steps * settings.batch_size
    pairs = config["tasks"][task].get("train", most)
    tested = available(config, task, "test", config["evaluation"]["examples"])
    probes = 1 + ceil(settings.steps / settings.probe_every)
    features = CKA in how.terms
    # Of the student, in passes of every training pair: those of the probes, and of
    # the features before the first step.
    filled = features * min(settings.queue + settings.batch_size, pairs)
    before = ceil((probes * tested + filled) / pairs)
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
        trained=how.trains,
        writes_weights=True,
    )
    yield of_student
    # Its features are computed once, as those of the test pairs are; its logits in
    # every step.
    yield replace(
        of_student,
        model=teacher,
        forwards=ceil(tested / pairs) + features + steps * (LOGITS in how.terms),
        forward_backwards=0,
        trained="",
        writes_weights=False,
        beside=True,
    )


def _measuring(
    config: Mapping, nodes: Mapping[str, Nodes], teacher: str, student: str, task: str
) -> Iterator[Work]:
    """Yield the job that measures the students of a variant, as they are and trained.

    On every task the answers, on their own also the circuit and the matched heads.
    """
    settings, tasks = measuring_settings(config), config["study"]["tasks"]
    seeds = len(config[SECTION]["seeds"])
    batch_sizes = [in_a_pass(config[each]) for each in ("attribution", "evaluation")]
    tested = available(config, task, "test", settings["held_out"]["examples"])
    scoring = settings["node_scoring"] | settings["edge_scoring"]
    # Prompts of one seed that scores take.
    without, with_gradient, most = 0, 0, tested
    for method, how in scoring.items():
        pairs = available(config, task, "train", how["examples"])
        steps = steps_of(method, how["ig_steps"])
        passes = method_passes(method, nodes[student], steps)
        without += pairs * (passes[0] + (how["ablation"] == "mean"))
        with_gradient += pairs * passes[1]
        most = max(most, pairs)
    # Whole and as a circuit with its means, and the matched heads.
    own = tested * (len(tasks) + 4)
    kv = config["attribution"]["kv"] if settings["edge_scoring"] else None
    of_student = Work(
        stage="evaluate_student",
        model=student,
        pairs={task: most},
        forwards=ceil(((1 + seeds) * own + seeds * without) / most),
        forward_backwards=ceil(seeds * with_gradient / most),
        batch_size=max(batch_sizes),
        copies=3,
        logits=2,
        edges=EdgeWork(kv, nodes[student].edges, 1, 1) if kv else None,
    )
    yield of_student
    # Its matched heads run once for all students.
    yield replace(
        of_student,
        model=teacher,
        forwards=ceil(own / most),
        forward_backwards=0,
        edges=None,
        beside=True,
    )
