"""Tabulate the tests of one pair's aligned circuits against all others."""

from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.stages.frames import BY_ABLATION
from circuit_transfer.stages.summaries import table_stage
from circuit_transfer.tables.comparisons import comparisons_table

summarise_tests = table_stage(
    comparisons_table,
    "Tests of differences, {source} → {target}",
    statistics=BY_ABLATION,
)

if __name__ == "__main__":
    run_stage(summarise_tests, snakemake)
