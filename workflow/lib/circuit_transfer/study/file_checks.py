"""Checks of the files that a study reads, made before any job runs."""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from circuit_transfer.artifacts.foreign import holds_tensors
from circuit_transfer.artifacts.text import read_json
from circuit_transfer.importers import data_files, import_task
from circuit_transfer.messages import quoted
from circuit_transfer.models.architectures import architecture_of
from circuit_transfer.models.checkpoints import check_checkpoint, read_model_type
from circuit_transfer.models.tokenizer_files import check_text_is_last
from circuit_transfer.prompts.frame import SPLITS

# A wildcard or a variable of Snakemake in a path, or a tag in its report, which does
# not escape the descriptions of jobs.
SNAKEMAKES = re.compile(r"[{}<>\n\r]")

# How many of the first rows of a file are read.
HEAD = 1000


def check_files(
    config: Mapping, used: Iterable[str], directories: Sequence[Path]
) -> None:
    """Check that the files of the models and tasks that a study uses can be read.

    Args:
        config: the whole config.
        used: names of the models that the study uses.
        directories: where relative paths may start.
    """
    study, models, tasks = config["study"], config["models"], config["tasks"]
    for name in study["tasks"]:
        if "file" in tasks[name]:
            _check_pairs(f"tasks.{name}.file", tasks[name], directories)
        if "path" in tasks[name]:
            _check_data(f"tasks.{name}.path", tasks[name], directories)
    for name, circuit in config["evaluation"]["circuits"].items():
        key = f"evaluation.circuits.{name}.importances"
        _check_not_pickled(key, _check_file(key, circuit["importances"], directories))
    for name in used:
        if "path" in models[name]:
            _check_checkpoint(f"models.{name}.path", models[name]["path"], directories)
        if "gguf" in models[name]:
            _check_file(f"models.{name}.gguf", models[name]["gguf"], directories)


def rows_by_split(entry: Mapping, directories: Sequence[Path]) -> dict[str, int]:
    """Return how many pairs the file of a task has, by split.

    Of a long file nothing, since only its first rows are read before a run.

    Args:
        entry: of the task; the file has been checked.
        directories: where a relative path may start.
    """
    path = next(path for each in directories if (path := each / entry["file"]).exists())
    found = import_task(dict(entry), path, head=HEAD)
    if len(found.prompts) + len(found.rejects) >= HEAD:
        return {}
    return {split: len(found.of_split(split).prompts) for split in SPLITS}


def read_configuration(model: Mapping, directories: Sequence[Path]) -> dict:
    """Return the `config.json` of the checkpoint folder of a model's entry.

    Raises:
        FileNotFoundError: it has no folder, or no such file is there.
        ValueError: the file is not JSON.
    """
    folders = [each / model["path"] for each in directories if "path" in model]
    files = (folder / "config.json" for folder in folders)
    found = next((file for file in files if file.is_file()), None)
    settings = read_json(found) if found else None
    # Another one is refused when all files of the checkpoint are checked.
    if not isinstance(settings, dict):
        raise FileNotFoundError(f"no configuration of {dict(model)}")
    return settings


def _check_pairs(key: str, entry: Mapping, directories: Sequence[Path]) -> None:
    found = _check_file(key, entry["file"], directories)
    _check_rows(key, entry, found)


def _check_file(key: str, path: str, directories: Sequence[Path]) -> Path:
    found = _check_there(key, path, directories, "file")
    if not found.is_file():
        raise ValueError(f"{key}: {found} is a folder; expected a file")
    _check_readable(key, found)
    return found


def _check_not_pickled(key: str, found: Path) -> None:
    try:
        holds_tensors(found)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from error


def _check_there(
    key: str, path: str, directories: Sequence[Path], what: str = "file or folder"
) -> Path:
    if own := SNAKEMAKES.search(path):
        raise ValueError(
            f"{key}: {quoted(repr(path))}: Snakemake reads {own[0]!r} in a path as "
            "its own; expected another name"
        )
    paths = [directory / path for directory in directories]
    found = next((path for path in paths if os.path.exists(path)), None)
    if found is None:
        raise ValueError(f"{key}: no {what} {quoted(path)} in {_join(directories)}")
    return found


def _check_data(key: str, entry: Mapping, directories: Sequence[Path]) -> None:
    found = _check_there(key, entry["path"], directories)
    try:
        for file in data_files(dict(entry), found):
            _check_readable(key, file)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from error
    _check_rows(key, entry, found)


def _check_rows(key: str, entry: Mapping, path: Path) -> None:
    """Check that a task's pairs can be read, by the first rows of its files.

    The others are read when a run starts: a large file would delay every plan.
    """
    try:
        import_task(dict(entry), path, head=HEAD)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from error


def _check_readable(key: str, file: Path) -> None:
    if not os.access(file, os.R_OK):
        raise ValueError(f"{key}: {file} may not be read; expected a readable file")


def _check_checkpoint(key: str, path: str, directories: Sequence[Path]) -> None:
    folder = _check_there(key, path, directories, "folder")
    if not folder.is_dir():
        raise ValueError(f"{key}: {folder} is a file; expected a checkpoint folder")
    for file in folder.iterdir():
        _check_readable(key, file)
    try:
        check_checkpoint(folder)
        architecture_of(read_model_type(folder))
        check_text_is_last(folder)
    except (FileNotFoundError, ValueError) as error:
        problem = str(error)
        where = "" if problem.startswith(str(folder)) else f"{folder}: "
        raise ValueError(f"{key}: {where}{problem}") from error


def _join(directories: Sequence[Path]) -> str:
    return " or ".join(dict.fromkeys(str(each.resolve()) for each in directories))
