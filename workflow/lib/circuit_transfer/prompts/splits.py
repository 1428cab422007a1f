"""Join the train and test pairs of a task, which are written separately.

So neither split depends on the number of pairs in the other. Rows of a file have their
number there. Generated rows are numbered within their split; in a joined frame, the
numbers of the test split continue those of the train split.
"""

import polars as pl

from circuit_transfer.prompts.frame import SPLITS


def count_generated(prompts: pl.DataFrame) -> int:
    """Return how many train rows of a frame of `PROMPT_SCHEMA` were generated."""
    return len(prompts.filter(pl.col("file").is_null(), split="train"))


def missing_split(prompts: pl.DataFrame) -> str | None:
    """Return what is wrong if all rows of a file are in one split, with the cure.

    Args:
        prompts: of both splits, see `frame.PROMPT_SCHEMA`.
    """
    present = set(prompts["split"])
    if len(present) != 1:
        return None
    (only,) = present
    (missing,) = {*SPLITS} - present
    rows, groups = len(prompts), prompts["group"].n_unique()
    return (
        f"no {missing} pairs, all {rows} rows are in the {only} split: where the file "
        "does not say it, a hash of the row's group, by default its clean prompt, "
        f"decides, and there {'is' if groups == 1 else 'are'} {groups} of these; give "
        f"pairs with more distinct clean prompts, or columns `split` ({missing} or "
        f"{only}) and `group` in a file of the format `pairs`"
    )


def join_splits(
    train: pl.DataFrame, test: pl.DataFrame, *, generated: int
) -> pl.DataFrame:
    """Return the rows of both splits in the order of their files and rows.

    Rows of unknown split, which are in both frames, are included once.

    Args:
        train: prompts, pairs or rejects, with `file` and `row`.
        test: the same of the other split.
        generated: how many train prompts were generated, see `count_generated`.
    """
    is_generated = pl.col("file").is_null()
    row = pl.when(is_generated).then(pl.col("row") + generated).otherwise("row")
    rows = pl.concat([train, test.with_columns(row=row)])
    rows = rows.unique(["file", "row"], keep="first", maintain_order=True)
    return rows.sort("file", "row", maintain_order=True)
