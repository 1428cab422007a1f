"""Download a model from the Hugging Face hub, and record what was downloaded."""

from pathlib import Path

from circuit_transfer.artifacts.text import write_json
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.models.hub import download_model as download


def download_model(record_path: Path | str, *, repository: str, revision: str) -> None:
    """Fetch a checkpoint into the hub's cache, write its commit and folder as JSON."""
    folder, commit = download(repository, revision)
    asked = {"repository": repository, "revision": revision}
    write_json({**asked, "commit": commit, "folder": str(folder)}, record_path)


if __name__ == "__main__":
    run_stage(download_model, snakemake)
