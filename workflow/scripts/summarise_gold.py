"""Tabulate what a model can do, and how faithful its own circuits are."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import polars as pl

from circuit_transfer.artifacts.frames import read_frame
from circuit_transfer.artifacts.scores import read_scores
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.tables.gold import gold_table, top_heads
from circuit_transfer.tables.typesetting import write_table


def summarise_gold(
    statistics_path: Path | str,
    gold_paths: Iterable[Path | str],
    scores_paths: Iterable[Path | str],
    table_paths: Sequence[Path | str],
    *,
    target: str,
    tasks: Sequence[str],
    methods: Sequence[str],
    ablation: str,
) -> None:
    """Write the table of a target's own circuits, one path per format.

    The files of gold circuits and of scores are of one task and method each; the scores
    say which.
    """
    statistics = read_frame(statistics_path, ["ablation"])
    gold = pl.concat(
        read_frame(path, ["task", "method", "ablation", "full_logit_diffs"])
        for path in gold_paths
    ).filter(pl.col("ablation") == ablation)
    whole = {(row["task"], row["method"]): row for row in gold.to_dicts()}
    heads = {}
    for path in scores_paths:
        found = read_scores(path)
        cell = (found.metadata["task"], found.metadata["method"])
        heads[cell] = top_heads(found.scores, found.nodes)
    table = gold_table(
        statistics.filter(pl.col("ablation") == ablation),
        {cell: row["full_logit_diffs"] for cell, row in whole.items()},
        heads,
        target=target,
        tasks=tasks,
        methods=methods,
    )
    write_table(table, *table_paths, title=f"Circuits of {target}")


if __name__ == "__main__":
    run_stage(summarise_gold, snakemake)
