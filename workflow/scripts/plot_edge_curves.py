"""Draw faithfulness over size of circuits of edges on every task."""

from circuit_transfer.figures.edges import edge_curves_by_task
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.stages.drawing import figure_stage
from circuit_transfer.stages.frames import BY_ABLATION

plot_edge_curves = figure_stage(edge_curves_by_task, curves=BY_ABLATION)

if __name__ == "__main__":
    run_stage(plot_edge_curves, snakemake)
