"""Tabulate what every map makes of real and of other source scores."""

from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.stages.frames import BY_ABLATION
from circuit_transfer.stages.summaries import table_stage
from circuit_transfer.tables.comparisons import maps_table

summarise_maps = table_stage(
    maps_table, "Circuits by map, {source} → {target}", statistics=BY_ABLATION
)

if __name__ == "__main__":
    run_stage(summarise_maps, snakemake)
