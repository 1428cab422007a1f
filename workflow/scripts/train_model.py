"""Train an embedded model and save it with its tokenizer, a record and a model card."""

from pathlib import Path
from typing import Any

from circuit_transfer.artifacts.files import atomic_files
from circuit_transfer.artifacts.text import write_json, write_text
from circuit_transfer.embedded.card import model_card
from circuit_transfer.embedded.model import TrainingSettings
from circuit_transfer.embedded.training import train
from circuit_transfer.generators import read_words
from circuit_transfer.jobs.resume import NO_RESUME, Resume
from circuit_transfer.jobs.stage import run_stage


def train_model(
    record_path: Path | str,
    *,
    model: str,
    entry: dict[str, Any],
    words_path: Path | str,
    facts_path: Path | str,
    resume: Resume = NO_RESUME,
) -> None:
    """Train by the settings in `entry`, save in the Hugging Face layout with a record.

    An interrupted or failed training saves its progress, and resumes from there; a
    finished one removes it.
    """
    settings = TrainingSettings(**entry)
    words = read_words(words_path, facts_path)
    trained, tokenizer, record = train(settings, words, resume)
    with atomic_files(Path(record_path).parent) as folder:
        trained.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        write_json({"model": model, **record}, folder / Path(record_path).name)
        write_text(model_card(model, record), folder / "README.md")
    resume.remove()


if __name__ == "__main__":
    run_stage(train_model, snakemake)
