"""Draw what finding circuits takes against how good they are, for all methods."""

from circuit_transfer.figures.methods import methods_figure
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.stages.drawing import figure_stage
from circuit_transfer.tables.method_statistics import SCHEMA

plot_methods = figure_stage(methods_figure, statistics=tuple(SCHEMA))

if __name__ == "__main__":
    run_stage(plot_methods, snakemake)
