"""Write one split of a task's prompt pairs: drawn by its generator, or read."""

import logging
from pathlib import Path
from typing import Any

from circuit_transfer.artifacts.frames import write_frame
from circuit_transfer.generators import generate_prompts, read_words
from circuit_transfer.importers import Imported, import_task
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.models.hub import download_dataset
from circuit_transfer.prompts.frame import reject_frame
from circuit_transfer.prompts.reasons import described_kinds
from circuit_transfer.prompts.splits import missing_split

log = logging.getLogger(__name__)


def write_prompts(
    prompts_path: Path | str,
    rejects_path: Path | str,
    *,
    task: str,
    split: str,
    entry: dict[str, Any],
    words_path: Path | str | None = None,
    facts_path: Path | str | None = None,
    path: Path | str | None = None,
) -> None:
    """Write a split's pairs of a task's config entry, and the rows that give none.

    They are read from `path`, a file or folder, if it is given, from the hub if the
    entry says so, else drawn by the entry's generator. How many pairs the other split
    has changes nothing.
    """
    if "hub" in entry:
        imported = _from_hub(entry)
    elif path:
        imported = import_task(entry, path)
    else:
        prompts = generate_prompts(
            entry["generator"],
            read_words(words_path, facts_path),
            split,
            entry.get(split, 200),
            seed=entry.get("seed", 0),
            counterfactual=entry.get("counterfactual"),
        )
        imported = Imported(prompts, reject_frame([]))
    if problem := missing_split(imported.prompts) if "generator" not in entry else None:
        log.warning("%s: %s", task, problem)
    imported = imported.of_split(split)
    _log_counts(f"{task}, {split}", imported)
    write_frame(imported.prompts, prompts_path)
    write_frame(imported.rejects, rejects_path)


def _from_hub(entry: dict[str, Any]) -> Imported:
    configuration = entry.get("configuration")
    folder = download_dataset(entry["hub"], entry["revision"], configuration)
    # Only the files of the configuration were downloaded.
    inside = {key: entry[key] for key in entry if key != "configuration"}
    return import_task(inside, folder)


def _log_counts(name: str, imported: Imported) -> None:
    log.info("%s: %d pairs", name, len(imported.prompts))
    for kind in described_kinds(imported.rejects["reason"]):
        log.info("%s: %s", name, kind)


if __name__ == "__main__":
    run_stage(write_prompts, snakemake)
