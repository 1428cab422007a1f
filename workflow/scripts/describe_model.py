"""Describe a checkpoint: architecture, nodes, tokenizer, and accuracy where known."""

import logging
from pathlib import Path

from circuit_transfer.artifacts import read_json, write_json
from circuit_transfer.job import job
from circuit_transfer.models import describe_model as describe

log = logging.getLogger(__name__)


def describe_model(
    model_path: Path | str,
    record_path: Path | str | None,
    *,
    model: str,
    checkpoint: Path | str,
    dtype: str,
) -> None:
    """Write what the study needs to know of a model as JSON.

    The record of its training, if it has one, tells its accuracy per task.
    """
    description = {"model": model, **describe(checkpoint, dtype=dtype)}
    if record_path:
        description["accuracy"] = read_json(record_path)["accuracy"]
    log.info("%s: %d nodes", model, len(description["nodes"]))
    write_json(description, model_path)


if __name__ == "__main__":
    with job(snakemake.log[0]):
        describe_model(
            snakemake.output.model,
            snakemake.input.record or None,
            model=snakemake.wildcards.model,
            checkpoint=snakemake.params.checkpoint,
            dtype=snakemake.params.dtype,
        )
