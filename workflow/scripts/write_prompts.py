"""Write the prompt pairs of one task: drawn by its generator, or read from a file."""

import logging
from pathlib import Path
from typing import Any

import polars as pl

from circuit_transfer.artifacts import write_frame
from circuit_transfer.generators import generate_prompts, read_words
from circuit_transfer.importers import read_file
from circuit_transfer.job import job

log = logging.getLogger(__name__)


def write_prompts(
    prompts_path: Path | str,
    *,
    task: str,
    entry: dict[str, Any],
    words_path: Path | str,
    facts_path: Path | str,
    file_path: Path | str | None = None,
) -> None:
    """Write the pairs of a task's config entry, one row each, with split and group.

    They are read from `file_path` if it is given, else drawn by the entry's generator.
    """
    if file_path:
        prompts = read_file(file_path)
    else:
        prompts = generate_prompts(
            entry["generator"],
            read_words(words_path, facts_path),
            train=entry.get("train", 200),
            test=entry.get("test", 200),
            seed=entry.get("seed", 0),
            counterfactual=entry.get("counterfactual"),
        )
    counts = dict(prompts.group_by("split").len().sort(pl.col("split")).rows())
    log.info("%s: %d pairs, %s", task, len(prompts), counts)
    write_frame(prompts, prompts_path)


if __name__ == "__main__":
    with job(snakemake.log[0]):
        write_prompts(
            snakemake.output.prompts,
            task=snakemake.wildcards.task,
            entry=snakemake.params.entry,
            words_path=snakemake.input.words,
            facts_path=snakemake.input.facts,
            file_path=snakemake.input.file or None,
        )
