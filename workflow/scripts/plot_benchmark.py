"""Draw how long everything takes relative to bare passes of one model."""

from circuit_transfer.figures.benchmark import benchmark_figure
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.stages.drawing import figure_stage

plot_benchmark = figure_stage(
    benchmark_figure, measured=["benchmark", "case", "seconds", "shared"]
)

if __name__ == "__main__":
    run_stage(plot_benchmark, snakemake)
