"""What stands where in each table: methods, regimes and pairs against tasks."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

import polars as pl

from circuit_transfer.tables.curves import (
    ALIGNED_REGIMES,
    RANKINGS,
    UNTRAINED,
    Means,
    pair_means,
)
from circuit_transfer.tables.typesetting import Table

MEAN_NOTE = "The mean is over the tasks that have a cell, (n/N) where some have none."
RANDOM_NOTE = {
    True: "random: untrained alignments.",
    False: "random: random rankings of the nodes (untrained alignments were not run).",
}


def leaderboard(
    cpr: pl.DataFrame,
    *,
    source: str,
    target: str,
    tasks: Sequence[str],
    methods: Sequence[str],
) -> Table:
    """CPR of one pair: each method's regimes beside gold and random, by task."""
    means = pair_means(cpr, source, target)
    untrained = any(row == UNTRAINED for _, row, _ in means)
    rows = ("random", "gold", *ALIGNED_REGIMES)
    return _by_task(
        means, methods, rows, tasks, note=f"{MEAN_NOTE} {RANDOM_NOTE[untrained]}"
    )


def controls_table(
    cpr: pl.DataFrame,
    *,
    source: str,
    target: str,
    tasks: Sequence[str],
    methods: Sequence[str],
    controls: Sequence[str],
) -> Table:
    """CPR of one pair: each method's controls beside zero-shot and the best regime."""
    note = f"{MEAN_NOTE} best: the best of {', '.join(ALIGNED_REGIMES)} on each task."
    rows = (*controls, "zero-shot", "best")
    return _by_task(pair_means(cpr, source, target), methods, rows, tasks, note=note)


def _by_task(
    means: Means,
    methods: Sequence[str],
    rows: Sequence[str],
    tasks: Sequence[str],
    *,
    note: str,
) -> Table:
    lines = []
    for method in methods:
        for row in rows:
            cells = {task: means.get((method, row, task)) for task in tasks}
            present = [value for value in cells.values() if value is not None]
            mean = fmean(present) if present else None
            labels = {"method": method, "circuit": row}
            lines.append(labels | cells | {"mean": mean, "n_tasks": len(present)})
    values = {column: pl.Float64 for column in (*tasks, "mean")}
    names = {"method": pl.String, "circuit": pl.String}
    frame = pl.DataFrame(lines, schema=names | values | {"n_tasks": pl.Int64})
    return Table(
        frame, labels=2, ranked=True, covered=("n_tasks", len(tasks)), note=note
    )


def scaling(
    cpr: pl.DataFrame,
    *,
    task: str,
    transfers: Iterable[Mapping[str, str]],
    methods: Sequence[str],
) -> Table:
    """CPR of one task: what each pair's best alignment reaches of the gold circuit."""
    columns = ("random", "best", "gold")
    lines = []
    pairs = [(pair["source"], pair["target"]) for pair in transfers]
    means = {pair: pair_means(cpr, *pair) for pair in pairs}
    for method in methods:
        for source, target in pairs:
            of_pair = means[source, target]
            cells = {row: of_pair.get((method, row, task)) for row in columns}
            share = recovery(cells["best"], cells["gold"])
            percent = None if share is None else 100 * share
            labels = {"method": method, "pair": f"{source} → {target}"}
            lines.append(labels | cells | {"recovery_percent": percent})
    values = {column: pl.Float64 for column in (*columns, "recovery_percent")}
    schema = {"method": pl.String, "pair": pl.String} | values
    note = "recovery: the best alignment's CPR as a share of the gold circuit's."
    return Table(pl.DataFrame(lines, schema=schema), labels=2, note=note)


def recovery(aligned: float | None, gold: float | None) -> float | None:
    """Share of the gold CPR that an aligned circuit reaches; none without a gold."""
    if aligned is None or gold is None or gold <= 0:
        return None
    return aligned / gold


def imported_table(
    cpr: pl.DataFrame,
    *,
    circuits: Mapping[str, Mapping[str, str]],
    methods: Sequence[str],
) -> Table:
    """CPR and CMD of imported circuits beside gold and random ones, a block for each.

    Args:
        cpr: the areas of all circuits.
        circuits: by name, the `target` and the `task` that each was evaluated on.
        methods: whose gold circuits they are compared with.
    """
    keys = ("kind", "method", "target", "task")
    means = cpr.group_by(keys).agg(pl.col("cpr", "cmd").mean())
    areas = {row[:4]: row[4:] for row in means.iter_rows()}
    lines = []
    for name, place in circuits.items():
        on = (place["target"], place["task"])
        rows = {"imported": ("imported", name)}
        rows |= {f"gold, {method}": ("gold", method) for method in methods}
        rows |= {RANKINGS: ("random", "random")}
        for row, circuit in rows.items():
            lines.append((name, *on, row, *areas.get((*circuit, *on), (None, None))))
    schema = dict.fromkeys(("name", "target", "task", "circuit"), pl.String)
    schema |= {"cpr": pl.Float64, "cmd": pl.Float64}
    note = "CPR: higher is better; CMD: lower is better. random-rankings: their mean."
    return Table(pl.DataFrame(lines, schema=schema, orient="row"), labels=4, note=note)


def models_table(
    models: Mapping[str, Mapping[str, Any]],
    curves: pl.DataFrame,
    counts: Mapping[tuple[str, str], Mapping[str, int]],
) -> Table:
    """Each model's shape, and by task its accuracy and how many pairs it was given.

    Args:
        models: by name, the descriptions of the models.
        curves: all curves; the accuracy is read from the gold curves' full circuit,
            or from the description for a model that no circuit was evaluated on.
        counts: by model and task the number of `train`, `test` and `rejected` pairs.
    """
    full = curves.filter((pl.col("kind") == "gold") & (pl.col("proportion") == 1.0))
    full = full.group_by("target", "task").agg(pl.col("accuracy").mean())
    measured = {(target, task): accuracy for target, task, accuracy in full.iter_rows()}
    lines = []
    for (name, task), count in counts.items():
        model = models[name]
        shape = {
            "model": name,
            "architecture": model["architecture"],
            "layers": model["layers"],
            "heads": model["heads"],
            "nodes": len(model["nodes"]),
            "task": task,
        }
        stated = model.get("accuracy", {}).get(task)
        lines.append(shape | {"accuracy": measured.get((name, task), stated)} | count)
    counted = ("train", "test", "rejected")
    schema = {"model": pl.String, "architecture": pl.String}
    schema |= {column: pl.Int64 for column in ("layers", "heads", "nodes")}
    schema |= {"task": pl.String, "accuracy": pl.Float64}
    schema |= {column: pl.Int64 for column in counted}
    note = "accuracy: of the full model on the test pairs; train, test: usable pairs."
    return Table(pl.DataFrame(lines, schema=schema), labels=6, decimals=3, note=note)


def rejects_table(rejects: Mapping[tuple[str, str], pl.DataFrame]) -> Table:
    """The rows that could not be used, by model and task, and why."""
    columns = {"row": pl.Int64, "reason": pl.String, "clean": pl.String}
    note = "row: counted from 1 in its file, or in the prompts that were generated."
    return Table(_by_cell(rejects, {"file": pl.String} | columns), labels=6, note=note)


def rejects_summary_table(rejects: Mapping[tuple[str, str], pl.DataFrame]) -> Table:
    """How many rows of every model and task could not be used, by reason.

    Reasons that differ only in their numbers are one, with N in place of the numbers.
    """
    columns = {"file": pl.String, "row": pl.Int64, "reason": pl.String}
    frame = _by_cell(rejects, columns).with_columns(
        reason=pl.col("reason").str.replace_all(r"\d+", "N"),
        first=pl.format(
            "{}row {}",
            pl.when(pl.col("file").is_null())
            .then(pl.lit(""))
            .otherwise(pl.col("file") + ", "),
            pl.col("row"),
        ),
    )
    keys = ("model", "task", "reason")
    summary = frame.group_by(keys, maintain_order=True).agg(
        pl.col("first").first(), rows=pl.len().cast(pl.Int64)
    )
    note = "first: the first such row. Every row is in rejects.csv."
    return Table(summary, labels=4, note=note)


def _by_cell(
    rejects: Mapping[tuple[str, str], pl.DataFrame], columns: Mapping[str, pl.DataType]
) -> pl.DataFrame:
    """Stack the frames of every model and task, with both names in front."""
    names = {"model": pl.String, "task": pl.String}
    frames = [pl.DataFrame(schema={**names, **columns})]
    for (model, task), frame in rejects.items():
        named = frame.with_columns(model=pl.lit(model), task=pl.lit(task))
        frames.append(named.select(*names, *columns).cast({**names, **columns}))
    return pl.concat(frames)
