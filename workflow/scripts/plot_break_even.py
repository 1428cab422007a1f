"""Draw what new tasks cost by transfer and by direct attribution."""

from circuit_transfer.figures.costs import break_even_figure
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.stages.drawing import figure_stage

plot_break_even = figure_stage(break_even_figure, break_even=[])

if __name__ == "__main__":
    run_stage(plot_break_even, snakemake)
