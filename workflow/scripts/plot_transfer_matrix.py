"""Draw what training an alignment on one task gives on another."""

from circuit_transfer.figures.matrices import transfer_matrices
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.stages.drawing import figure_stage
from circuit_transfer.stages.frames import BY_ABLATION

plot_transfer_matrix = figure_stage(transfer_matrices, cpr=BY_ABLATION)

if __name__ == "__main__":
    run_stage(plot_transfer_matrix, snakemake)
