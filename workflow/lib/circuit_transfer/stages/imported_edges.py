"""Measuring edges from elsewhere on a target."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from circuit_transfer.artifacts.descriptions import read_description
from circuit_transfer.artifacts.frames import read_frame, write_frame
from circuit_transfer.artifacts.text import write_json
from circuit_transfer.circuits.edge_faithfulness import (
    evaluate_edge_masks,
    evaluate_edges,
)
from circuit_transfer.circuits.imported import ImportedEdges
from circuit_transfer.jobs.resume import Resume
from circuit_transfer.models.loading import load_described
from circuit_transfer.prompts.batches import fitting_batches
from circuit_transfer.prompts.pairs import select_pairs

log = logging.getLogger(__name__)


def evaluate_imported_edges(
    edges: ImportedEdges,
    model_path: Path | str,
    pairs_path: Path | str,
    faithfulness_path: Path | str,
    cost_path: Path | str,
    *,
    labels: Mapping[str, str],
    ablations: Sequence[str],
    proportions: Sequence[float],
    examples: int,
    batch_size: int | str,
    resume: Resume,
) -> None:
    """Read a model and its first test pairs, write the faithfulness of edges and cost.

    A ranking is measured at every size, a circuit at its own.

    Args:
        edges: the edges of the model.
        model_path: description of the model.
        pairs_path: its pairs of the task.
        faithfulness_path: where the frame of `evaluate_edge_masks` goes.
        cost_path: where the costs go.
        labels: of the rows of the frame.
        ablations: of the edges outside the circuit.
        proportions: sizes of the circuits of a ranking.
        examples: how many pairs at most.
        batch_size: how many of them at once, or `auto`.
        resume: partial progress, which is removed in the end.
    """
    description = read_description(model_path)
    model = load_described(description)
    pairs = select_pairs(read_frame(pairs_path), "test", examples)
    on = model, fitting_batches(model, pairs, batch_size), edges.graph
    settings = {"ablations": ablations, "model_name": description["model"]}
    settings |= {"resume": resume, "complement_of": pl.lit(True)}
    if edges.circuit is None:
        ranked = edges.ranked()
        rows, scores = _rows(labels, [*ranked]), np.stack([*ranked.values()])
        frame, costs = evaluate_edges(*on, rows, scores, proportions, **settings)
    else:
        rows = _rows(labels, [None]).with_columns(
            own_size=True, proportion=pl.lit(float(edges.circuit.mean()))
        )
        frame, costs = evaluate_edge_masks(*on, rows, edges.circuit[None], **settings)
    log.info("%d circuits of edges measured on %d pairs", len(frame), len(pairs))
    write_frame(frame, faithfulness_path)
    write_json(costs, cost_path)
    resume.remove()


def _rows(labels: Mapping[str, str], rankings: Sequence[str | None]) -> pl.DataFrame:
    """Return the labels of rankings, a row for each."""
    return pl.DataFrame({"ranking": rankings}, schema={"ranking": pl.String}).select(
        *(pl.lit(value).alias(name) for name, value in labels.items()),
        pl.lit("none").alias("control"),
        "ranking",
        pl.lit(None, pl.Int64).alias("seed"),
        pl.lit(False).alias("own_size"),
    )
