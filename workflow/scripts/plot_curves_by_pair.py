"""Draw faithfulness over circuit size for every pair and method."""

from circuit_transfer.figures.curves import curves_by_pair
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.stages.drawing import figure_stage
from circuit_transfer.stages.frames import BY_ABLATION

plot_curves_by_pair = figure_stage(
    curves_by_pair, curves=BY_ABLATION, statistics=BY_ABLATION
)

if __name__ == "__main__":
    run_stage(plot_curves_by_pair, snakemake)
