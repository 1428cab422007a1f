"""What the stages of edges share: the model, its graph, and measuring circuits."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from circuit_transfer.artifacts.descriptions import read_description
from circuit_transfer.artifacts.frames import read_frame, write_frame
from circuit_transfer.artifacts.text import write_json
from circuit_transfer.circuits.edge_faithfulness import evaluate_edge_masks
from circuit_transfer.jobs.resume import Resume
from circuit_transfer.models.edges import described_graph
from circuit_transfer.models.loading import load_described
from circuit_transfer.prompts.batches import fitting_batches
from circuit_transfer.prompts.pairs import select_pairs

log = logging.getLogger(__name__)

LABELS = {
    "target": pl.String,
    "task": pl.String,
    "method": pl.String,
    "control": pl.String,
    "ranking": pl.String,
    "seed": pl.Int64,
    "own_size": pl.Boolean,
    "proportion": pl.Float64,
}

# The circuits that were found, beside controls: their complements are measured too.
FOUND = pl.col("control") == "none"


def labelled(sizes: Sequence[float], **labels: Any) -> pl.DataFrame:
    """Return the labels of one ranking's circuits: one row per size, see `LABELS`.

    Args:
        sizes: shares of the edges.
        labels: the same for all; `seed` and `own_size` are none and false if not given.
    """
    common = {"seed": None, "own_size": False, **labels}
    rows = [{**common, "proportion": size} for size in sizes]
    return pl.DataFrame(rows, schema=LABELS)


def evaluate_edge_circuits(
    model_path: Path | str,
    pairs_path: Path | str,
    faithfulness_path: Path | str,
    cost_path: Path | str,
    labels: pl.DataFrame,
    masks: np.ndarray,
    *,
    kv: str,
    settings: Mapping[str, Any],
    resume: Resume,
    complement_of: pl.Expr | None = None,
) -> None:
    """Read a model and its first test pairs, write faithfulness of circuits, and cost.

    Args:
        model_path: description of the model.
        pairs_path: its pairs of the task.
        faithfulness_path: where the frame of `evaluate_edge_masks` goes.
        cost_path: where the costs go.
        labels: one row per circuit, see `LABELS`.
        masks: bool `(circuits, n_edges)`.
        kv: which readers the graph has, see `models.edges`.
        settings: `ablations`, `examples` and `batch_size`.
        resume: partial progress, which is removed in the end.
        complement_of: which circuits have their complements measured.
    """
    description = read_description(model_path)
    model = load_described(description)
    pairs = select_pairs(read_frame(pairs_path), "test", settings["examples"])
    frame, costs = evaluate_edge_masks(
        model,
        fitting_batches(model, pairs, settings["batch_size"]),
        described_graph(description, kv),
        labels,
        masks,
        ablations=settings["ablations"],
        model_name=description["model"],
        complement_of=complement_of,
        resume=resume,
    )
    log.info("%d circuits of edges measured on %d pairs", len(masks), len(pairs))
    write_frame(frame, faithfulness_path)
    write_json(costs, cost_path)
    resume.remove()
