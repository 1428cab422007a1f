"""Checks that a distillation has as many pairs of prompts as CKA takes.

Of what is known before any job runs: which of the pairs both models can use is not.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from circuit_transfer.distillation.settings import (
    ALL_POSITIONS,
    ANSWER,
    BIASED,
    DEBIASED,
    LEAST_FEATURES,
    LEAST_SAMPLES,
)
from circuit_transfer.distillation.variants import CKA, VARIANTS
from circuit_transfer.study.distillation import (
    SECTION,
    all_matchings,
    distilled_tasks,
    training_settings,
)
from circuit_transfer.study.file_checks import rows_by_split

# What gives every pair many samples.
EVERYWHERE = f"{SECTION}.positions: {ALL_POSITIONS}"
# A key of the configuration, and how many pairs there are at most by it.
Limit = tuple[str, int]


def check_pairs(config: Mapping, directories: Sequence[Path]) -> None:
    """Check the pairs of every task that students are trained on.

    Args:
        config: the whole config, of which the files of tasks have been checked.
        directories: where relative paths may start.

    Raises:
        ValueError: there are too few of a split.
    """
    # Of all positions, every pair has many samples.
    if training_settings(config).positions != ANSWER:
        return
    for task in distilled_tasks(config):
        limits = dict(_limits(task, config["tasks"][task], directories))
        _check_compared(config, limits)
        if "train" in limits:
            _check_trained(config, limits["train"])


def _check_compared(config: Mapping, limits: Mapping[str, Limit]) -> None:
    """Check the pairs on which heads are compared before and after the training."""
    tested = ("evaluation.examples", config["evaluation"]["examples"])
    trained = (f"{SECTION}.heads.examples", config[SECTION]["heads"]["examples"])
    compared = [("test", tested, "held-out pairs", "the CKA of matched heads")]
    if "cka" in all_matchings(config):
        compared += [("train", trained, "training pairs", "the matching by cka")]
    for split, own, what, why in compared:
        limit = min(own, limits.get(split, own), key=_pairs)
        _check(limit, what, LEAST_SAMPLES[DEBIASED], why)


def _check_trained(config: Mapping, limit: Limit) -> None:
    """Check the pairs by which heads are made similar; a queue takes each once."""
    section, estimator = config[SECTION], training_settings(config).estimator
    if not any(CKA in VARIANTS[name].terms for name in section["objectives"]):
        return
    if estimator == DEBIASED:
        biased = f"{SECTION}.estimator: {BIASED}"
        _check(limit, "training pairs", LEAST_FEATURES, "debiased CKA", biased)
    # The queue of a preset is an upper limit.
    if section["queue"] is not None:
        smaller = f"{SECTION}.queue: {limit[1]}"
        _check(limit, "training pairs", section["queue"], f"{SECTION}.queue", smaller)


def _limits(
    task: str, entry: Mapping, directories: Sequence[Path]
) -> Iterator[tuple[str, Limit]]:
    """Yield how many pairs of a split a task has at most, as far as that is known."""
    for split in ("train", "test"):
        if split in entry:
            yield split, (f"tasks.{task}.{split}", entry[split])
    if "file" in entry:
        for split, count in rows_by_split(entry, directories).items():
            yield split, (f"tasks.{task}.file: {entry['file']}", count)


def _pairs(limit: Limit) -> int:
    return limit[1]


def _check(limit: Limit, what: str, least: int, why: str, instead: str = "") -> None:
    key, found = limit
    if found < least:
        others = ", or ".join([*([instead] if instead else []), EVERYWHERE])
        raise ValueError(
            f"{key}: {found} {what}, too few for {why}; expected at least {least:,}, "
            f"or {others}"
        )
