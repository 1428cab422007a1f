"""Download models and data sets from the Hugging Face hub.

The only module that accesses the hub. Downloads are in the hub's ordinary cache
(`HF_HOME`), one folder per commit. Cached files are not downloaded again, and are used
when the hub cannot be reached.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
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

from circuit_transfer.jobs.progress import activity
from circuit_transfer.models.architectures import architecture_of
from circuit_transfer.models.checkpoints import (
    SETTINGS,
    check_checkpoint,
    check_configuration,
    check_listing,
    read_model_type,
    weight_files,
)
from circuit_transfer.models.tokenizer_files import check_text_is_last

log = logging.getLogger(__name__)

Entries = Mapping[str, Mapping[str, Any]]

ROWS = (".parquet", ".jsonl", ".json")
# Metadata of a repository, whose suffix is that of a data file.
NOT_ROWS = "dataset_infos.json"

# Explanation and remedy by type of error; the first match applies.
REMEDIES = {
    HFValidationError: "not a name on the hub; expected owner/name",
    GatedRepoError: (
        "gated; accept the licence at {page}, then log in with `hf auth login` or set "
        "HF_TOKEN; or download it elsewhere and give its folder as `path:`"
    ),
    RepositoryNotFoundError: (
        "no such {kind} on the hub: misspelt, or private, which requires logging in "
        "(`hf auth login` or HF_TOKEN)"
    ),
    RevisionNotFoundError: (
        "no such revision; expected a branch, tag or commit of {page}"
    ),
    LocalEntryNotFoundError: (
        "not in the cache ({cache}), and the hub cannot be reached ({reason}); "
        "download it into the cache with a network, or give a folder as `path:`"
    ),
    HTTPError: "the request to the hub failed ({reason}); try again later",
}


def check_entries(models: Entries, tasks: Entries) -> None:
    """Check the `hub:` entries of a configuration before anything is computed.

    Args:
        models: entries by model name, with `hub` and optionally `revision`.
        tasks: the same by task name.

    Raises:
        ValueError: entries cannot be downloaded; the message has a line for each.
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
    """Check that a model can be downloaded and used, without downloading its weights.

    Args:
        repository: name of the repository, `owner/name`.
        revision: a branch, a tag or a commit.

    Returns:
        The folder of the commit in the cache, with all files except the weights. Its
        name is the commit.

    Raises:
        FileNotFoundError: a part of the checkpoint is missing, or the hub cannot be
            reached.
        ValueError: the repository or revision does not exist or is not accessible, the
            model family is not supported, it is an adapter, or quantised, or its
            tokenizer puts a token after every text.
    """
    # Never code (.py) or pickles.
    folder = _snapshot(repository, revision, SETTINGS)
    check_listing(_listing(repository, folder), where=f"{repository}@{revision}")
    try:
        check_configuration(folder)
        architecture_of(read_model_type(folder))
        check_text_is_last(folder)
    except ValueError as error:
        raise ValueError(f"{repository}@{revision}: {error}") from error
    return folder


def download_model(repository: str, revision: str = "main") -> tuple[Path, str]:
    """Download a model into the cache, unless it is already there.

    Arguments and errors as in `check_model`.

    Returns:
        The checkpoint folder, and the commit of the revision.
    """
    folder = check_model(repository, revision)
    commit, weights = folder.name, weight_files(folder)
    sizes = _listing(repository, folder)
    size = sum(sizes.get(name, 0) for name in weights)
    log.info("%s@%s: %.3f GB of weights", repository, commit, size / 1e9)
    before = _cached_bytes(folder)

    def downloaded() -> str:
        now = _cached_bytes(folder) - before
        return f"downloaded {now / 1e9:.3f} of {size / 1e9:.3f} GB"

    with activity(downloaded):
        # By commit, since a branch may have moved meanwhile.
        _snapshot(repository, commit, weights)
    check_checkpoint(folder)
    return folder, commit


def check_dataset(repository: str, revision: str = "main") -> Path:
    """Check that a data set can be downloaded, without downloading its rows.

    Arguments and errors as in `check_model`. Returns its folder in the cache.
    """
    return _snapshot(repository, revision, ["README.md"], "dataset")


def download_dataset(
    repository: str, revision: str = "main", configuration: str | None = None
) -> Path:
    """Download the rows of a data set into the cache, unless they are already there.

    Args:
        repository: name of the repository, `owner/name`.
        revision: a branch, a tag or a commit.
        configuration: the folder of the repository to download, if it has several.

    Returns:
        The folder with its .parquet, .jsonl and .json files.

    Raises:
        FileNotFoundError: there are no such files, or the hub cannot be reached.
        ValueError: the repository or revision does not exist or is not accessible.
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
            f"{where}: no {', '.join(ROWS)} file"
            + (f" in {configuration}" if configuration else "")
            + (f"; there are some in {', '.join(folders)}" if folders else "")
        )
    return _snapshot(repository, folder.name, chosen, "dataset") / (configuration or "")


def _snapshot(
    repository: str, revision: str, names: Iterable[str], kind: str = "model"
) -> Path:
    """Download the named files of a commit, where they exist; return its folder."""
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
    """Return the size in bytes of every file of a commit, also those not downloaded."""
    try:
        tree = get_cached_repo_tree(repository, repo_type=kind, revision=folder.name)
    except CachedRepoTreeNotFoundError:
        # Older versions of the library cache no listing: list the cached files.
        files = [path for path in folder.rglob("*") if path.is_file()]
        return {str(path.relative_to(folder)): path.stat().st_size for path in files}
    return {file.path: file.size for file in tree}


def _cached_bytes(folder: Path) -> int:
    """Return how much is in the cache of the repository of a commit's folder.

    Files that are being downloaded are there too, under another name.
    """
    size = 0
    for path in (folder.parents[1] / "blobs").glob("*"):
        with suppress(FileNotFoundError):  # renamed meanwhile
            size += path.stat().st_size
    return size


@contextmanager
def _explained(repository: str, revision: str, kind: str) -> Iterator[None]:
    """Convert errors of the hub into one line: what, where, and what to do."""
    try:
        yield
    except tuple(REMEDIES) as error:
        remedy = next(REMEDIES[type_] for type_ in REMEDIES if isinstance(error, type_))
        section = "datasets/" if kind == "dataset" else ""
        explanation = remedy.format(
            kind=kind,
            page=f"{constants.ENDPOINT}/{section}{repository}",
            cache=constants.HF_HUB_CACHE,
            reason=str(error.__cause__ or error).strip().split("\n")[0],
        )
        missing = isinstance(error, LocalEntryNotFoundError)
        raised = FileNotFoundError if missing else ValueError
        raise raised(f"{repository}@{revision}: {explanation}") from error
