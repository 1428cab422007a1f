"""Which method when: all methods of nodes and edges in one table, and their tests."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import polars as pl

from circuit_transfer.tables.differences import MEAN
from circuit_transfer.tables.edge_curves import ABSOLUTE, LIFTED, SIGNED
from circuit_transfer.tables.method_measures import (
    COMPLEMENT,
    LEARNED,
    OVER_RESAMPLES,
    STABILITY,
)
from circuit_transfer.tables.method_statistics import (
    DIFFERENCE,
    LARGER,
    LEVEL,
    RATIO,
    SEED,
)
from circuit_transfer.tables.typesetting import HALF_WIDTH, HIGH, LOW, Table, half_width

OF_SIZE = ("n_edges", "faithfulness", "kl", "accuracy", *COMPLEMENT)
OF_SIZE += (STABILITY, OVER_RESAMPLES)
OVERALL = ("cmd", "cpr", "right_above_wrong_area", "seconds", "passes")
MEASURES = (*OF_SIZE, *OVERALL)
TESTED = (*OF_SIZE, "distance", *OVERALL)
KINDS = (DIFFERENCE, RATIO)
TEST_LABELS = ("method", "against", "measure", "size_percent", "task")
SIZE, LABELS = "size_percent", ("task", "size_percent", "method", "circuit")
EXPLANATIONS = {
    LEARNED: "circuits that were learned for the size, mean over seeds; CMD, CPR and "
    "accuracy area are of the ranking that was learned for the first size",
    ABSOLUTE: "edges with the highest absolute scores first",
    SIGNED: "edges with the highest scores first",
    LIFTED: "scores of nodes: every edge has the lower score of the two nodes that it "
    "connects",
}
NOTE = (
    "Circuits of size percent of all edges; one whose size is not chosen but results "
    "from its training (discogp) stands at the nearest, see n edges. kl: divergence "
    "from the whole model in "
    "nats; accuracy: share of the test pairs whose most likely token is right. "
    "complement: of the edges that the circuit leaves out, which answer nothing where "
    "it is complete. jaccard: mean overlap of two circuits, which is edges in both as "
    "a share of those in either: of two seeds where circuits are learned, else as the "
    "next one. jaccard resampled: of the circuit of resampled examples with that of "
    "all; of learned circuits only where pruning.resamples trains some. ± half-width "
    "of the 95 % interval: of means over tasks (and seeds within), of one task over "
    "seeds (Student's t). seconds: of computing what finds the circuits of one task, "
    "with one seed and of all sizes; of hap with its filter. passes: prompts that this "
    "runs through the model, with or without a backward pass."
)
TESTS_NOTE = (
    "Learned circuits minus others of equal size, on test pairs; in brackets the 95 % "
    "interval over tasks and seeds within, of one task over seeds. ratio: the number "
    "as a multiple of the other's, geometric mean. p: two-sided sign flips, over tasks "
    "x seeds and, stricter, over the means of the tasks, adjusted by Holm for all "
    "methods and sizes of a measure. distance: of the faithfulness from 1, above or "
    "below; of it, kl, cmd, seconds and passes lower is better. Circuits whose size is "
    "not chosen (discogp) are compared only if they are as large."
)


class Entry(NamedTuple):
    """A row of the table within its task and size."""

    method: str
    circuit: str


def entries(
    methods: Sequence[str], edge_methods: Sequence[str], learned: Sequence[str]
) -> list[Entry]:
    """Return what stands side by side: learned circuits, rankings of edges, of nodes.

    Args:
        methods: methods that score nodes, in order.
        edge_methods: methods that score edges.
        learned: methods that learn circuits.
    """
    return [
        *(Entry(each, LEARNED) for each in learned),
        *(Entry(each, kind) for each in edge_methods for kind in (ABSOLUTE, SIGNED)),
        *(Entry(each, LIFTED) for each in methods),
    ]


class MethodLevels:
    """The statistics of all methods on one model, by name."""

    def __init__(self, statistics: pl.DataFrame) -> None:
        """Take the frame of `method_statistics`."""
        self.frame = statistics
        levels = statistics.filter(row=LEVEL)
        names = ("task", "method", "circuit", "size", "measure")
        self._rows = {
            tuple(row[name] for name in names): row
            for row in levels.iter_rows(named=True)
        }
        self.tasks = levels["task"].unique(maintain_order=True).to_list()

    @property
    def over_tasks(self) -> str:
        """The name of the mean over tasks, or of the only task."""
        return MEAN if MEAN in self.tasks or not self.tasks else self.tasks[0]

    def level(
        self, entry: Entry, measure: str, size: float | None = None, task: str = ""
    ) -> Mapping[str, Any]:
        """Return a number with its interval, or nothing; by default over tasks."""
        key = (task or self.over_tasks, *entry, size, measure)
        return self._rows.get(key, {})

    def stands(self, entry: Entry, size: float) -> bool:
        """Return whether circuits were measured that stand at a size."""
        return bool(self.level(entry, "kl", size))

    def has_size(self, entry: Entry, size: float) -> bool:
        """Return whether circuits that stand at a size have it."""
        share = self.level(entry, "share", size).get("value", size)
        return self.stands(entry, size) and share <= LARGER * size

    def tests(self, against: str) -> list[dict[str, Any]]:
        """Return the differences and ratios to a method."""
        return self.frame.filter(against=against).to_dicts()

    def seeds(self, entry: Entry, measure: str, size: float) -> list[float]:
        """Return a number of every seed, over tasks."""
        labels = {**entry._asdict(), "measure": measure, "size": size}
        found = self.frame.filter(row=SEED, task=self.over_tasks, **labels)
        return found["value"].to_list()


def methods_table(
    statistics: pl.DataFrame,
    *,
    tasks: Sequence[str],
    methods: Sequence[str],
    edge_methods: Sequence[str],
    learned_methods: Sequence[str],
    sizes: Sequence[float],
) -> Table:
    """Every method at every size, the mean over tasks first, then every task.

    Args:
        statistics: see `method_statistics`.
        tasks: in the order of the blocks.
        methods: methods that score nodes, in order.
        edge_methods: methods that score edges.
        learned_methods: methods that learn circuits.
        sizes: those that circuits are learned for.
    """
    levels = MethodLevels(statistics)
    shown = entries(methods, edge_methods, learned_methods)
    lines = [
        line
        for task in ([MEAN] if len(tasks) > 1 else []) + [*tasks]
        for size in sizes
        for line in _lines(levels, shown, task, size)
    ]
    schema: dict[str, Any] = dict.fromkeys(LABELS, pl.String)
    for name in MEASURES:
        schema |= {name: pl.Float64, name + HALF_WIDTH: pl.Float64}
    return Table(
        pl.DataFrame(lines, schema=schema),
        labels=len(LABELS),
        blocks=2,
        note=NOTE,
        explanations={
            name: text
            for name, text in EXPLANATIONS.items()
            if name in {each.circuit for each in shown}
        },
    )


def _lines(
    levels: MethodLevels, shown: Sequence[Entry], task: str, size: float
) -> Iterator[dict[str, Any]]:
    for entry in shown:
        if not levels.stands(entry, size) and entry.circuit == LEARNED:
            continue
        line = {"task": task, SIZE: f"{100 * size:g}", **entry._asdict()}
        for name in MEASURES:
            of_size = size if name in OF_SIZE else None
            level = levels.level(entry, name, of_size, task)
            value, interval = level.get("value"), _interval(level)
            line |= {name: value, name + HALF_WIDTH: interval}
        yield line


def _interval(level: Mapping[str, Any]) -> float | None:
    return half_width(
        {f"value_{end}": level.get(end) for end in ("low", "high")}, "value"
    )


def comparisons_table(
    statistics: pl.DataFrame, *, tasks: Sequence[str], learned_methods: Sequence[str]
) -> Table:
    """What learned circuits are compared with: means over tasks, then every task.

    Args:
        statistics: see `method_statistics`.
        tasks: in order.
        learned_methods: methods that learn circuits, in order.
    """
    lines: dict[tuple, dict[str, Any]] = {}
    for row in statistics.filter(pl.col("row").is_in(KINDS)).iter_rows(named=True):
        size = "all" if row["size"] is None else f"{100 * row['size']:g}"
        key = tuple(size if name == SIZE else row[name] for name in TEST_LABELS)
        kind = row["row"]
        found = {kind: row["value"], kind + LOW: row["low"], kind + HIGH: row["high"]}
        tests = {"p_tasks_x_seeds": row["p_permutation_holm"]}
        tests["p_tasks"] = row["p_tasks_holm"]
        # Of what is compared in both ways, those of the difference.
        lines[key] = {**tests, **lines.get(key, {}), **found}
    numbers = [kind + end for kind in KINDS for end in ("", LOW, HIGH)]
    schema = dict.fromkeys(TEST_LABELS, pl.String)
    schema |= dict.fromkeys((*numbers, "p_tasks_x_seeds", "p_tasks"), pl.Float64)
    orders = {"method": learned_methods, "measure": TESTED, "task": [MEAN, *tasks]}

    def place(key: tuple) -> tuple:
        """Return what orders the rows."""
        of_key = dict(zip(TEST_LABELS, key, strict=True))
        numbers = {name: [*each].index(of_key[name]) for name, each in orders.items()}
        against, size = of_key["against"], of_key[SIZE]
        largest_first = 0.0 if size == "all" else -float(size)
        first = numbers["method"], against, numbers["measure"]
        return *first, largest_first, numbers["task"]

    rows = [
        dict(zip(TEST_LABELS, key, strict=True)) | lines[key]
        for key in sorted(lines, key=place)
    ]
    return Table(pl.DataFrame(rows, schema=schema), labels=5, blocks=2, note=TESTS_NOTE)
