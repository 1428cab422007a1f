"""Compare the edge scores of planted models with the circuits that were planted."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import polars as pl

from circuit_transfer.artifacts.descriptions import read_description
from circuit_transfer.artifacts.edge_scores import read_edge_scores
from circuit_transfer.artifacts.frames import write_frame
from circuit_transfer.artifacts.scores import read_scores
from circuit_transfer.artifacts.text import read_json
from circuit_transfer.circuits.edge_masks import lifted
from circuit_transfer.circuits.recovery import COLUMNS, LIFTED, rankings, recovery_rows
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.models.edges import QUERY_HEAD, Graph, described_graph
from circuit_transfer.tables.planted import planted_table
from circuit_transfer.tables.typesetting import write_table

LABELS = ("model", "task", "method")


def score_planted(
    truth_paths: Iterable[Path | str],
    model_paths: Iterable[Path | str],
    scores_paths: Iterable[Path | str],
    frame_path: Path | str,
    table_paths: Iterable[Path | str],
    *,
    counterfactuals: Mapping[str, str],
    node_scores_paths: Iterable[Path | str] = (),
) -> None:
    """Write a row per model, task, method and ranking, and the table of their means.

    Node scores are lifted to the edges, for comparison. `counterfactuals` has the kind
    of corrupted prompt by task, which decides which edges of a circuit matter.
    """
    truths = {truth["model"]: truth for truth in map(read_json, truth_paths)}
    models = {each["model"]: each for each in map(read_description, model_paths)}

    def rows(metadata: Mapping, control: str, graph: Graph, values: Mapping) -> list:
        labels = {key: metadata[key] for key in LABELS}
        circuits = truths[labels["model"]]["circuits"]
        circuit = circuits[counterfactuals[labels["task"]]][graph.kv]
        found = recovery_rows(graph.edge_names(), values, circuit)
        return [{**labels, "control": control, **each} for each in found]

    found, kv = [], QUERY_HEAD
    for scores in map(read_edge_scores, scores_paths):
        kv = scores.metadata["kv"]
        graph = described_graph(models[scores.metadata["model"]], kv)
        found += rows(scores.metadata, "none", graph, rankings(scores.flat))
    for scores in map(read_scores, node_scores_paths):
        graph = described_graph(models[scores.metadata["model"]], kv)
        by_node = rankings(scores.scores).items()
        by_edge = {name: lifted(graph, values) for name, values in by_node}
        found += rows(scores.metadata, LIFTED, graph, by_edge)
    by_model = pl.col("model").cast(pl.Enum([*truths]))
    frame = pl.DataFrame(found, schema=COLUMNS).sort(by_model, maintain_order=True)
    write_frame(frame, frame_path)
    settings = {model: truth["settings"] for model, truth in truths.items()}
    title = "How well a planted circuit is found"
    write_table(planted_table(frame, settings), *table_paths, title=title)


if __name__ == "__main__":
    run_stage(score_planted, snakemake)
