"""Train an embedded model and save it with its tokenizer, a record and a model card."""

from pathlib import Path
from typing import Any

from circuit_transfer.artifacts.files import atomic_files
from circuit_transfer.artifacts.text import write_json, write_text
from circuit_transfer.embedded.card import model_card
from circuit_transfer.embedded.model import TrainingSettings
from circuit_transfer.embedded.training import train
from circuit_transfer.generators import read_words
from circuit_transfer.jobs.job import job
from circuit_transfer.jobs.resume import NO_RESUME, Resume, job_resume


def train_model(
    checkpoint_path: Path | str,
    *,
    model: str,
    entry: dict[str, Any],
    words_path: Path | str,
    facts_path: Path | str,
    resume: Resume = NO_RESUME,
) -> None:
    """Train by the settings in `entry` and save in the Hugging Face layout.

    An interrupted or failed training leaves its state, and goes on from there; a
    finished one removes it.
    """
    settings = TrainingSettings(**entry)
    words = read_words(words_path, facts_path)
    trained, tokenizer, record = train(settings, words, resume)
    with atomic_files(checkpoint_path) as folder:
        trained.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        write_json({"model": model, **record}, folder / "training.json")
        write_text(model_card(model, record), folder / "README.md")
    resume.remove()


if __name__ == "__main__":
    with job(snakemake.log[0]):
        train_model(
            Path(snakemake.output.record).parent,
            model=snakemake.wildcards.model,
            entry=snakemake.params.entry,
            words_path=snakemake.input.words,
            facts_path=snakemake.input.facts,
            resume=job_resume(
                snakemake.params.state,
                snakemake.input,
                dict(snakemake.params.items()),
            ),
        )
