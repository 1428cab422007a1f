"""Circuits of edges with known answers: every curve is given by its values.

Examples differ by a constant between circuits, so that a difference of two circuits is
the same in every resample: its interval is a point and its p value the smallest.
"""

from functools import cache

import polars as pl

from circuit_transfer.tables.edge_curves import edge_curves, node_curves
from circuit_transfer.tables.edge_statistics import edge_statistics

TARGET, TASKS = "big_model", ["ioi", "addition"]
PROPORTIONS = [0.01, 0.1, 0.5, 1.0]
EDGES, EFFECTIVE, KEPT_NODES = [10, 100, 500, 1000], [0, 80, 450, 1000], [0, 5, 9, 10]
EXAMPLES = 6
LABELS = {"target": TARGET, "seed": None, "own_size": False}
# Faithfulness of `eap` (and so on) on `ioi`; on `addition` all are .05 lower up to 1.
LEVELS = {
    ("eap", "none", "signed"): [0.2, 0.9, 0.96, 1.0],
    ("eap", "none", "absolute"): [0.1, 0.3, 1.2, 1.0],
    ("eap-gim", "none", "signed"): [0.1, 0.4, 0.95, 1.0],
    ("eap-gim", "none", "absolute"): [0.0, 0.2, 0.5, 1.0],
    ("eap", "random-effective", "signed"): [0.0, 0.1, 0.3, 1.0],
    ("eap-gim", "random-effective", "signed"): [0.0, 0.1, 0.3, 1.0],
    ("nap", "lifted", "signed"): [0.1, 0.5, 0.8, 1.0],
}
NODES = [0.05, 0.5, 0.9, 1.0]
RANDOM = {0: [0.0, 0.1, 0.2, 1.0], 1: [0.0, 0.1, 0.4, 1.0]}


def on(task, values):
    """The curve on a task."""
    lower = 0.05 * TASKS.index(task)
    return [*(value - lower for value in values[:-1]), values[-1]]


def curve(faithfulness, **labels):
    """One measured circuit of edges at every size, as the stages write it."""
    lists, n = pl.List(pl.Float32), len(PROPORTIONS)
    # One alone, since faithfulness is a ratio of means.
    spread = [0.125 * number for number in range(EXAMPLES)]
    diffs = [[4 * value - 1 + each for each in spread] for value in faithfulness]
    return pl.DataFrame(
        {
            **{key: [value] * n for key, value in labels.items()},
            "ablation": ["counterfactual"] * n,
            "proportion": PROPORTIONS,
            "n_edges": EDGES,
            "n_effective": EFFECTIVE,
            "n_nodes": KEPT_NODES,
            "logit_diff": [4 * value - 0.7 for value in faithfulness],
            "faithfulness": faithfulness,
            "kl": [0.1] * n,
            "accuracy": [0.0, 0.25, 0.5, 1.0],
            "logit_diffs": pl.Series(diffs, dtype=lists),
            "empty_logit_diffs": pl.Series(
                [[each - 1 for each in spread]] * n, dtype=lists
            ),
            "full_logit_diffs": pl.Series(
                [[each + 3 for each in spread]] * n, dtype=lists
            ),
            "prompt_numbers": pl.Series(
                [[*range(EXAMPLES)]] * n, dtype=pl.List(pl.Int32)
            ),
        }
    )


def edge_frames(task):
    """The files of one task: of every edge method, of lifted scores, of random ones."""
    files = {}
    for (method, control, ranking), values in LEVELS.items():
        names = {"task": task, "method": method, "control": control, **LABELS}
        frame = curve(on(task, values), ranking=ranking, **names)
        files.setdefault((method, control == "lifted"), []).append(frame)
    names = {"task": task, "method": "random", "control": "random", **LABELS}
    random = [
        curve(on(task, values), ranking="signed", **names | {"seed": seed})
        for seed, values in RANDOM.items()
    ]
    return [
        pl.concat(each, how="vertical_relaxed") for each in (*files.values(), random)
    ]


def node_frame(task, method="nap"):
    frame = curve(on(task, NODES), target=TARGET, task=task, method=method)
    return frame.drop("n_edges", "n_effective")


def all_frames():
    edges = [frame for task in TASKS for frame in edge_frames(task)]
    return edges, [node_frame(task) for task in TASKS]


@cache
def curves():
    edges, nodes = all_frames()
    return pl.concat([edge_curves(edges), node_curves(nodes)])


@cache
def statistics():
    """Levels and differences of the study, and its curves with intervals."""
    return edge_statistics(curves(), resamples=200)
