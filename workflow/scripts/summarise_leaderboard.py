"""Tabulate how one pair's aligned circuits compare with gold and random ones."""

from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.stages.frames import BY_ABLATION
from circuit_transfer.stages.summaries import table_stage
from circuit_transfer.tables.transfers import leaderboard

summarise_leaderboard = table_stage(
    leaderboard, "Leaderboard, {source} → {target}", statistics=BY_ABLATION
)

if __name__ == "__main__":
    run_stage(summarise_leaderboard, snakemake)
