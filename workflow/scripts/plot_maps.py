"""Draw every map by the source scores that it is given."""

from circuit_transfer.figures.comparisons import maps_figure
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.stages.drawing import figure_stage
from circuit_transfer.stages.frames import BY_ABLATION

plot_maps = figure_stage(maps_figure, statistics=BY_ABLATION)

if __name__ == "__main__":
    run_stage(plot_maps, snakemake)
