"""Draw what circuits leave to the rest of the model, and where both models agree."""

from circuit_transfer.figures.curves import completeness
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.stages.drawing import figure_stage
from circuit_transfer.stages.frames import BY_ABLATION

plot_completeness = figure_stage(completeness, curves=BY_ABLATION)

if __name__ == "__main__":
    run_stage(plot_completeness, snakemake)
