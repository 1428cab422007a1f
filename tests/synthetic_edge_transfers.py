"""A study of nodes and edges with known answers: `synthetic_study`, and a method `eap`.

Every curve is flat again. At edges the main map is `prior-residual`, trained, and
`lifted-free` is one of nodes; the levels are those of `LEVELS`, with the shifts of
`synthetic_study` by task, seed and protocol.
"""

from functools import cache

import polars as pl
import synthetic_study as nodes

from circuit_transfer.tables import summarise
from circuit_transfer.tables.edge_transfers import of_edges, of_random_edges
from circuit_transfer.tables.statistics import study_statistics

METHOD, RANKING = "eap", "absolute"
MAPS = ["prior-residual", "lifted-free"]
CONTROLS = ["random-alignment", "source-free", "degree-source", "edge-changes"]
# Of the main map without the task, by circuit; of the other map `lifted`.
LEVELS = {
    "gold": 0.9,
    "random-rankings": 0.1,
    "in-distribution": 0.7,
    "zero-shot": 0.65,
    "random-alignment": 0.2,
    "source-free": 0.55,
    "degree-source": 0.6,
    "edge-changes": 0.3,
    "lifted": 0.5,
}
# Of the circuits of a map without the family, minus those without the task.
SHIFT = -0.05
BY_PROTOCOL = ("zero-shot", "source-free", "degree-source", "lifted")


def level(row, task, protocol=None):
    """Mean level over seeds of a row on a task."""
    of_family = protocol == "family" and task != "ioi" and row in BY_PROTOCOL
    return LEVELS[row] + 0.01 * nodes.TASKS.index(task) + SHIFT * of_family


def mean(row, protocol=None):
    """The CPR that a table must show for a row, mean over tasks."""
    found = [level(row, task, protocol) for task in nodes.TASKS]
    return 0.999 * sum(found) / len(found)


def curve(value, **keys):
    """One flat curve of a circuit of edges."""
    counts = {"n_edges": [0, 3, 30, 300], "n_nodes": [0, 0, 4, 20]}
    return nodes.curve(value, **keys).with_columns(
        **{name: pl.Series(numbers) for name, numbers in counts.items()}
    )


def gold_frame(task):
    """As `evaluate_edges` writes: two rankings, and random circuits of equal size."""
    keys = {"target": nodes.TARGET, "task": task, "method": METHOD}
    own = {"control": "none", "own_size": False}
    value = level("gold", task)
    return pl.concat(
        [
            curve(value, **keys, **own, ranking=RANKING),
            curve(value - 0.3, **keys, **own, ranking="signed"),
            curve(
                0.2, **keys, **own | {"control": "random-effective"}, ranking=RANKING
            ),
        ]
    ).with_columns(seed=pl.lit(None, pl.Int64))


def random_frame(task):
    """As `evaluate_random_edges` writes."""
    keys = {"target": nodes.TARGET, "task": task, "method": "random"}
    keys |= {"control": "random", "ranking": "signed", "own_size": False}
    value = level("random-rankings", task)
    return pl.concat(
        curve(value + 0.01 * (seed - 1), **keys, seed=seed) for seed in nodes.SEEDS
    )


def aligned_frame(task):
    """As `evaluate_aligned_edges` writes."""
    main, lifted = MAPS
    keys = {"source": nodes.SOURCE, "target": nodes.TARGET, "task": task}
    curves = []

    def add(value, training_set, name, control, seed):
        labels = {"training_set": training_set, "map": name, "control": control}
        of_method = keys | {"method": METHOD, "collapsed": None}
        curves.append(curve(value, **of_method, **labels, seed=seed))

    for seed in nodes.SEEDS:
        shift = 0.02 * (seed - 1)
        value = level("in-distribution", task) + shift
        add(value, f"only-{task}", main, "none", seed)
        add(
            level("random-alignment", task) + shift,
            None,
            main,
            "random-alignment",
            seed,
        )
        for protocol, training_set in nodes.without(task).items():
            of_circuit = {
                row: level(row, task, protocol) + shift for row in BY_PROTOCOL
            }
            add(of_circuit["zero-shot"], training_set, main, "none", seed)
            add(of_circuit["lifted"], training_set, lifted, "none", seed)
            for control in ("source-free", "degree-source"):
                add(of_circuit[control], training_set, main, control, seed)
    for training_set in nodes.without(task).values():
        add(level("edge-changes", task), training_set, None, "edge-changes", None)
    return pl.concat(curves, how="diagonal_relaxed")


def by_kind():
    """The frames of nodes and edges by kind, as they are collected."""
    tasks = nodes.TASKS
    return {
        "gold": nodes.gold_frames()
        + [of_edges(gold_frame(task), RANKING) for task in tasks],
        "random": nodes.random_frames()
        + [of_random_edges(random_frame(task)) for task in tasks],
        "aligned": nodes.aligned_frames() + [aligned_frame(task) for task in tasks],
    }


def maps():
    """The maps of every method, those of nodes first."""
    return nodes.by_method(nodes.MAPS) | {METHOD: MAPS}


def controls():
    """The controls of every method."""
    return nodes.by_method(nodes.CONTROLS) | {METHOD: CONTROLS}


@cache
def summary():
    """Curves and areas of the study."""
    return summarise(**by_kind(), **nodes.NAMES)


@cache
def statistics():
    """Levels and differences of the study, and its curves with intervals."""
    frames = nodes.named_frames(**by_kind())
    return study_statistics(nodes.named_cpr(summary()[1]), frames, resamples=200)
