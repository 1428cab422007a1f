"""Describe a checkpoint: architecture, nodes, tokenizer, and accuracy where known."""

import logging
from pathlib import Path

from circuit_transfer.artifacts import read_json, write_json
from circuit_transfer.job import job
from circuit_transfer.models import describe_model as describe

log = logging.getLogger(__name__)


def describe_model(
    model_path: Path | str, *, model: str, checkpoint: Path | str, dtype: str
) -> None:
    """Write what the study needs to know of a model as JSON."""
    description = {"model": model, **describe(checkpoint, dtype=dtype)}
    training = Path(checkpoint) / "training.json"
    if training.is_file():
        description["accuracy"] = read_json(training)["accuracy"]
    log.info("%s: %d nodes", model, len(description["nodes"]))
    write_json(description, model_path)


if __name__ == "__main__":
    with job(snakemake.log[0]):
        describe_model(
            snakemake.output.model,
            model=snakemake.wildcards.model,
            checkpoint=snakemake.params.checkpoint,
            dtype=snakemake.params.dtype,
        )
