"""Draw how the time of everything grows with the sizes of one benchmark."""

from circuit_transfer.figures.benchmark import scaling_figure
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.stages.drawing import figure_stage

plot_benchmark_scaling = figure_stage(
    scaling_figure, measured=["benchmark", "case", "axis", "value"]
)

if __name__ == "__main__":
    run_stage(plot_benchmark_scaling, snakemake)
