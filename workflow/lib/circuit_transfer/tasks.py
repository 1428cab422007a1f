"""The pairs of a task, from where its entry in the configuration says they are."""

from pathlib import Path
from typing import Any

from circuit_transfer.generators import generate_prompts, read_words
from circuit_transfer.importers import Imported, import_task
from circuit_transfer.prompts import reject_frame


def task_prompts(
    entry: dict[str, Any],
    path: Path | str | None,
    *,
    words_path: Path | str,
    facts_path: Path | str,
) -> Imported:
    """Read or draw the pairs of a task, and the rows that give none.

    They are read from `path`, a file or folder, if it is given, from the hub if the
    entry says so, else drawn by the entry's generator.

    Raises:
        ValueError: the pairs cannot be read, or not as many be drawn; it says where.
    """
    if "hub" in entry:
        return _from_hub(entry)
    if path:
        return import_task(entry, path)
    prompts = generate_prompts(
        entry["generator"],
        read_words(words_path, facts_path),
        train=entry.get("train", 200),
        test=entry.get("test", 200),
        seed=entry.get("seed", 0),
        counterfactual=entry.get("counterfactual"),
    )
    return Imported(prompts, reject_frame([]))


def _from_hub(entry: dict[str, Any]) -> Imported:
    # Imported here: only these tasks should pay for the hub's client.
    from circuit_transfer.hub import download_dataset

    configuration = entry.get("configuration")
    folder = download_dataset(entry["hub"], entry["revision"], configuration)
    # Only the files of the configuration were downloaded.
    inside = {key: entry[key] for key in entry if key != "configuration"}
    return import_task(inside, folder)
