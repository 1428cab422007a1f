"""What stands where in the tables of imported circuits, models and rejected rows."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from circuit_transfer.prompts.frame import SPLITS
from circuit_transfer.tables.cells import measure_cells, measure_schema
from circuit_transfer.tables.curves import RANKINGS
from circuit_transfer.tables.explanations import (
    EXAGGERATION_NOTE,
    INTERVAL_NOTE,
    MEASURE_EXPLANATIONS,
    explain,
)
from circuit_transfer.tables.statistics import DOCUMENTATION
from circuit_transfer.tables.typesetting import Table

# Rejected rows that a page shows: the report would otherwise grow with every one.
LONGEST = 1000
IMPORTED = ("name", "target", "task", "circuit")


def imported_table(
    statistics: pl.DataFrame,
    *,
    circuits: Mapping[str, Mapping[str, str]],
    methods: Sequence[str],
) -> Table:
    """Imported circuits beside gold and random ones, a block for each.

    Args:
        statistics: the levels of all circuits.
        circuits: by name, the `target` and the `task` that each was evaluated on.
        methods: whose gold circuits they are compared with.
    """
    without_source = statistics.filter(
        (pl.col("row") == "level") & pl.col("source").is_null()
    )
    keys = ("circuit", "method", "target", "task")
    found = {tuple(row[k] for k in keys): row for row in without_source.to_dicts()}
    lines = []
    for name, place in circuits.items():
        on = (place["target"], place["task"])
        rows = {"imported": ("imported", name)}
        rows |= {f"gold, {method}": ("gold", method) for method in methods}
        rows |= {RANKINGS: (RANKINGS, "random")}
        for row, circuit in rows.items():
            level = found.get((*circuit, *on), {})
            labels = dict(zip(IMPORTED, (name, *on, row), strict=True))
            lines.append(labels | measure_cells(level))
    schema = dict.fromkeys(IMPORTED, pl.String) | measure_schema()
    return Table(
        pl.DataFrame(lines, schema=schema),
        labels=4,
        note=f"random-rankings: their mean. {INTERVAL_NOTE} {EXAGGERATION_NOTE}",
        explanations=explain(MEASURE_EXPLANATIONS),
    )


def statistics_columns() -> Table:
    """What the columns of the frame of all statistics mean."""
    frame = pl.DataFrame([*DOCUMENTATION.items()], ["column", "meaning"], orient="row")
    note = "Of results/tables/statistics.parquet, which has these texts as metadata."
    return Table(frame, labels=2, note=note)


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
        counts: by model and task the number of `train`, `test` and `rejected` pairs,
            and of distinct pairs of prompts, `distinct_train` and `distinct_test`.
    """
    full = curves.filter((pl.col("kind") == "gold") & (pl.col("proportion") == 1.0))
    full = full.group_by("target", "task").agg(pl.col("accuracy").mean())
    measured = {(target, task): accuracy for target, task, accuracy in full.iter_rows()}
    converted = any("gguf" in model for model in models.values())
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
        if converted:
            shape["gguf"] = _gguf_file(model["gguf"]) if "gguf" in model else None
        stated = model.get("accuracy", {}).get(task)
        lines.append(shape | {"accuracy": measured.get((name, task), stated)} | count)
    counted = ("train", "distinct_train", "test", "distinct_test", "rejected")
    schema = {"model": pl.String, "architecture": pl.String}
    schema |= {column: pl.Int64 for column in ("layers", "heads", "nodes")}
    schema |= {"task": pl.String}
    schema |= {"gguf": pl.String} if converted else {}
    schema |= {"accuracy": pl.Float64} | {column: pl.Int64 for column in counted}
    note = _models_note(counts)
    if converted:
        note += " gguf: the file that a model was dequantised from, and its tensors."
    labels = 7 if converted else 6
    frame = pl.DataFrame(lines, schema=schema)
    return Table(frame, labels=labels, decimals=3, note=note)


def _models_note(counts: Mapping[tuple[str, str], Mapping[str, int]]) -> str:
    """Explain the columns, and why a task has an empty cell everywhere else."""
    note = (
        "accuracy: of the full model on the test pairs; train, test: usable pairs; "
        "distinct: without repetitions of the same two prompts."
    )
    lacking = [
        f"{task} ({name}) has no {split} pairs"
        for (name, task), count in counts.items()
        for split in SPLITS
        if not count[split]
    ]
    if not lacking:
        return note
    return (
        f"{note} Without train pairs no circuit is found, without test pairs none is "
        f"measured: {', '.join(lacking)}. Where a file has no column `split`, a hash "
        "of `group`, by default of the clean prompt, decides, so that rows with one "
        "clean prompt are all in one split: give both columns. Why rows are rejected "
        "is in the table of rejected rows."
    )


def _gguf_file(record: Mapping[str, Any]) -> str:
    """Return the name of a GGUF file and how many tensors it has of which type."""
    types = ", ".join(f"{n} {name}" for name, n in record["quantisation"].items())
    return f"{Path(record['file']).name} ({types})"


def rejects_table(rejects: Mapping[tuple[str, str], pl.DataFrame]) -> Table:
    """The rows that could not be used, by model and task, and why."""
    columns = {"row": pl.Int64, "reason": pl.String, "clean": pl.String}
    note = "row: counted from 1 in its file, or in the prompts that were generated."
    frame = _by_cell(rejects, {"file": pl.String} | columns)
    return Table(frame, labels=6, longest=LONGEST, note=note)


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
