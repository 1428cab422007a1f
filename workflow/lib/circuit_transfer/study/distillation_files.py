"""What the stages of distillation read beside what every stage reads.

`w` are the wildcards of a job.
"""

from circuit_transfer.circuits.methods import is_learned
from circuit_transfer.distillation.matchings import MATCHINGS
from circuit_transfer.study.distillation import (
    SECTION,
    measuring_settings,
    scores_edges,
    scores_nodes,
)
from circuit_transfer.study.paths import job, path, paths
from circuit_transfer.study.study import Study


def ranking_scores(study: Study, w) -> str | list:
    """Return the scores that critical heads are ranked by, if they are by a method."""
    by, place = study.config[SECTION]["heads"]["by"], {"model": w.model, "task": w.task}
    if scores_nodes(by):
        return path("scores", **place, method=by)
    if not scores_edges(by):
        return []
    if is_learned(by):
        first = {"learned_method": by, "seed": study.seeds[0]}
        return path("edge-masks", **place, **first)
    return path("edge-scores", **place, edge_method=by)


def compares_activations(w) -> bool:
    """Return whether a matching runs both models."""
    return "activations" in MATCHINGS[w.matching].needs


def compared_pairs(w, model: str) -> str | list:
    """Return the training pairs on which the activations of heads are compared."""
    if not compares_activations(w):
        return []
    return path("split-pairs", model=model, task=w.task, split="train")


def profiled_scores(study: Study, w, model: str) -> list[str]:
    """Return scores of a model's nodes on all tasks, if a matching compares them."""
    if "profile" not in MATCHINGS[w.matching].needs:
        return []
    return paths("scores", model=model, task=study.tasks, method=study.methods[0])


def matching_alignment(study: Study, w) -> str | list:
    """Return the alignment of both models, if a matching is by it.

    On all tasks, by the first method and seed; of two, that from the teacher.
    """
    if not MATCHINGS[w.matching].aligned:
        return []
    pairs = [(w.teacher, w.student), (w.student, w.teacher)]
    source, target = next(each for each in pairs if each in study.transfers)
    first = {"method": study.methods[0], "seed": study.seeds[0]}
    pair = {"source": source, "target": target, "training_set": "all"}
    return path("alignment", **pair, **first)


def used_matching(study: Study) -> str:
    """Return the pattern of the matching that students are trained by."""
    return path("matched-heads", matching=study.config[SECTION]["matching"]["method"])


def student_scores(study: Study, w, kind: str) -> list[str]:
    """Return the scores of `nodes` or `edges` of the student before, and the teacher's.

    A trained student's are compared with them, if the study has a method for them.
    """
    settings = measuring_settings(study.config)
    models = {"model": [w.student, w.teacher], "task": w.task}
    if kind == "nodes":
        return paths("scores", **models, method=[*settings["node_scoring"]])
    return paths("edge-scores", **models, edge_method=[*settings["edge_scoring"]])


def trainings(study: Study, w) -> list[str]:
    """Return what the trainings of a variant cost, by seed."""
    own = {key: getattr(w, key) for key in ("teacher", "student", "task", "variant")}
    return [
        job("distil_student", **own, seed=str(seed)).cost
        for seed in study.config[SECTION]["seeds"]
    ]
