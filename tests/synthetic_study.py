"""A study with known answers: every curve is flat, so its CPR is .999 x its level.

The level of a circuit is that of its row name, plus .01 per task (in order), plus .02
per seed around the middle one, so that means over seeds are exact. What was trained
without a task's family lies .05 below what was trained without the task; of `ioi`,
which is a family by itself, both are the same. The examples of a circuit are scattered,
and their mean is exact.
"""

from functools import cache

import numpy as np
import polars as pl

from circuit_transfer.tables import summarise
from circuit_transfer.tables.curves import named_rows, stacked
from circuit_transfer.tables.resampling import EXAMPLES
from circuit_transfer.tables.statistics import study_statistics

PROPORTIONS = [0.001, 0.01, 0.1, 1.0]
TASKS = ["ioi", "addition", "subtraction"]
METHODS = ["nap", "exact"]
SIBLINGS = [["addition", "subtraction"]]
FAMILIES = {"ioi": ["ioi"], "arithmetic": ["addition", "subtraction"]}
NAMES = {"siblings": SIBLINGS, "families": FAMILIES}
SEEDS = [0, 1, 2]
N_EXAMPLES = 8
SOURCE, TARGET = "small_model", "big_model"
# The main map, trained; and one that is not, and so has no seed.
MAPS = ["free", "depth-prior"]
LEVELS = {
    "gold": 0.8,
    "in-distribution": 0.7,
    "all": 0.65,
    "zero-shot": 0.6,
    "zero-shot-family": 0.6,
    "near-distribution": 0.5,
    "transfer": 0.4,
    "random-rankings": 0.3,
    "random-alignment": 0.25,
    "depth-heuristic": 0.45,
    "source-free": 0.55,
    "other-family": 0.75,
}
CONTROLS = ["random-alignment", "depth-heuristic", "source-free", "other-family"]
OF_PROTOCOL = ["zero-shot-family", "source-free", "other-family"]


def by_method(names=("free",), methods=METHODS):
    """Maps or controls of every method, as tables and figures take them."""
    return {method: [*names] for method in methods}


def level(row, task, protocol=None):
    """Mean level over seeds of a row on a task."""
    of_family = protocol == "family" or row == "zero-shot-family"
    shift = -0.05 if of_family and task != "ioi" else 0.0
    return LEVELS[row] + 0.01 * TASKS.index(task) + shift * (row in OF_PROTOCOL)


def cell(row, task, protocol=None):
    """The CPR that a table must show for a row and a task."""
    return 0.999 * level(row, task, protocol)


def curve(faithfulness, **keys):
    """One flat curve, its examples scattered around it."""
    n = len(PROPORTIONS)
    random = np.random.default_rng(len(str(keys)))
    empty = random.normal(-1, 0.2, N_EXAMPLES)
    full = random.normal(3, 0.2, N_EXAMPLES)
    # Exactly these means, and scattered alike in every circuit of a task.
    empty, full = empty - empty.mean() - 1, full - full.mean() + 3
    scatter = random.normal(0, 0.5, (n, N_EXAMPLES))
    scatter -= scatter.mean(1, keepdims=True)
    # None stands for a task that corruption does not change.
    shares = 1.0 if faithfulness is None else faithfulness
    lists = pl.List(pl.Float32)
    return pl.DataFrame(
        {
            **{key: [value] * n for key, value in keys.items()},
            "ablation": "counterfactual",
            "proportion": PROPORTIONS,
            "n_nodes": [0, 0, 2, 20],
            "logit_diff": 4.0,
            "faithfulness": [faithfulness] * n,
            "kl": 0.1,
            "accuracy": [0.0, 0.1, 0.5, 0.98],
            "agreement_right": [0.0, 0.2, 0.6, 1.0],
            "agreement_wrong": None,
            "complement_faithfulness": [1.0, 0.9, 0.4, 0.0],
            "logit_diffs": pl.Series(-1 + 4 * shares + scatter, dtype=lists),
            "empty_logit_diffs": pl.Series([empty.tolist()] * n, dtype=lists),
            "full_logit_diffs": pl.Series([full.tolist()] * n, dtype=lists),
            "prompt_numbers": pl.Series(
                [[*range(N_EXAMPLES)]] * n, dtype=pl.List(pl.Int32)
            ),
        }
    )


def gold_frame(task, method, target=TARGET):
    return curve(level("gold", task), target=target, task=task, method=method)


def random_frame(task, target=TARGET):
    keys = {"target": target, "task": task, "method": "random"}
    return pl.concat(
        curve(level("random-rankings", task) + 0.01 * (seed - 1), **keys, seed=seed)
        for seed in SEEDS
    )


def aligned_frame(task, method, source=SOURCE, target=TARGET):
    keys = {"source": source, "target": target, "task": task, "method": method}
    curves = []

    def add(value, training_set, control, seed, name):
        names = {"training_set": training_set, "map": name, "control": control}
        # Of what has a mask; see `transfer.projection`.
        names["collapsed"] = False if name == "free" else None
        curves.append(curve(value, **keys, **names, seed=seed))

    for seed in SEEDS:
        shift = 0.02 * (seed - 1)
        for training_set, row in training_sets(task):
            add(level(row, task) + shift, training_set, "none", seed, "free")
        value = level("random-alignment", task) + shift
        add(value, None, "random-alignment", seed, "free")
        for protocol, training_set in without(task).items():
            for control in ("source-free", "other-family"):
                value = level(control, task, protocol) + shift
                add(value, training_set, control, seed, "free")
    for training_set in without(task).values():
        # The same whatever it was trained without, for it was not trained.
        add(0.64 + 0.01 * TASKS.index(task), training_set, "none", None, "depth-prior")
    add(level("depth-heuristic", task), None, "depth-heuristic", None, None)
    return pl.concat(curves, how="diagonal_relaxed")


def without(task):
    if task == "ioi":
        return {"task": "without-ioi"}
    return {"task": f"without-{task}", "family": "without-family-arithmetic"}


def training_sets(task):
    names = {"task": "zero-shot", "family": "zero-shot-family"}
    yield from ((name, names[protocol]) for protocol, name in without(task).items())
    yield "all", "all"
    for trained in TASKS:
        siblings = {task, trained} == set(SIBLINGS[0])
        other = "near-distribution" if siblings else "transfer"
        yield f"only-{trained}", "in-distribution" if trained == task else other


def gold_frames():
    return [gold_frame(task, method) for task in TASKS for method in METHODS]


def random_frames():
    return [random_frame(task) for task in TASKS]


def aligned_frames():
    return [aligned_frame(task, method) for task in TASKS for method in METHODS]


@cache
def summary():
    """Curves and areas of the study."""
    return summarise(gold_frames(), random_frames(), aligned_frames(), **NAMES)


def named_cpr(cpr):
    return named_rows(cpr, FAMILIES)


def named_frames(**frames):
    """Frames by kind as the statistics take them, with a number per example."""
    return [
        named_rows(stacked([frame], kind, **NAMES, columns=EXAMPLES), FAMILIES)
        for kind, of_kind in frames.items()
        for frame in of_kind
    ]


@cache
def statistics_of_lone_tasks():
    """As `statistics`, if every task were a family by itself."""
    names = {"siblings": SIBLINGS, "families": {}}
    of_family = pl.col("training_set").ne_missing("without-family-arithmetic")
    frames = [frame.filter(of_family) for frame in aligned_frames()]
    areas = summarise(gold_frames(), random_frames(), frames, **names)[1]
    kinds = {"gold": gold_frames(), "random": random_frames(), "aligned": frames}
    named = [
        named_rows(stacked([frame], kind, **names, columns=EXAMPLES), {})
        for kind, of_kind in kinds.items()
        for frame in of_kind
    ]
    return study_statistics(named_rows(areas, {}), named, resamples=200)


@cache
def statistics():
    """Levels and differences of the study, and its curves with intervals."""
    frames = named_frames(
        gold=gold_frames(), random=random_frames(), aligned=aligned_frames()
    )
    return study_statistics(named_cpr(summary()[1]), frames, resamples=200)
