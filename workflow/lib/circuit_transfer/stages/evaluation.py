"""Measuring the circuits of rankings on a target."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from circuit_transfer.artifacts.descriptions import read_description
from circuit_transfer.artifacts.frames import read_frame, write_frame
from circuit_transfer.artifacts.text import write_json
from circuit_transfer.circuits.faithfulness import evaluate_ablations
from circuit_transfer.jobs.resume import Resume
from circuit_transfer.models.loading import load_described
from circuit_transfer.prompts.batches import fitting_batches
from circuit_transfer.prompts.pairs import select_pairs

log = logging.getLogger(__name__)


def evaluate_rankings(
    rankings: pl.DataFrame,
    model_path: Path | str,
    pairs_path: Path | str,
    faithfulness_path: Path | str,
    cost_path: Path | str,
    *,
    ablations: Sequence[str],
    proportions: Sequence[float],
    examples: int,
    batch_size: int | str,
    resume: Resume,
    complement_of: pl.Expr | None = None,
) -> None:
    """Read a model and its first test pairs, write faithfulness at every size and cost.

    Args:
        rankings: one row per ranking, with `scores` of the model's nodes and labels.
        model_path: description of the model.
        pairs_path: its pairs of the task.
        faithfulness_path: where the frame of `evaluate_ablations` goes.
        cost_path: where the costs go.
        ablations: of the nodes outside the circuit.
        proportions: sizes of the circuits.
        examples: how many pairs at most.
        batch_size: how many of them at once, or `auto`.
        resume: partial progress, which is removed in the end.
        complement_of: which rankings have their complements measured.
    """
    description = read_description(model_path)
    model = load_described(description)
    pairs = select_pairs(read_frame(pairs_path), "test", examples)
    frame, costs = evaluate_ablations(
        model,
        fitting_batches(model, pairs, batch_size),
        rankings,
        proportions,
        ablations=ablations,
        model_name=description["model"],
        resume=resume,
        complement_of=complement_of,
    )
    log.info("%d rankings measured on %d pairs", len(rankings), len(pairs))
    write_frame(frame, faithfulness_path)
    write_json(costs, cost_path)
    resume.remove()


def one_ranking(scores: np.ndarray, **labels: str) -> pl.DataFrame:
    """Return the frame of one ranking by scores `(n_nodes,)`, with labels."""
    return pl.DataFrame([{**labels, "scores": scores.tolist()}])
