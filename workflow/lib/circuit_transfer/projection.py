"""Rankings of the target's nodes: source scores projected by alignments and controls.

Plain arithmetic on what earlier stages wrote; the models are not needed.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from circuit_transfer.artifacts import Alignment, Scores
from circuit_transfer.controls import (
    depth_heuristic,
    permuted,
    permuted_columns,
    scaled,
)

RANKING_SCHEMA = {
    "training_set": pl.String,
    "control": pl.String,
    "seed": pl.Int64,
    "scores": pl.List(pl.Float32),
}


def projected_rankings(
    source: Scores,
    alignments: Sequence[Alignment],
    masks: Sequence[Alignment],
    *,
    controls: Sequence[str],
) -> pl.DataFrame:
    """Project a task's source scores by every alignment and every control.

    The controls that need a trained matrix take the task's zero-shot ones.

    Args:
        source: the task's scores on the source model.
        alignments: fits of any training sets and seeds of one model pair and method.
        masks: the free masks of the task, one per seed.
        controls: which controls to add; see `controls.CONTROLS`.

    Returns:
        One row per ranking: `training_set`, `control` (`none` for the aligned circuit
        itself), `seed`, `scores` (`n_target` of them).
    """
    task = source.metadata["task"]
    scores = scaled(source.scores)
    rows = [
        (
            each.metadata["training_set"],
            "none",
            each.metadata["seed"],
            scores @ each.alignment,
        )
        for each in alignments
    ]
    for each in alignments:
        if each.metadata["training_set"] == f"without-{task}":
            rows += _zero_shot_controls(each, scores, task, controls)
    if "depth-heuristic" in controls and alignments:
        names = alignments[0].metadata
        spread = depth_heuristic(names["source_nodes"], names["target_nodes"])
        rows.append((None, "depth-heuristic", None, scores @ spread))
    if "free-mask" in controls:
        for each in masks:
            row = (f"only-{task}", "free-mask", each.metadata["seed"])
            rows.append((*row, each.alignment[0]))
    return pl.DataFrame(rows, schema=RANKING_SCHEMA, orient="row")


def _zero_shot_controls(
    fit: Alignment, scores: np.ndarray, task: str, controls: Sequence[str]
) -> Iterator[tuple]:
    """Yield the rows of the controls that share a seed with a zero-shot fit."""
    seed, training_set = fit.metadata["seed"], fit.metadata["training_set"]
    shuffled = permuted(scores, task=task, seed=seed, what="scrambled-source")
    projections = {
        "random-alignment": lambda: scores @ fit.tensors["initial"],
        "scrambled-source": lambda: shuffled @ fit.alignment,
        "permuted-alignment": lambda: (
            scores @ permuted_columns(fit.alignment, task=task, seed=seed)
        ),
        "source-free": lambda: (
            np.ones_like(scores) @ fit.tensors["alignment/source-free"]
        ),
        "random-source": lambda: (
            permuted(scores, task=task, seed=seed, what="random-source")
            @ fit.tensors["alignment/random-source"]
        ),
    }
    for control, project in projections.items():
        if control in controls:
            row_set = None if control == "random-alignment" else training_set
            yield row_set, control, seed, project()
