"""Join both splits of a task's pairs for one model, and the rejected rows."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from circuit_transfer.artifacts.frames import read_frame, write_frame
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.prompts.frame import PROMPT_SCHEMA, REJECT_SCHEMA
from circuit_transfer.prompts.pairs import PAIR_SCHEMA
from circuit_transfer.prompts.splits import count_generated, join_splits


def join_pairs(
    prompts_path: Path | str,
    prompt_rejects_path: Path | str,
    split_pairs_paths: Sequence[Path | str],
    split_rejects_paths: Sequence[Path | str],
    pairs_path: Path | str,
    rejects_path: Path | str,
) -> None:
    """Read the pairs and rejects of train and test, write those of the task.

    Rows that gave no pair for any model come first among the rejects.

    Args:
        prompts_path: the prompts of both splits.
        prompt_rejects_path: the rows that gave none.
        split_pairs_paths: the pairs of train and test.
        split_rejects_paths: the prompts of train and test that gave no pair.
        pairs_path: where the pairs go.
        rejects_path: where all rejected rows go.
    """
    generated = count_generated(read_frame(prompts_path, [*PROMPT_SCHEMA]))
    pairs = [read_frame(path, [*PAIR_SCHEMA]) for path in split_pairs_paths]
    rejects = [read_frame(path, [*REJECT_SCHEMA]) for path in split_rejects_paths]
    write_frame(join_splits(*pairs, generated=generated).drop("file"), pairs_path)
    earlier = read_frame(prompt_rejects_path, [*REJECT_SCHEMA])
    rejects = [earlier, join_splits(*rejects, generated=generated)]
    write_frame(pl.concat(rejects), rejects_path)


if __name__ == "__main__":
    run_stage(join_pairs, snakemake)
