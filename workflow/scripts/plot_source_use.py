"""Draw whether transfers use their source."""

from circuit_transfer.figures.source_use import source_use
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.stages.drawing import figure_stage
from circuit_transfer.tables.source_use import SCHEMA

plot_source_use = figure_stage(source_use, source_use=tuple(SCHEMA))

if __name__ == "__main__":
    run_stage(plot_source_use, snakemake)
