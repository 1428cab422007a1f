"""Find the data files of a MIB dataset with the layout of the Hugging Face hub."""

import re
from dataclasses import dataclass
from pathlib import Path

from circuit_transfer.importers.files import check_file, suffix

SUFFIXES = (".parquet", ".jsonl")
SPLIT_NAMES = {"train": "train", "test": "test"} | dict.fromkeys(
    ("validation", "valid", "val", "dev"), "validation"
)
SPLIT_NAME = re.compile(rf"(?:^|[^a-z])({'|'.join(SPLIT_NAMES)})(?![a-z])")


@dataclass(frozen=True)
class DataFile:
    """One file of a dataset.

    Attributes:
        path: path of the file.
        name: name of the file in rejects: relative to the folder, or the given path.
        split: `train`, `test`, or None if the name has no split.
    """

    path: Path
    name: str
    split: str | None


def find_files(
    path: Path | str, configuration: str | None = None, *, default: str | None = None
) -> list[DataFile]:
    """Return the files to read: `path` itself, or those in the folder, in order.

    The split is part of the name of a file or else of a folder: `train.jsonl`,
    `data/test-00000-of-00001.parquet`, `validation/0000.parquet`. Validation files are
    used for testing if there are no test files, and ignored otherwise. The names of the
    other folders, except `data`, are the configuration: `4_answer_choices/test.jsonl`.
    If some files have a split, those without are ignored.

    Args:
        path: a file or a folder.
        configuration: the configuration to read, in a folder that has several.
        default: the configuration to read if none is given.

    Raises:
        ValueError: There are no data files, or files of both types, or several
            configurations of which none, or an unknown one, is chosen.
    """
    path = Path(path)
    if not path.exists():
        raise ValueError(f"{path}: no such file or folder")
    if not path.is_dir():
        check_file(path, SUFFIXES)
        split = _split(Path(path.name))
        return [DataFile(path, str(path), "test" if split == "validation" else split)]
    inside = sorted(_data_files(path))
    if not inside:
        raise ValueError(
            f"{path}: no data files ({', '.join(SUFFIXES)}) in this folder"
        )
    chosen = _of_configuration(path, inside, configuration, default)
    if len({suffix(file) for file in chosen}) > 1:
        names = [str(file) for file in chosen]
        raise ValueError(f"{path}: expected files of one type, found {names}")
    return [
        DataFile(path / file, file.as_posix(), split)
        for file, split in _used_splits(chosen)
    ]


def _data_files(folder: Path) -> list[Path]:
    """List the data files of a folder and its subfolders, without hidden ones."""
    found = [file.relative_to(folder) for file in folder.rglob("*") if file.is_file()]
    return [
        file
        for file in found
        if suffix(file) in SUFFIXES
        and not any(part.startswith(".") for part in file.parts)
    ]


def _split(file: Path) -> str | None:
    for part in (file.stem, *reversed(file.parts[:-1])):
        if found := SPLIT_NAME.search(part.lower()):
            return SPLIT_NAMES[found[1]]
    return None


def _configuration(file: Path) -> str:
    folders = [part for part in file.parts[:-1] if part not in {"data", *SPLIT_NAMES}]
    return "/".join(folders)


def _of_configuration(
    folder: Path, files: list[Path], configuration: str | None, default: str | None
) -> list[Path]:
    known = sorted({_configuration(file) for file in files})
    if configuration is None and len(known) == 1:
        return files
    configuration = configuration or (default if default in known else None)
    if configuration not in known:
        found = f"{configuration!r} is not one" if configuration else "choose one"
        raise ValueError(f"{folder}: {found} of the configurations {known}")
    return [file for file in files if _configuration(file) == configuration]


def _used_splits(files: list[Path]) -> list[tuple[Path, str | None]]:
    splits = {file: _split(file) for file in files}
    if not any(splits.values()):
        return [(file, None) for file in files]
    test = "test" if "test" in splits.values() else "validation"
    used = {"train": "train", test: "test"}
    return [(file, used[split]) for file, split in splits.items() if split in used]
