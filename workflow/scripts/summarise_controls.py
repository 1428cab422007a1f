"""Tabulate how one pair's aligned circuits compare with their controls."""

from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.stages.frames import BY_ABLATION
from circuit_transfer.stages.summaries import table_stage
from circuit_transfer.tables.transfers import controls_table

summarise_controls = table_stage(
    controls_table, "Controls, {source} → {target}", statistics=BY_ABLATION
)

if __name__ == "__main__":
    run_stage(summarise_controls, snakemake)
