"""Describe a checkpoint: architecture, nodes, tokenizer, and accuracy where known."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from circuit_transfer.artifacts.text import read_json, write_json
from circuit_transfer.interventions.families import check_sites
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.models.description import describe_model as describe

log = logging.getLogger(__name__)

ORIGIN = ("repository", "revision", "commit")


def describe_model(
    model_path: Path | str,
    *,
    model: str,
    checkpoint: Path | str | None,
    load: Mapping[str, Any],
    record_path: Path | str | None = None,
) -> None:
    """Write what the study needs to know of a model as JSON.

    The record of its download, if it has one, has its folder and its origin; that of
    its training its accuracy per task and, if it was made from another model, its
    lineage (see `models.lineage`); that of its conversion the GGUF file. `load` is
    how every stage loads it.
    """
    record = read_json(record_path) if record_path else {}
    folder = record.get("folder", checkpoint)
    description = {"model": model, **describe(folder, **load, check=check_sites)}
    if "accuracy" in record:
        description["accuracy"] = record["accuracy"]
    if "lineage" in record:
        description["lineage"] = record["lineage"]
    if "gguf" in record:
        description["gguf"] = record["gguf"]
    if "repository" in record:
        description["hub"] = {key: record[key] for key in ORIGIN}
    log.info("%s: %d nodes", model, len(description["nodes"]))
    write_json(description, model_path)


if __name__ == "__main__":
    run_stage(describe_model, snakemake)
