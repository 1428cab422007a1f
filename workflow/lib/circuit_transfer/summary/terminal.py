"""The main tables of a study as text, for the terminal at the end of a run."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from textwrap import TextWrapper

import polars as pl

from circuit_transfer.summary.circuits import gold_by_task, transfer_table
from circuit_transfer.summary.distillation import IN_TERMINAL, distillation_answer
from circuit_transfer.summary.edge_circuits import edges_line
from circuit_transfer.summary.names import Names
from circuit_transfer.tables.differences import MEAN
from circuit_transfer.tables.distillation import DistillationLevels, distillation_table
from circuit_transfer.tables.text import as_text
from circuit_transfer.tables.transfers import Pair
from circuit_transfer.tables.typesetting import Table

# As wide as the tables may be.
_WRAPPER = TextWrapper(width=100, subsequent_indent="  ", break_on_hyphens=False)


Students = Mapping[tuple[str, str], pl.DataFrame]


def results_text(
    statistics: pl.DataFrame,
    names: Names,
    *,
    edges: pl.DataFrame | None = None,
    students: Students | None = None,
) -> str:
    """Return the leaderboard of every pair, or without transfers of every model.

    Below them a line for every model whose circuits of edges were measured, and a table
    of the students of every teacher.

    Args:
        statistics: levels and differences of all circuits, of one ablation.
        names: what the study is of.
        edges: those of circuits of edges, if the study has any.
        students: statistics of students by teacher and student, see
            `tables.distillation_statistics`.
    """
    tables = _tables(statistics, names) if names.methods else ()
    texts = [f"{title}\n{as_text(table)}" for title, table in tables]
    if edges is not None:
        scored = {"edge_methods": names.edge_methods, "tasks": names.tasks}
        lines = (edges_line(edges, target=each, **scored) for each in names.targets)
        texts.append("\n".join(_WRAPPER.fill(line) for line in lines))
    texts += [_students(*each, names) for each in (students or {}).items()]
    return "\n\n".join(texts)


def _tables(statistics: pl.DataFrame, names: Names) -> Iterator[tuple[str, Table]]:
    for source, target in names.pairs:
        pair = Pair(statistics, source, target)
        yield (
            f"Circuits from {source} to {target}, means over tasks:",
            transfer_table(pair, maps=names.maps_by_method(source, target)),
        )
    for target in [] if names.pairs else names.targets:
        pair = Pair(statistics, None, target)
        yield (
            f"Circuits of {target}:",
            gold_by_task(pair, tasks=names.tasks, methods=names.methods),
        )


def _students(pair: tuple[str, str], statistics: pl.DataFrame, names: Names) -> str:
    """Return every variant of one distillation, and whether matching heads helps."""
    (teacher, student), levels = pair, DistillationLevels(statistics)
    task = levels.over_tasks
    own = {"variants": names.variants, "accuracy": names.accuracy}
    table = distillation_table(
        statistics, tasks=[task], measures=IN_TERMINAL, steps=names.steps, **own
    )
    # Named in the title, the task takes no column.
    table = replace(table, frame=table.frame.drop("task"), labels=1)
    place = "means over tasks and seeds" if task == MEAN else f"{task}, over seeds"
    verdict, *_ = distillation_answer(levels, teacher=teacher, student=student, **own)
    title = f"Students, {teacher} distilled into {student}, {place}:"
    return f"{title}\n{as_text(table)}\n{_WRAPPER.fill(verdict.lead)}"
