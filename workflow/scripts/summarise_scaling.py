"""Tabulate what the pairs of a study recover of the gold circuit on one task."""

from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.stages.frames import BY_ABLATION
from circuit_transfer.stages.summaries import table_stage
from circuit_transfer.tables.scaling import scaling

summarise_scaling = table_stage(
    scaling, "Circuits on {task} by pair", statistics=BY_ABLATION
)

if __name__ == "__main__":
    run_stage(summarise_scaling, snakemake)
