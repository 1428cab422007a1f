"""What is measured of a teacher and of its students, before and after a training."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import starmap
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from torch import nn

from circuit_transfer.artifacts.descriptions import read_description
from circuit_transfer.artifacts.edge_scores import read_edge_scores
from circuit_transfer.artifacts.frames import read_frame
from circuit_transfer.artifacts.scores import read_scores
from circuit_transfer.circuits.attribution import attribute
from circuit_transfer.circuits.edge_attribution import attribute_edges
from circuit_transfer.circuits.passes import measured_together
from circuit_transfer.distillation.measures import (
    Probe,
    answer_measures,
    circuit_measures,
    edge_correlation,
    node_correlation,
)
from circuit_transfer.distillation.variants import Pair
from circuit_transfer.models.edges import Graph, described_graph
from circuit_transfer.models.loading import LOAD_OPTIONS, load_described, load_model
from circuit_transfer.prompts.batches import fitting_batches
from circuit_transfer.prompts.pairs import select_pairs
from circuit_transfer.stages.distillation import (
    critical_of,
    read_matched,
    read_shared,
)

Row = dict[str, Any]
Rows = list[Row]
# Of the student, then of the teacher.
Both = tuple[Path | str, Path | str]


@dataclass(frozen=True)
class Scores:
    """Scores of a model's nodes, by name, and of its edges, in order; None if unknown.

    Attributes:
        nodes: by the first method of nodes.
        edges: by the first method of edges.
    """

    nodes: Mapping[str, float] | None
    edges: np.ndarray | None


UNKNOWN = Scores(None, None)


@dataclass(frozen=True)
class Examination:
    """What students and their teacher are measured on.

    Attributes:
        student: description of the student before its training.
        teacher: description of the teacher.
        matched: the matched heads of both.
        critical: the critical heads of the student and of the teacher.
        train: the training pairs of the student, which scores are of.
        tests: by task, where the test pairs of the student and of the teacher are.
        scores: of the student before, and of the teacher.
        task: the task that students are trained on.
        settings: see `study.distillation.measuring_settings`.
    """

    student: Mapping[str, Any]
    teacher: Mapping[str, Any]
    matched: Sequence[Pair]
    critical: tuple[Sequence[str], Sequence[str]]
    train: pl.DataFrame
    tests: Mapping[str, Both]
    scores: tuple[Scores, Scores]
    task: str
    settings: Mapping[str, Any]

    def of_teacher(self) -> tuple[Rows, Rows]:
        """Return the rows of the teacher, one a task, and what they cost."""
        model = self._loaded_teacher
        with measured_together("teacher", {self.teacher["model"]: model}) as costs:
            rows = self._answers(model, 1)
            rows[self.task] |= self._circuit(model, 1)
        return [*rows.values()], costs

    def of_student(self, part: str, folder: Path | None) -> tuple[Rows, Rows]:
        """Return the rows of a student, one a task, and what they cost.

        Args:
            part: name of the costs.
            folder: of its checkpoint; None for the student before.
        """
        student = self._load(folder)
        probe, _ = self.probed
        with measured_together(part, {self.student["model"]: student}) as costs:
            rows = self._answers(student, 0)
            own = rows[self.task]
            own |= self._circuit(student, 0)
            own["cka"] = probe and probe(student)["cka"]
            scores = self._scores(student) if folder else self.scores[0]
            own |= self._correlations(scores)
        return [*rows.values()], costs

    @cached_property
    def _loaded_teacher(self) -> nn.Module:
        return load_described(self.teacher)

    def _load(self, folder: Path | None) -> nn.Module:
        if folder is None:
            return load_described(self.student)
        return load_model(folder, **{key: self.student[key] for key in LOAD_OPTIONS})

    def _batches(self, model: nn.Module, role: int, task: str) -> list:
        how = self.settings["held_out"]
        frame = read_frame(self.tests[task][role])
        pairs = select_pairs(frame, "test", how["examples"])
        return fitting_batches(model, pairs, how["batch_size"])

    def _answers(self, model: nn.Module, role: int) -> dict[str, Row]:
        """Return by task what a model answers, on a task without pairs nothing."""
        rows = {}
        for task in self.tests:
            batches = self._batches(model, role, task)
            rows[task] = {"evaluated_task": task}
            rows[task] |= answer_measures(model, batches) if batches else {}
        return rows

    def _circuit(self, model: nn.Module, role: int) -> Row:
        """Return what the critical heads alone answer."""
        batches, heads = self._batches(model, role, self.task), self.critical[role]
        if not batches or not heads:
            return {}
        nodes = (self.student, self.teacher)[role]["nodes"]
        found = circuit_measures(model, batches, heads, nodes)
        return {key: found[key] for key in ("circuit_accuracy", "faithfulness")}

    @cached_property
    def probed(self) -> tuple[Probe | None, Rows]:
        """What compares the matched heads, and what it cost to run the teacher's.

        On pairs of both models, once for all students; None without some.
        """
        models = self._load(None), self._loaded_teacher
        files, how = self.tests[self.task], self.settings["held_out"]
        batches = read_shared(models, files, "test", **how)
        if not batches or not self.matched:
            return None, []
        heads, positions = self.matched, self.settings["positions"]
        with measured_together("probe", {self.teacher["model"]: models[1]}) as costs:
            probe = Probe(models[1], batches, heads, positions)
        return probe, costs

    def _scores(self, student: nn.Module) -> Scores:
        """Score the nodes and edges of a student."""
        nodes = edges = None
        for method, how in self.settings["node_scoring"].items():
            batches, how = self._scored(student, how)
            if batches:
                found = attribute(student, batches, method=method, **how).mean()
                nodes = dict(zip(self.student["nodes"], found.tolist(), strict=True))
        for method, how in self.settings["edge_scoring"].items():
            batches, how = self._scored(student, how)
            if batches:
                graph = self._graphs[0]
                found = attribute_edges(student, batches, graph, method=method, **how)
                edges = graph.flat(found.scores.cpu().numpy())
        return Scores(nodes, edges)

    def _scored(self, student: nn.Module, how: Mapping[str, Any]) -> tuple[list, Row]:
        """Return the batches that scores are of, and the other settings."""
        pairs = select_pairs(self.train, "train", how["examples"])
        batches = fitting_batches(student, pairs, how["batch_size"])
        keys = ("ig_steps", "ablation", "grid")
        return batches, {key: how[key] for key in keys if key in how}

    @property
    def _graphs(self) -> tuple[Graph, Graph]:
        return described_graph(self.student), described_graph(self.teacher)

    def _correlations(self, scores: Scores) -> Row:
        """Return how scores of a student correlate with those of the teacher."""
        teacher, row = self.scores[1], {}
        if scores.nodes and teacher.nodes:
            found = node_correlation(scores.nodes, teacher.nodes, self.matched)
            row["node_correlation"] = _known(found)
        if scores.edges is not None and teacher.edges is not None:
            both = scores.edges, teacher.edges
            found = edge_correlation(*both, self._graphs, self.matched)
            row["edge_correlation"] = _known(found)
        return row


def read_examination(
    *,
    descriptions: tuple[Path | str, Path | str],
    matched: Path | str,
    heads: tuple[Path | str, Path | str],
    train: Path | str,
    scores: Iterable[tuple[Path | str | None, Path | str | None]],
    **others: Any,
) -> Examination:
    """Read what students are measured on.

    Args:
        descriptions: of the student and of the teacher.
        matched: their matched heads.
        heads: the critical heads of each.
        train: the training pairs of the student.
        scores: of the nodes and of the edges of each, None where there are none; of
            neither model, if the study has no method.
        others: further attributes of `Examination`.
    """
    student, teacher = map(read_description, descriptions)
    return Examination(
        student=student,
        teacher=teacher,
        matched=read_matched(matched),
        critical=tuple(map(critical_of, heads)),
        train=read_frame(train),
        scores=tuple(starmap(_read_scores, scores)) or (UNKNOWN, UNKNOWN),
        **others,
    )


def _read_scores(nodes: Path | str | None, edges: Path | str | None) -> Scores:
    of_nodes = read_scores(nodes) if nodes else None
    of_edges = read_edge_scores(edges).flat if edges else None
    if of_nodes is not None and np.isfinite(of_nodes.scores).all():
        of_nodes = dict(zip(of_nodes.nodes, of_nodes.scores.tolist(), strict=True))
    else:
        of_nodes = None
    if of_edges is not None and not np.isfinite(of_edges).all():
        of_edges = None
    return Scores(of_nodes, of_edges)


def _known(value: float) -> float | None:
    """Return a value, None if it is not a number."""
    return value if isfinite(value) else None
