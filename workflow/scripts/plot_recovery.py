"""Draw the share of the gold CPR that aligned circuits recover."""

from circuit_transfer.figures.recovery import recovery_bars
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.stages.drawing import figure_stage
from circuit_transfer.stages.frames import BY_ABLATION

plot_recovery = figure_stage(recovery_bars, statistics=BY_ABLATION)

if __name__ == "__main__":
    run_stage(plot_recovery, snakemake)
