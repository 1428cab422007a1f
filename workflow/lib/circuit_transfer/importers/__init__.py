"""Read prompt pairs from the user's own files and from those of other projects.

Each importer is a module that reads one schema. It is recognised by the columns and the
structure of a file, or named by the task's entry in the configuration. Every row
becomes a pair, or a reject with the reason.
"""

from pathlib import Path
from typing import Any

from circuit_transfer.importers.files import cure, suffix
from circuit_transfer.importers.formats import FORMATS, Format, format_of
from circuit_transfer.importers.mib import MIB_TASKS, read_mib, task_files
from circuit_transfer.importers.rows import Imported
from circuit_transfer.importers.tables import READERS, read_table

__all__ = [
    "FORMATS",
    "MIB_TASKS",
    "Format",
    "Imported",
    "data_files",
    "import_task",
    "wrong_type",
]

MIB_SETTINGS = ("configuration", "counterfactual", "leading_space", "train", "test")


def import_task(
    entry: dict[str, Any], path: Path | str, head: int | None = None
) -> Imported:
    """Read the pairs of a task by its entry in the configuration.

    Args:
        entry: `{file, format?}` with one of `FORMATS`, by default that which the file
            matches; or `{mib, configuration?, counterfactual?, leading_space?, train?,
            test?}` with one of `MIB_TASKS`.
        path: the file of the entry, or for `mib` also a folder.
        head: how many of the first rows of every file to read; all by default.

    Raises:
        ValueError: The entry, the files or a user's own rows are invalid.
    """
    if "mib" in entry:
        settings = {name: entry[name] for name in MIB_SETTINGS if name in entry}
        return read_mib(entry["mib"], path, **settings, head=head)
    table = read_table(path, _suffixes(entry), head)
    if not table.rows:
        raise ValueError(f"{path}: no {'prompts' if table.are_prompts else 'rows'}")
    return format_of(table, entry.get("format")).read(table)


def wrong_type(entry: dict[str, Any]) -> str | None:
    """Return what is wrong with the name of an entry's file, or None if nothing is."""
    suffixes = _suffixes(entry)
    if suffix(entry["file"]) in suffixes:
        return None
    of_format = f" for the format {entry['format']}" if "format" in entry else ""
    expected = f"expected a name that ends in {' or '.join(suffixes)}{of_format}"
    return f"{expected}{cure(entry['file'])}"


def _suffixes(entry: dict[str, Any]) -> tuple[str, ...]:
    """Return the types of files that an entry may name."""
    name = entry.get("format")
    if name is None:
        return tuple(READERS)
    if name not in FORMATS:
        raise ValueError(f"unknown format {name!r}: expected one of {[*FORMATS]}")
    return FORMATS[name].suffixes


def data_files(entry: dict[str, Any], path: Path | str) -> list[Path]:
    """List the files that `import_task` reads for an entry, in their order.

    Raises:
        ValueError: A folder has no data files, or the configuration is ambiguous.
    """
    if "mib" in entry:
        found = task_files(entry["mib"], path, entry.get("configuration"))
        return [file.path for file in found]
    return [Path(path)]
