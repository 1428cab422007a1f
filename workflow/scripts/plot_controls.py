"""Draw aligned circuits next to gold ones and controls."""

from circuit_transfer.figures.comparisons import controls_figure
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.stages.drawing import figure_stage
from circuit_transfer.stages.frames import BY_ABLATION

plot_controls = figure_stage(controls_figure, statistics=BY_ABLATION)

if __name__ == "__main__":
    run_stage(plot_controls, snakemake)
