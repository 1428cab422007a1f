"""Draw the correlation of one pair's projections with the gold scores."""

from circuit_transfer.figures.similarity import correlations_figure
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.stages.drawing import figure_stage

plot_correlations = figure_stage(correlations_figure, correlations=[])

if __name__ == "__main__":
    run_stage(plot_correlations, snakemake)
