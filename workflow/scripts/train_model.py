"""Train an embedded model and save it with its tokenizer, a record and a model card."""

from pathlib import Path
from typing import Any

from circuit_transfer.artifacts.files import atomic_files
from circuit_transfer.artifacts.text import read_json, write_json, write_text
from circuit_transfer.embedded.card import model_card
from circuit_transfer.embedded.inheritance import Relative, begin
from circuit_transfer.embedded.model import TrainingSettings
from circuit_transfer.embedded.training import SCRATCH, train
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
    parent: dict[str, Any] | None = None,
    parent_record_path: Path | str | None = None,
    teacher: dict[str, Any] | None = None,
    teacher_record_path: Path | str | None = None,
    resume: Resume = NO_RESUME,
) -> None:
    """Train by the settings in `entry`, save in the Hugging Face layout with a record.

    An interrupted or failed training saves its progress, and resumes from there; a
    finished one removes it. `parent` and `teacher` are the models of `init` and
    `distil`: name and checkpoint folder, which the record of a download has instead.
    """
    words = read_words(words_path, facts_path)
    more = {}
    if parent or teacher:
        relatives = (
            _relative(parent, parent_record_path),
            _relative(teacher, teacher_record_path),
        )
        beginning = begin(entry, words, *relatives, resume)
        settings, start = beginning.settings, beginning.start
        more["lineage"] = beginning.lineage
        if start.record:
            more["fade"] = start.record
    else:
        settings, start = TrainingSettings(**entry), SCRATCH
    trained, tokenizer, record = train(settings, words, resume, start)
    record |= more
    with atomic_files(Path(record_path).parent) as folder:
        trained.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        write_json({"model": model, **record}, folder / Path(record_path).name)
        write_text(model_card(model, record), folder / "README.md")
    resume.remove()


def _relative(
    model: dict[str, Any] | None, record_path: Path | str | None
) -> Relative | None:
    if model is None:
        return None
    record = read_json(record_path) if record_path else {}
    folder = record.get("folder", model["checkpoint"])
    return Relative(model["name"], folder, record.get("lineage"))


if __name__ == "__main__":
    run_stage(train_model, snakemake)
