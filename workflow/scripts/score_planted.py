"""Compare the edge scores of planted models with the circuits that were planted."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from circuit_transfer.artifacts.descriptions import read_description
from circuit_transfer.artifacts.edge_masks import FILTERED, EdgeMasks, read_edge_masks
from circuit_transfer.artifacts.edge_scores import read_edge_scores
from circuit_transfer.artifacts.frames import write_frame
from circuit_transfer.artifacts.scores import read_scores
from circuit_transfer.artifacts.text import read_json
from circuit_transfer.circuits.edge_masks import edge_circuits, lifted
from circuit_transfer.circuits.recovery import (
    COLUMNS,
    FILTER_RECALL,
    LIFTED,
    SIGNED,
    learned_size,
    open_row,
    rankings,
    recovery_rows,
)
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.models.edges import QUERY_HEAD, described_graph
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
    masks_paths: Iterable[Path | str] = (),
) -> None:
    """Write a row per model, task, method and ranking, and the table of their means.

    Node scores are lifted to the edges, for comparison. Of learned circuits there are
    rows per seed, of the smallest size that holds the planted circuit.
    `counterfactuals` has the kind of corrupted prompt by task, which decides which
    edges of a circuit matter.
    """
    truths = {truth["model"]: truth for truth in map(read_json, truth_paths)}
    models = {each["model"]: each for each in map(read_description, model_paths)}
    planted = _Planted(truths, models, counterfactuals)
    found, kv = [], QUERY_HEAD
    for scores in map(read_edge_scores, scores_paths):
        kv = scores.metadata["kv"]
        found += planted.rows(scores.metadata, kv, "none", rankings(scores.flat))
    for masks in map(read_edge_masks, masks_paths):
        kv = masks.metadata["kv"]
        found += planted.learned_rows(masks)
    for scores in map(read_scores, node_scores_paths):
        graph = described_graph(models[scores.metadata["model"]], kv)
        by_node = rankings(scores.scores).items()
        by_edge = {name: lifted(graph, values) for name, values in by_node}
        found += planted.rows(scores.metadata, kv, LIFTED, by_edge)
    by_model = pl.col("model").cast(pl.Enum([*truths]))
    frame = pl.DataFrame(found, schema=COLUMNS).sort(by_model, maintain_order=True)
    write_frame(frame, frame_path)
    settings = {model: truth["settings"] for model, truth in truths.items()}
    title = "How well a planted circuit is found"
    write_table(planted_table(frame, settings), *table_paths, title=title)


@dataclass(frozen=True)
class _Planted:
    """The truth about models: what was planted, which edges they have, and by task."""

    truths: Mapping[str, Mapping]
    models: Mapping[str, Mapping]
    counterfactuals: Mapping[str, str]

    def rows(
        self, metadata: Mapping, kv: str, control: str, values: Mapping
    ) -> list[dict[str, Any]]:
        """Return a row for every ranking of the edges."""
        names = self._names(metadata, kv)
        circuit = self._known("circuits", metadata, kv)
        labels = {key: metadata[key] for key in LABELS} | {"control": control}
        return [labels | row for row in recovery_rows(names, values, circuit)]

    def learned_rows(self, masks: EdgeMasks) -> list[dict[str, Any]]:
        """Return a row for the ranking of a seed, and one for the edges left open."""
        about, kv = masks.metadata, masks.metadata["kv"]
        names, circuit = self._names(about, kv), self._known("circuits", about, kv)
        place = learned_size(masks.sizes, len(circuit) / len(names))
        scores, open_share = masks.all_flat[place], masks.open_share[place]
        share = round(len(names) * float(open_share)) / len(names)
        kept = edge_circuits(scores[None], [share])[0, 0]
        (ranked,) = self.rows(about, kv, "none", {SIGNED: scores})
        alternatives = self._known("alternatives", about, kv)
        is_open = ranked | open_row(names, kept, circuit, alternatives)
        if FILTERED in masks.extras:
            filtered = masks.extras[FILTERED].astype(bool)
            left = open_row(names, filtered, circuit, alternatives)
            is_open[FILTER_RECALL] = left["recall"]
        # Scores such as log alphas are not small or large beside each other.
        ranked |= {name: None for name in ranked if name.startswith("visible")}
        return [row | {"seed": about["seed"]} for row in (ranked, is_open)]

    def _names(self, metadata: Mapping, kv: str) -> list[str]:
        return described_graph(self.models[metadata["model"]], kv).edge_names()

    def _known(self, what: str, metadata: Mapping, kv: str) -> list:
        """Return what a truth has on a task; nothing where it has no such thing."""
        of_kind = self.truths[metadata["model"]][what]
        return of_kind.get(self.counterfactuals[metadata["task"]], {}).get(kv, [])


if __name__ == "__main__":
    run_stage(score_planted, snakemake)
