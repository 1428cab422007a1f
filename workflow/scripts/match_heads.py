"""Match the critical heads of a student to those of a teacher, by one matching."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from circuit_transfer.artifacts.alignments import read_alignment
from circuit_transfer.artifacts.descriptions import read_description
from circuit_transfer.artifacts.frames import write_frame
from circuit_transfer.artifacts.scores import read_scores
from circuit_transfer.artifacts.text import write_json
from circuit_transfer.circuits.passes import measured_together
from circuit_transfer.distillation.activations import (
    check_positions,
    enough_samples,
    run_features,
)
from circuit_transfer.distillation.critical_heads import critical
from circuit_transfer.distillation.distances import LEAST_TASKS, Comparison, Heads
from circuit_transfer.distillation.frames import MATCH_COLUMNS, MATCHED_COLUMNS
from circuit_transfer.distillation.matching import alignment_weights
from circuit_transfer.distillation.matching import match_heads as match
from circuit_transfer.distillation.matchings import (
    RANK,
    STUDENT,
    TEACHER,
    MatchSettings,
)
from circuit_transfer.distillation.settings import DEBIASED
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.models.lineage import nodes_in_ancestors
from circuit_transfer.models.loading import load_described
from circuit_transfer.models.nodes import is_mlp
from circuit_transfer.stages.distillation import read_heads, read_shared

log = logging.getLogger(__name__)
Costs = list[dict[str, Any]]
# What is known of the heads of a student and of its teacher, see `Heads`.
Known = list[dict[str, Any]]


def match_heads(
    teacher_path: Path | str,
    student_path: Path | str,
    teacher_heads_path: Path | str,
    student_heads_path: Path | str,
    teacher_scores_paths: Iterable[Path | str],
    student_scores_paths: Iterable[Path | str],
    matched_path: Path | str,
    cost_path: Path | str,
    *,
    teacher: str,
    student: str,
    task: str,
    matching: str,
    settings: Mapping[str, Any],
    teacher_pairs_path: Path | str | None = None,
    student_pairs_path: Path | str | None = None,
    alignment_path: Path | str | None = None,
) -> None:
    """Read the heads of both models and what the matching compares, write the pairs.

    Pairs of prompts are read where activations are compared, scores of several tasks
    where their profiles are. `settings` are `assignment`, and those that the matching
    has. Where nothing can be compared, as on a task without usable pairs, no heads are
    matched.
    """
    models = [read_description(path) for path in (student_path, teacher_path)]
    frames = [read_heads(path) for path in (student_heads_path, teacher_heads_path)]
    known = [_of_heads(*each) for each in zip(models, frames, strict=True)]
    costs, weights = [], None
    is_known = not any(frame.is_empty() for frame in frames)
    if is_known and student_pairs_path:
        pairs = (student_pairs_path, teacher_pairs_path)
        is_known, costs = _add_activations(known, models, pairs, settings)
    scores = [[*student_scores_paths], [*teacher_scores_paths]]
    if is_known and scores[0]:
        is_known = _add_profiles(known, scores)
    if is_known and alignment_path:
        weights = _weights(alignment_path, teacher, known)
        is_known = weights is not None
    found = pl.DataFrame(schema=MATCH_COLUMNS)
    if is_known:
        found = _matched(matching, frames, known, weights, settings)
    else:
        log.warning("nothing to compare heads by: no heads are matched")
    labels = {"teacher": teacher, "student": student, "task": task}
    named = {key: pl.lit(value) for key, value in labels.items()}
    named["ancestor"] = _ancestors(models[0], teacher, found["student_head"])
    write_frame(found.with_columns(**named).select(*MATCHED_COLUMNS), matched_path)
    write_json(costs, cost_path)


def _matched(
    matching: str,
    frames: Sequence[pl.DataFrame],
    known: Known,
    weights: np.ndarray | None,
    settings: Mapping[str, Any],
) -> pl.DataFrame:
    """Match the critical heads of a student to those of a teacher."""
    heads = (Heads(**each) for each in known)
    students, teachers = map(critical, frames)
    found = match(
        matching,
        Comparison(*heads, weights, _how(settings, known)),
        assignment=settings["assignment"],
        student_heads=students,
        teacher_heads=teachers,
    )
    pairs = found.select("student_head", "teacher_head").rows()
    log.info("%s", ", ".join(f"{own} to {other}" for own, other in pairs))
    return found


def _of_heads(model: Mapping[str, Any], frame: pl.DataFrame) -> dict[str, Any]:
    """Return what is known of the heads of a model from its critical heads."""
    names = [node for node in model["nodes"] if not is_mlp(node)]
    # A head is in several groups of path patching.
    rows = {row["head"]: row for row in frame.iter_rows(named=True)}
    if not rows:
        return {"names": names}
    return {
        "names": names,
        "layers": model["layers"],
        "base": rows[names[0]]["base"],
        "ablated": np.array([rows[name]["ablated"] for name in names]),
    }


def _ancestors(student: Mapping[str, Any], teacher: str, heads: pl.Series) -> pl.Series:
    """Return the teacher's heads that a student's were made from, null if unknown."""
    known = nodes_in_ancestors(student["nodes"], student.get("lineage"))
    of_teacher = known.get(teacher, {})
    return pl.Series([of_teacher.get(head) for head in heads], dtype=pl.String)


def _add_activations(
    known: Known,
    models: Sequence[Mapping[str, Any]],
    paths: tuple[Path | str, Path | str],
    settings: Mapping[str, Any],
) -> tuple[bool, Costs]:
    """Run both models on the pairs that they share; return whether there are any."""
    loaded = {each["model"]: load_described(each) for each in models}
    how = {key: settings[key] for key in ("examples", "batch_size")}
    batches = read_shared(tuple(loaded.values()), paths, "train", **how)
    positions = settings["positions"]
    if not batches or not enough_samples(batches, positions, DEBIASED):
        return False, []
    check_positions(batches, positions)
    sides = zip(known, loaded.values(), zip(*batches, strict=True), strict=True)
    with measured_together("activations", loaded) as costs:
        for own, model, prompts in sides:
            rows = run_features(model, prompts, own["names"], positions)
            own["activations"] = torch.cat(rows, dim=1)
    return True, costs


def _add_profiles(known: Known, paths: Sequence[Sequence[Path | str]]) -> bool:
    """Read scores of all tasks; return whether both models have some of a task."""
    pairs = [tuple(map(read_scores, each)) for each in zip(*paths, strict=True)]
    usable = [
        pair for pair in pairs if all(np.isfinite(each.scores).all() for each in pair)
    ]
    for own, scores in zip(known, zip(*usable, strict=True), strict=bool(usable)):
        places = [scores[0].nodes.index(name) for name in own["names"]]
        own["profile"] = np.stack([each.scores[places] for each in scores], axis=1)
    return bool(usable)


def _weights(path: Path | str, teacher: str, known: Known) -> np.ndarray | None:
    """Read an alignment of both models, None if it is not known."""
    found = read_alignment(path)
    about, names = found.metadata, [own["names"] for own in known]
    if not np.isfinite(found.alignment).all():
        return None
    source = TEACHER if about["source"] == teacher else STUDENT
    nodes = (about["source_nodes"], about["target_nodes"])
    return alignment_weights(found.alignment, *nodes, *names, source=source)


def _how(settings: Mapping[str, Any], known: Known) -> MatchSettings:
    """Return the settings of a distance; profiles of few tasks compare by rank."""
    own = {key: settings[key] for key in ("baseline", "scale") if key in settings}
    if "profile" in known[0] and known[0]["profile"].shape[1] < LEAST_TASKS:
        own["profile"] = RANK
    return MatchSettings(**own)


if __name__ == "__main__":
    run_stage(match_heads, snakemake)
