"""Read prompt pairs from the user's own files and from those of other projects.

Each importer is a module that reads one schema, selected by the entry of the task in
the configuration. Every row becomes a pair, or a reject with the reason.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from circuit_transfer.importers.auto_circuit import read_auto_circuit
from circuit_transfer.importers.eap_ig import read_eap_ig
from circuit_transfer.importers.edge_pruning import read_edge_pruning
from circuit_transfer.importers.mib import MIB_TASKS, read_mib, task_files
from circuit_transfer.importers.own import read_pairs
from circuit_transfer.importers.rows import Imported

__all__ = ["FORMATS", "MIB_TASKS", "Format", "Imported", "data_files", "import_task"]

MIB_SETTINGS = ("configuration", "counterfactual", "leading_space", "train", "test")


@dataclass(frozen=True)
class Format:
    """A file schema: its importer and the file suffixes that it reads."""

    read: Callable[[Path | str], Imported]
    suffixes: tuple[str, ...]


FORMATS = {
    "pairs": Format(read_pairs, (".jsonl", ".csv", ".tsv", ".parquet")),
    "eap-ig": Format(read_eap_ig, (".csv", ".tsv", ".jsonl", ".parquet")),
    "auto-circuit": Format(read_auto_circuit, (".json",)),
    "edge-pruning": Format(read_edge_pruning, (".jsonl",)),
}


def import_task(entry: dict[str, Any], path: Path | str) -> Imported:
    """Read the pairs of a task by its entry in the configuration.

    Args:
        entry: `{file, format?}` with one of `FORMATS`, by default `pairs`; or `{mib,
            configuration?, counterfactual?, leading_space?, train?, test?}` with one of
            `MIB_TASKS`.
        path: the file of the entry, or for `mib` also a folder.

    Raises:
        ValueError: The entry, the files or a user's own rows are invalid.
    """
    if "mib" in entry:
        settings = {name: entry[name] for name in MIB_SETTINGS if name in entry}
        return read_mib(entry["mib"], path, **settings)
    name = entry.get("format", "pairs")
    if name not in FORMATS:
        raise ValueError(f"unknown format {name!r}: expected one of {[*FORMATS]}")
    return FORMATS[name].read(path)


def data_files(entry: dict[str, Any], path: Path | str) -> list[Path]:
    """List the files that `import_task` reads for an entry, in their order.

    Raises:
        ValueError: A folder has no data files, or the configuration is ambiguous.
    """
    if "mib" in entry:
        found = task_files(entry["mib"], path, entry.get("configuration"))
        return [file.path for file in found]
    return [Path(path)]
