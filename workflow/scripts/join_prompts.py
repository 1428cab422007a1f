"""Join both splits of a task's prompts, and the rows that give none."""

from collections.abc import Sequence
from pathlib import Path

from circuit_transfer.artifacts.frames import read_frame, write_frame
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.prompts.frame import PROMPT_SCHEMA, REJECT_SCHEMA
from circuit_transfer.prompts.splits import count_generated, join_splits


def join_prompts(
    split_prompts_paths: Sequence[Path | str],
    split_rejects_paths: Sequence[Path | str],
    prompts_path: Path | str,
    rejects_path: Path | str,
) -> None:
    """Read the prompts and rejects of train and test, write those of the task."""
    train, test = (read_frame(path, [*PROMPT_SCHEMA]) for path in split_prompts_paths)
    rejects = [read_frame(path, [*REJECT_SCHEMA]) for path in split_rejects_paths]
    generated = count_generated(train)
    prompts = join_splits(train, test, generated=generated)
    write_frame(prompts, prompts_path)
    write_frame(join_splits(*rejects, generated=generated), rejects_path)


if __name__ == "__main__":
    run_stage(join_prompts, snakemake)
