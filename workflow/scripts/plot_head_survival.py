"""Draw which heads the circuits of every method still use."""

from circuit_transfer.figures.head_survival import head_survival
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.stages.drawing import figure_stage
from circuit_transfer.tables.head_survival import SCHEMA

plot_head_survival = figure_stage(head_survival, survival=tuple(SCHEMA))

if __name__ == "__main__":
    run_stage(plot_head_survival, snakemake)
