"""Compare the edge scores of planted models with the circuits that were planted."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import polars as pl

from circuit_transfer.artifacts.edge_scores import read_edge_scores
from circuit_transfer.artifacts.frames import write_frame
from circuit_transfer.artifacts.text import read_json
from circuit_transfer.circuits.recovery import COLUMNS, recovery_rows
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.tables.planted import planted_table
from circuit_transfer.tables.typesetting import write_table


def score_planted(
    truth_paths: Iterable[Path | str],
    scores_paths: Iterable[Path | str],
    frame_path: Path | str,
    table_paths: Iterable[Path | str],
    *,
    counterfactuals: Mapping[str, str],
) -> None:
    """Write a row per model, task, method and ranking, and the table of their means.

    `counterfactuals` has the kind of corrupted prompt by task, which decides which
    edges of a circuit matter.
    """
    truths = {truth["model"]: truth for truth in map(read_json, truth_paths)}
    rows = []
    for scores in map(read_edge_scores, scores_paths):
        circuits = truths[scores.metadata["model"]]["circuits"]
        of_task = circuits[counterfactuals[scores.metadata["task"]]]
        rows += recovery_rows(scores, of_task[scores.metadata["kv"]])
    found = pl.DataFrame(rows, schema=COLUMNS)
    write_frame(found, frame_path)
    settings = {model: truth["settings"] for model, truth in truths.items()}
    title = "How well a planted circuit is found"
    write_table(planted_table(found, settings), *table_paths, title=title)


if __name__ == "__main__":
    run_stage(score_planted, snakemake)
