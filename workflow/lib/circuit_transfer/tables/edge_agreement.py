"""How similar the scores of edges are that different methods give."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np
import polars as pl

from circuit_transfer.circuits.similarity import compare
from circuit_transfer.circuits.verification import verify_scores
from circuit_transfer.tables.differences import MEAN
from circuit_transfer.tables.edge_curves import LIFTED
from circuit_transfer.tables.typesetting import Table

LABELS = ("method", "against", "task")
CORRELATIONS = ("pearson", "spearman")
BOUNDS = tuple(f"{name}_{end}" for name in CORRELATIONS for end in ("low", "high"))
COVERED = "covered"
PATCHED = "exact, highest edges"
NOTE = (
    "edges: how many are compared. pearson, spearman: correlation of their scores. "
    "jaccard: edges in both circuits of a size, as a share of those in either, signed "
    "rankings. lifted: an edge has the lower score of the two nodes that it connects. "
    f"{PATCHED}: those with the highest absolute scores by the method, patched one by "
    "one; in brackets a bootstrap interval over them, 95 %. covered: their share of "
    "the sum of all absolute scores. mean: over the tasks that have a value."
)
# By method; `lifted` ones have the name of the method that scored the nodes.
Scores = Mapping[str, np.ndarray]


def agreement_rows(
    scores: Scores, proportions: Sequence[float], *, task: str
) -> Iterator[dict[str, object]]:
    """Yield how similar the scores of every two methods are on one task.

    Args:
        scores: by name, `(n_edges,)`; NaN where a task has no pair.
        proportions: the sizes of the circuits whose overlap is measured.
        task: the task.

    Raises:
        ValueError: scores are of different edges.
    """
    sizes = [each for each in proportions if each < 1]
    for left, right in combinations(scores, 2):
        row: dict[str, object] = {"method": left, "against": right, "task": task}
        row["edges"] = len(scores[left])
        # Circuits of nodes lifted to edges are not compared among themselves.
        if not all(LIFTED in each for each in (left, right)):
            for measure, size, value in compare(scores[left], scores[right], sizes):
                row[measure if size is None else f"{measure}_{size:g}"] = value
            yield row


def verified_rows(
    frame: pl.DataFrame, total: float, *, method: str, task: str
) -> Iterator[dict[str, object]]:
    """Yield how the highest scores of a method agree with exact patching.

    Args:
        frame: a row per patched edge, its `score` and `exact` effect.
        total: the sum of the absolute scores of all edges.
        method: the method of the scores.
        task: the task.
    """
    if frame.is_empty():
        return
    found = verify_scores(frame["score"].to_numpy(), frame["exact"].to_numpy(), total)
    row = {"method": method, "against": PATCHED, "task": task, "edges": frame.height}
    yield row | {name: found[name] for name in (*CORRELATIONS, *BOUNDS, COVERED)}


def agreement_table(
    rows: Sequence[Mapping[str, object]],
    *,
    tasks: Sequence[str],
    proportions: Sequence[float],
) -> Table:
    """Return the table of a model: a block for every two methods, a row per task.

    Args:
        rows: of `agreement_rows` and `verified_rows`.
        tasks: in order; a task without a row has empty cells.
        proportions: the sizes.
    """
    values = (*CORRELATIONS, *(f"jaccard_{each:g}" for each in proportions if each < 1))
    schema = dict.fromkeys(LABELS, pl.String) | {"edges": pl.Int64}
    schema |= dict.fromkeys((*values, *BOUNDS, COVERED), pl.Float64)
    known = {tuple(row[label] for label in LABELS): row for row in rows}
    lines = []
    for pair in dict.fromkeys(key[:2] for key in known):
        labels = [dict(zip(LABELS, (*pair, task), strict=True)) for task in tasks]
        found = [each | known.get(tuple(each.values()), {}) for each in labels]
        lines += found
        if len(tasks) > 1:
            names = dict(zip(LABELS, (*pair, MEAN), strict=True))
            lines.append(names | _means(found, (*values, COVERED)))
    frame = pl.DataFrame(lines, schema=schema).fill_nan(None)
    # A size without an edge has no overlap, and what was not patched no interval.
    last = frame.columns[len(LABELS) + 1 :]
    empty = [name for name in last if frame[name].null_count() == frame.height]
    frame = frame.drop([name for name in empty if name not in CORRELATIONS])
    return Table(frame, labels=3, blocks=2, note=NOTE)


def _means(
    rows: Sequence[Mapping[str, object]], names: Sequence[str]
) -> dict[str, float | None]:
    means: dict[str, float | None] = {}
    for name in names:
        known = [row[name] for row in rows if row.get(name) is not None]
        finite = [value for value in known if np.isfinite(value)]
        means[name] = float(np.mean(finite)) if finite else None
    return means
