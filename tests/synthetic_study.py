"""A study with known answers: every curve is flat, so its CPR is .999 x its level.

The level of a circuit is that of its row name, plus .01 per task (in order), plus .02
per seed around the middle one, so that means over seeds are exact.
"""

import polars as pl

PROPORTIONS = [0.001, 0.01, 0.1, 1.0]
TASKS = ["ioi", "addition", "subtraction"]
METHODS = ["nap", "exact"]
SIBLINGS = [["addition", "subtraction"]]
SEEDS = [0, 1, 2]
SOURCE, TARGET = "small_model", "big_model"
LEVELS = {
    "gold": 0.8,
    "in-distribution": 0.7,
    "all": 0.65,
    "zero-shot": 0.6,
    "near-distribution": 0.5,
    "transfer": 0.4,
    "random-rankings": 0.3,
    "random-alignment": 0.25,
    "depth-heuristic": 0.45,
    "source-free": 0.55,
}
CONTROLS = ["random-alignment", "depth-heuristic", "source-free"]


def level(row, task):
    """Mean level over seeds of a row on a task."""
    return LEVELS[row] + 0.01 * TASKS.index(task)


def cell(row, task):
    """The CPR that a table must show for a row and a task."""
    return 0.999 * level(row, task)


def curve(faithfulness, **keys):
    """One flat curve."""
    n = len(PROPORTIONS)
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
    for seed in SEEDS:
        shift = 0.02 * (seed - 1)
        for training_set, row in _training_sets(task):
            added = {"training_set": training_set, "control": "none", "seed": seed}
            curves.append(curve(level(row, task) + shift, **keys, **added))
        for control in ("random-alignment", "source-free"):
            trained = None if control == "random-alignment" else f"without-{task}"
            added = {"training_set": trained, "control": control, "seed": seed}
            curves.append(curve(level(control, task) + shift, **keys, **added))
    added = {"training_set": None, "control": "depth-heuristic", "seed": None}
    curves.append(curve(level("depth-heuristic", task), **keys, **added))
    return pl.concat(curves, how="diagonal_relaxed")


def _training_sets(task):
    yield f"without-{task}", "zero-shot"
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
