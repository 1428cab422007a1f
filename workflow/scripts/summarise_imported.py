"""Tabulate how imported circuits compare with gold and random ones."""

from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.stages.frames import BY_ABLATION
from circuit_transfer.stages.summaries import table_stage
from circuit_transfer.tables.imported import imported_table

summarise_imported = table_stage(
    imported_table, "Imported circuits", statistics=BY_ABLATION, curves=BY_ABLATION
)

if __name__ == "__main__":
    run_stage(summarise_imported, snakemake)
