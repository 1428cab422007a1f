"""Tabulate how faithful a model's circuits of edges are, and how large."""

from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.stages.frames import BY_ABLATION
from circuit_transfer.stages.summaries import table_stage
from circuit_transfer.tables.edge_levels import edges_table

summarise_edge_circuits = table_stage(
    edges_table, "Circuits of edges of {target}", statistics=BY_ABLATION
)

if __name__ == "__main__":
    run_stage(summarise_edge_circuits, snakemake)
