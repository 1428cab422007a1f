"""Models and data sets of the Hugging Face hub: the only place that knows the hub.

What is downloaded lies in the hub's ordinary cache (`HF_HOME`), one folder per commit.
What is there is not downloaded again, and serves where the hub cannot be reached.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from glob import escape
from pathlib import Path
from typing import Any

from httpx2 import HTTPError
from huggingface_hub import constants, get_cached_repo_tree, snapshot_download
from huggingface_hub.errors import (
    CachedRepoTreeNotFoundError,
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import disable_progress_bars

from circuit_transfer.models.architectures import architecture_of
from circuit_transfer.models.checkpoints import (
    INDEX,
    check_checkpoint,
    missing_part,
    read_model_type,
    weight_files,
)

log = logging.getLogger(__name__)

Entries = Mapping[str, Mapping[str, Any]]

# All of a checkpoint but its weights. Code (.py) and pickles are never among them.
SETTINGS = (
    "config.json",
    "generation_config.json",
    INDEX,
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
)
ROWS = (".parquet", ".jsonl", ".json")
# Describes the data of a repository; its name looks like data.
NOT_ROWS = "dataset_infos.json"

# What went wrong and what to do about it; the first that fits an error counts.
REMEDIES = {
    HFValidationError: "not a name on the hub; expected owner/name",
    GatedRepoError: (
        "gated; accept the licence at {page}, then log in by `hf auth login` or set "
        "HF_TOKEN; or download it elsewhere and give its folder as `path:`"
    ),
    RepositoryNotFoundError: (
        "no such {kind} on the hub: it is misspelt, or private and you must log in "
        "(`hf auth login` or HF_TOKEN)"
    ),
    RevisionNotFoundError: (
        "no such revision; expected a branch, tag or commit of {page}"
    ),
    LocalEntryNotFoundError: (
        "neither in the cache ({cache}) nor could the hub be reached ({reason}); "
        "fill the cache where there is a network, or give a folder as `path:`"
    ),
    HTTPError: "the hub did not deliver it ({reason}); try again later",
}


def check_entries(models: Entries, tasks: Entries) -> None:
    """Check the `hub:` entries of a configuration before anything is computed.

    Args:
        models: by the model's name, with keys `hub` and perhaps `revision`.
        tasks: the same by the task's name.

    Raises:
        ValueError: all that is wrong, one line for each entry.
    """
    checks = [(f"models.{name}", check_model, models[name]) for name in models]
    checks += [(f"tasks.{name}", check_dataset, tasks[name]) for name in tasks]
    problems = []
    for key, check, entry in checks:
        try:
            check(entry["hub"], entry.get("revision", "main"))
        except (ValueError, FileNotFoundError) as error:
            problems.append(f"{key}: {error}")
    if problems:
        raise ValueError("\n".join(problems))


def check_model(repository: str, revision: str = "main") -> Path:
    """Check that a model can be downloaded and used, without its weights.

    Args:
        repository: its name, `owner/name`.
        revision: a branch, a tag or a commit.

    Returns:
        The folder of the commit in the cache, with all but the weights. Its name is
        the commit.

    Raises:
        FileNotFoundError: a part of the checkpoint is missing, or the hub cannot be
            reached.
        ValueError: there is no such repository or revision, no access to it, or its
            family is not supported.
    """
    folder = _snapshot(repository, revision, SETTINGS)
    missing = missing_part(_listing(repository, folder))
    if missing:
        raise FileNotFoundError(f"{repository}@{revision}: {missing}")
    try:
        architecture_of(read_model_type(folder))
    except ValueError as error:
        raise ValueError(f"{repository}@{revision}: {error}") from error
    return folder


def download_model(repository: str, revision: str = "main") -> tuple[Path, str]:
    """Download a model into the cache, unless it is there.

    Arguments and errors as of `check_model`.

    Returns:
        The checkpoint folder, and the commit that the revision stands for.
    """
    folder = check_model(repository, revision)
    commit, weights = folder.name, weight_files(folder)
    sizes = _listing(repository, folder)
    size = sum(sizes.get(name, 0) for name in weights)
    log.info("%s@%s: %.3f GB of weights", repository, commit, size / 1e9)
    # By the commit: a branch may have moved since.
    _snapshot(repository, commit, weights)
    check_checkpoint(folder)
    return folder, commit


def check_dataset(repository: str, revision: str = "main") -> Path:
    """Check that a data set can be downloaded, without its rows.

    Arguments and errors as of `check_model`. Returns its folder in the cache.
    """
    return _snapshot(repository, revision, ["README.md"], "dataset")


def download_dataset(
    repository: str, revision: str = "main", configuration: str | None = None
) -> Path:
    """Download the rows of a data set into the cache, unless they are there.

    Args:
        repository: its name, `owner/name`.
        revision: a branch, a tag or a commit.
        configuration: the folder of the repository to take, where it has several.

    Returns:
        The folder with its .parquet, .jsonl and .json files.

    Raises:
        FileNotFoundError: no such files there, or the hub cannot be reached.
        ValueError: there is no such repository or revision, or no access to it.
    """
    folder = check_dataset(repository, revision)
    files = [
        name
        for name in _listing(repository, folder, "dataset")
        if name.endswith(ROWS) and Path(name).name != NOT_ROWS
    ]
    chosen = [
        name
        for name in files
        if not configuration or name.startswith(f"{configuration}/")
    ]
    if not chosen:
        where = f"{repository}@{revision}"
        folders = sorted({str(Path(name).parent) for name in files})
        raise FileNotFoundError(
            f"{where}: no {', '.join(ROWS)} file in {configuration or 'it'}"
            + (f"; there are some in {', '.join(folders)}" if folders else "")
        )
    return _snapshot(repository, folder.name, chosen, "dataset") / (configuration or "")


def _snapshot(
    repository: str, revision: str, names: Iterable[str], kind: str = "model"
) -> Path:
    """Return the folder of a commit in the cache, holding those of the names it has."""
    disable_progress_bars()
    with _explained(repository, revision, kind):
        folder = snapshot_download(
            repository,
            repo_type=kind,
            revision=revision,
            allow_patterns=[escape(name) for name in names],
        )
    return Path(folder)


def _listing(repository: str, folder: Path, kind: str = "model") -> dict[str, int]:
    """Return the size in bytes of every file of a commit, whether downloaded or not."""
    try:
        tree = get_cached_repo_tree(repository, repo_type=kind, revision=folder.name)
    except CachedRepoTreeNotFoundError:
        # Older libraries fill the cache without it; what is there is all we have.
        files = [path for path in folder.rglob("*") if path.is_file()]
        return {str(path.relative_to(folder)): path.stat().st_size for path in files}
    return {file.path: file.size for file in tree}


@contextmanager
def _explained(repository: str, revision: str, kind: str) -> Iterator[None]:
    """Turn the hub's errors into one line: what, where, and what to do."""
    try:
        yield
    except tuple(REMEDIES) as error:
        remedy = next(REMEDIES[type_] for type_ in REMEDIES if isinstance(error, type_))
        section = "datasets/" if kind == "dataset" else ""
        told = remedy.format(
            kind=kind,
            page=f"{constants.ENDPOINT}/{section}{repository}",
            cache=constants.HF_HUB_CACHE,
            reason=str(error.__cause__ or error).strip().split("\n")[0],
        )
        missing = isinstance(error, LocalEntryNotFoundError)
        raised = FileNotFoundError if missing else ValueError
        raise raised(f"{repository}@{revision}: {told}") from error
