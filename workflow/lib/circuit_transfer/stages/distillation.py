"""What the stages of distillation share: heads, pairs of both models, and students."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import torch
from torch import nn

from circuit_transfer.artifacts.files import atomic_files
from circuit_transfer.artifacts.frames import read_frame
from circuit_transfer.artifacts.text import write_json
from circuit_transfer.distillation.critical_heads import critical
from circuit_transfer.distillation.frames import CRITICAL_COLUMNS, MATCHED_COLUMNS
from circuit_transfer.distillation.variants import Pair
from circuit_transfer.jobs.resume import Resume, State
from circuit_transfer.models.loading import load_tokenizer
from circuit_transfer.prompts.batches import PairBatch
from circuit_transfer.prompts.pairs import select_pairs
from circuit_transfer.transfer.shared_prompts import shared_batches, size_for_both

Shared = list[tuple[PairBatch, PairBatch]]
RECORD = "training.json"
TOKENIZER = ("tokenizer.json", "tokenizer_config.json")
NO_PAIRS = (
    "no pair of %s that can be used: the logs of write_prompts and tokenize_pairs and "
    "the table of models say why"
)


def read_heads(path: Path | str) -> pl.DataFrame:
    """Read what `find_critical_heads` wrote."""
    return read_frame(path, [*CRITICAL_COLUMNS])


def critical_of(path: Path | str) -> list[str]:
    """Read the names of the critical heads of a model."""
    return critical(read_heads(path))


def read_matched(path: Path | str) -> list[Pair]:
    """Read the matched heads of student and teacher."""
    frame = read_frame(path, [*MATCHED_COLUMNS])
    return frame.select("student_head", "teacher_head").rows()


def read_shared(
    models: tuple[nn.Module, nn.Module],
    paths: tuple[Path | str, Path | str],
    split: str,
    *,
    examples: int | None,
    batch_size: int | str,
) -> Shared:
    """Read the first pairs of a task that both models can use, in batches.

    Args:
        models: the student and the teacher.
        paths: of the pairs for each.
        split: `train` or `test`.
        examples: pairs at most; None for all.
        batch_size: pairs in a batch, or `auto`.
    """
    frames = [read_frame(path) for path in paths]
    frames = [select_pairs(each, split, examples or len(each)) for each in frames]
    size = size_for_both(models, frames, batch_size)
    return shared_batches(*frames, size, models[0].device)


def check_same_tokens(batches: Shared) -> None:
    """Check that the prompts and answers of two models are the same tokens.

    Raises:
        ValueError: they are not, so that logits of the models cannot be compared.
    """
    for own, other in batches:
        for name in ("clean", "answers"):
            if not torch.equal(getattr(own, name), getattr(other, name)):
                raise ValueError(
                    "variant logits: teacher and student cut the prompts into other "
                    "tokens; expected models with the same tokenizer (leave out the "
                    "variant)"
                )


def write_student(
    folder: Path | str,
    student: nn.Module,
    description: Mapping[str, Any],
    record: Mapping[str, Any],
) -> None:
    """Write a student as a checkpoint of the Hugging Face layout, with its record.

    Args:
        folder: where it goes.
        student: the model.
        description: of the model that it was before, whose tokenizer it has.
        record: of its training.
    """
    with atomic_files(folder) as partial:
        # One file, whatever the size: its name is known before.
        student.save_pretrained(partial, max_shard_size="1TB")
        load_tokenizer(description["path"]).save_pretrained(partial)
        # As they are where they are there: the library adds how it has read them.
        for name in TOKENIZER:
            if (file := Path(description["path"]) / name).is_file():
                shutil.copyfile(file, partial / name)
        write_json(record, partial / RECORD)


class Finished:
    """Rows of the parts of a stage that are done, and their costs.

    A part that is interrupted is done again from its beginning.
    """

    def __init__(self, resume: Resume):
        """Take what an earlier run has left.

        Args:
            resume: of the job.
        """
        self._resume = resume
        self.parts: list[dict[str, Any]] = []
        left = resume.restore("finished", lambda: State({}, {"parts": self.parts}))
        if left is not None:
            self.parts += left.notes["parts"]

    def add(
        self, rows: Sequence[Mapping[str, Any]], costs: Sequence[Mapping[str, Any]]
    ) -> None:
        """Add a part, and save it if it is time to.

        Args:
            rows: its rows.
            costs: what it cost.
        """
        self.parts.append({"rows": list(rows), "costs": list(costs)})
        self._resume.save()

    def joined(self, kind: str) -> list[dict[str, Any]]:
        """Return the `rows` or the `costs` of all parts."""
        return [each for part in self.parts for each in part[kind]]
