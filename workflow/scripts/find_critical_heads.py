"""Find the critical heads of one model on one task, with the effect of each alone."""

import logging
from pathlib import Path

import polars as pl

from circuit_transfer.artifacts.descriptions import read_description
from circuit_transfer.artifacts.edge_scores import read_edge_scores
from circuit_transfer.artifacts.frames import read_frame, write_frame
from circuit_transfer.artifacts.scores import read_scores
from circuit_transfer.artifacts.text import write_json
from circuit_transfer.circuits.methods import METHODS
from circuit_transfer.circuits.passes import measured
from circuit_transfer.distillation.critical_heads import (
    critical,
    rank_by_edges,
    rank_by_effect,
    rank_by_scores,
)
from circuit_transfer.distillation.frames import CRITICAL_COLUMNS, EFFECT, PATHS
from circuit_transfer.distillation.head_effects import head_effects
from circuit_transfer.distillation.marked_groups import patch_marked
from circuit_transfer.jobs.resume import NO_RESUME, Resume
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.models.loading import load_described
from circuit_transfer.prompts.batches import fitting_batches
from circuit_transfer.prompts.pairs import select_pairs
from circuit_transfer.stages.distillation import NO_PAIRS

log = logging.getLogger(__name__)


def find_critical_heads(
    model_path: Path | str,
    pairs_path: Path | str,
    heads_path: Path | str,
    cost_path: Path | str,
    *,
    task: str,
    by: str,
    metric: str,
    count: int | float,
    examples: int,
    batch_size: int | str,
    scores_path: Path | str | None = None,
    resume: Resume = NO_RESUME,
) -> None:
    """Read the first training pairs, write the ranking of the heads, and the cost.

    Heads are ranked `by` the effect of ablating each, by path patching, or by the
    method whose scores are given; `metric` is that of the effects, `count` the number
    of critical heads. No rows without pairs.
    """
    description = read_description(model_path)
    name = description["model"]
    pairs = select_pairs(read_frame(pairs_path), "train", examples)
    frame, costs = pl.DataFrame(schema=CRITICAL_COLUMNS), []
    if pairs.is_empty():
        log.warning(NO_PAIRS, task)
    else:
        model = load_described(description)
        batches = fitting_batches(model, pairs, batch_size)
        with measured("heads", name, model, resume) as cost:
            effects = head_effects(model, batches, resume=resume)
            if by == PATHS:
                ranked = patch_marked(model, pairs, batch_size, count, resume=resume)
            elif by == EFFECT:
                ranked = rank_by_effect(effects, metric, count)
            else:
                ranked = _by_method(by, scores_path, count)
        frame, costs = _described(ranked, effects, metric, name, task), [cost]
        log.info("critical heads: %s", ", ".join(critical(frame)))
    write_frame(frame, heads_path)
    write_json(costs, cost_path)
    resume.remove()


def _by_method(by: str, path: Path | str, count: int | float) -> pl.DataFrame:
    """Rank heads by the scores in a file, of nodes or of edges."""
    if METHODS[by].scores == "nodes":
        scores = read_scores(path)
        return rank_by_scores(scores.scores, scores.nodes, count)
    edges = read_edge_scores(path)
    return rank_by_edges(edges.scores, edges.writers, count)


def _described(
    ranked: pl.DataFrame, effects: pl.DataFrame, metric: str, model: str, task: str
) -> pl.DataFrame:
    """Return a ranking with the effects of the heads, and what it is of."""
    of_metric = effects.filter(pl.col("metric") == metric)
    found = ranked.join(of_metric, on="head", maintain_order="left")
    labels = {"model": pl.lit(model), "task": pl.lit(task)}
    if "group" not in ranked:
        labels["group"] = pl.lit(None, pl.String)
    return found.with_columns(**labels).select(*CRITICAL_COLUMNS)


if __name__ == "__main__":
    run_stage(find_critical_heads, snakemake)
