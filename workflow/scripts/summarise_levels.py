"""Tabulate transfers at nodes beside those at edges, with their best controls."""

from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.stages.frames import BY_ABLATION
from circuit_transfer.stages.summaries import table_stage
from circuit_transfer.tables.levels import levels_table

summarise_levels = table_stage(
    levels_table, "Nodes and edges, {source} → {target}", statistics=BY_ABLATION
)

if __name__ == "__main__":
    run_stage(summarise_levels, snakemake)
