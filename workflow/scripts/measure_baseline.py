"""Measure what a whole model does on the test pairs of a task."""

import logging
from pathlib import Path

from circuit_transfer.artifacts.descriptions import read_description
from circuit_transfer.artifacts.frames import read_frame
from circuit_transfer.artifacts.text import write_json
from circuit_transfer.circuits.baseline import baseline_measures
from circuit_transfer.circuits.baseline import measure_baseline as measure
from circuit_transfer.circuits.passes import measured
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.models.loading import load_described
from circuit_transfer.prompts.batches import fitting_batches
from circuit_transfer.prompts.pairs import select_pairs

log = logging.getLogger(__name__)


def measure_baseline(
    model_path: Path | str,
    pairs_path: Path | str,
    baseline_path: Path | str,
    cost_path: Path | str,
    *,
    task: str,
    examples: int,
    batch_size: int | str,
) -> None:
    """Read the first test pairs, write how the model answers them and the cost.

    Without a usable pair nothing is measured, and the task is an empty cell.
    """
    description = read_description(model_path)
    name = description["model"]
    pairs = select_pairs(read_frame(pairs_path), "test", examples)
    if pairs.is_empty():
        log.warning(
            "no usable test pair of %s for this model, so an empty cell: the logs of "
            "write_prompts and tokenize_pairs and the table of models say why",
            task,
        )
        measures, costs = baseline_measures([], [], [], []), []
    else:
        model = load_described(description)
        batches = fitting_batches(model, pairs, batch_size)
        with measured("whole model", name, model) as cost:
            measures = measure(model, batches)
        costs = [cost]
        log.info(
            "%(pairs)d pairs, %(distinct)d distinct: accuracy %(accuracy).2f, right "
            "above wrong %(right_above_wrong).2f, logit difference %(logit_diff).2f, "
            "corrupted %(corrupted_logit_diff).2f",
            measures,
        )
    write_json({"model": name, "task": task, **measures}, baseline_path)
    write_json(costs, cost_path)


if __name__ == "__main__":
    run_stage(measure_baseline, snakemake)
