"""Critical heads by path patching, group after group, each at a position of its own.

From the answer backwards (Prakash et al. 2024, arXiv 2402.14811, Section 4.1): the
heads of the first group are those by which the logits read the answer, those of the
next are read by the heads of the group before, and so on.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn

from circuit_transfer.distillation.critical_heads import critical, ranked_heads
from circuit_transfer.distillation.frames import RANKED_COLUMNS
from circuit_transfer.interventions import PathRuns, path_logits, run_captured
from circuit_transfer.jobs.progress import progress
from circuit_transfer.jobs.resume import NO_RESUME, Resume, State
from circuit_transfer.models.nodes import head_place, is_mlp, node_names
from circuit_transfer.prompts.batches import PairBatch, rows_per_pass

log = logging.getLogger(__name__)

# The position of the answer, which every prompt has.
ANSWER = "answer"
# By what the heads of a group are read: by the logits, or by the heads of the group
# before, as queries, keys or values.
LOGITS, READERS = "logits", ("q", "k", "v")
GROUP_COLUMNS = {"group": pl.String} | RANKED_COLUMNS


@dataclass(frozen=True)
class Group:
    """A group of heads that do the same.

    Attributes:
        name: of the group.
        at: name of the position that its heads write at, and are read at.
        read_by: `logits`, or `q`, `k` or `v` of the group before.
        count: how many heads it has, see `critical_heads.head_count`.
    """

    name: str
    at: str
    read_by: str
    count: int | float


class Paths(NamedTuple):
    """Paths from single heads to others, by layers and numbers, see `path_logits`."""

    senders: Sequence[tuple[int, int]]
    receivers: Sequence[tuple[int, int]]
    kind: str | None


def entity_tracking_groups(
    counts: Sequence[int | float] = (20, 5, 10, 5),
    *,
    query: str = "query",
    earlier: str = "box",
) -> tuple[Group, ...]:
    """Return the groups of Prakash et al. 2024 for entity tracking.

    Args:
        counts: heads of every group; by default those of the paper's code, of 1024.
        query: name of the position of the box in the question, by default as the
            generator `entity-tracking` marks it, like the next one.
        earlier: name of the position where that box was named before.
    """
    groups = (
        ("value-fetcher", ANSWER, LOGITS),
        ("position-transmitter", ANSWER, "q"),
        ("position-detector", query, "v"),
        ("structure-reader", earlier, "v"),
    )
    return tuple(
        Group(*group, count) for group, count in zip(groups, counts, strict=True)
    )


def patch_groups(
    model: nn.Module,
    batches: Sequence[PairBatch],
    positions: Mapping[str, Sequence[int]],
    groups: Sequence[Group],
    *,
    resume: Resume = NO_RESUME,
) -> pl.DataFrame:
    """Find the heads of every group by path patching.

    The score of a head is the mean of `(p_patch - p_clean) / p_clean`, with the
    probability p of the right answer when the head is as on the corrupted prompt; the
    lowest are critical. Pairs that the model gives nearly no probability before can
    dominate the mean: leave out those that it does not answer.

    Args:
        model: a causal language model.
        batches: the pairs, from their first token on.
        positions: by name, the position of a token in every prompt, clean and corrupted
            alike, in the order of the batches; `answer` is the last.
        groups: from the answer backwards.
        resume: saves the scores of the heads that are done.

    Returns:
        The frames of all groups: `group`, then `frames.RANKED_COLUMNS` of all
        heads, of which those that are not below one of the group's readers score 0;
        one that scores 0 is not critical.

    Raises:
        ValueError: a position is not known or not in a prompt, or a group is read by
            what does not come before it.
    """
    _check_groups(groups, positions, sum(map(len, batches)))
    config = model.config
    nodes = node_names(config.num_hidden_layers, config.num_attention_heads)
    heads = [name for name in nodes if not is_mlp(name)]
    frames, readers = [], []
    for group in progress(groups, len(groups), "group"):
        places = _positions(batches, positions, group.at)
        scores = _patched(model, batches, places, heads, readers, group, resume)
        frame = ranked_heads(heads, scores, [-scores], group.count)
        # Equal to many others, a head without any effect is not critical.
        frame = frame.with_columns(pl.col("critical") & (pl.col("score") != 0))
        readers = critical(frame)
        frames.append(frame.select(pl.lit(group.name).alias("group"), *RANKED_COLUMNS))
    return pl.concat(frames)


class _Sums:
    """Sums of the scores of a group's senders over pairs, as far as that is done."""

    def __init__(self, group: Group, senders: int, batches: int, resume: Resume):
        """Take what an earlier run has left, or start from zero."""
        self.total = torch.zeros(senders, dtype=torch.float64)
        # The next batch, and the next sender on it.
        self.batch = self.sender = 0
        self._resume = resume
        state = resume.restore(f"paths/{group.name}", self._state)
        if state is not None:
            self.total.copy_(state.tensors["total"])
            self.batch, self.sender = state.notes["batch"], state.notes["sender"]
            done = group.name, self.batch, batches
            log.info("%s: resumed after %d of %d batches", *done)

    def add(self, values: Tensor) -> None:
        """Add the values of the next senders, and save them if it is time to."""
        end = self.sender + len(values)
        self.total[self.sender : end] += values
        self.sender = end
        if end == len(self.total):
            self.batch, self.sender = self.batch + 1, 0
        self._resume.save()

    def skip(self) -> None:
        """Count the clean and the corrupted run of a batch once, if they run again."""
        if self.sender:
            self._resume.restore_counters()

    def _state(self) -> State:
        return State(
            {"total": self.total}, {"batch": self.batch, "sender": self.sender}
        )


def _patched(
    model: nn.Module,
    batches: Sequence[PairBatch],
    positions: Sequence[Tensor],
    heads: Sequence[str],
    readers: Sequence[str],
    group: Group,
    resume: Resume,
) -> np.ndarray:
    """Return the scores of all heads, float64 `(heads,)`."""
    receivers = [head_place(name) for name in readers]
    last = max(
        (layer for layer, _ in receivers), default=model.config.num_hidden_layers
    )
    senders = [place for place in map(head_place, heads) if place[0] < last]
    scores = np.zeros(len(heads))
    # Where the group before has no heads, nothing reads this one.
    if senders and (receivers or group.read_by == LOGITS):
        sums = _Sums(group, len(senders), len(batches), resume)
        kind = None if group.read_by == LOGITS else group.read_by
        paths = Paths(senders, receivers, kind)
        left = list(zip(batches, positions, strict=True))[sums.batch :]
        for each in progress(left, len(batches), "batch", done=sums.batch):
            _add_batch(model, *each, paths, sums)
        # Heads are in the order of layers, so the senders are the first ones.
        scores[: len(senders)] = sums.total.numpy() / sum(map(len, batches))
    return scores


def _add_batch(
    model: nn.Module, batch: PairBatch, positions: Tensor, paths: Paths, sums: _Sums
) -> None:
    """Add the relative changes of the answer's probability, sender by sender."""
    logits, clean = run_captured(model, batch.clean)
    corrupted = run_captured(model, batch.corrupted)[1]
    sums.skip()
    runs = PathRuns(batch.clean, clean, corrupted, positions)
    before = _log_probability(batch, logits)
    at_once = max(1, rows_per_pass(model, batch) // len(batch))
    starts = range(sums.sender, len(paths.senders), at_once)
    groups = [paths.senders[first : first + at_once] for first in starts]
    total = len(paths.senders)
    for some in progress(groups, total, "head", done=sums.sender, size=len):
        logits = path_logits(model, runs, some, paths.receivers, paths.kind)
        after = _log_probability(batch.repeat(len(some)), logits)
        change = torch.expm1(after.view(len(some), -1) - before)
        sums.add(change.sum(1).cpu())


def _log_probability(batch: PairBatch, logits: Tensor) -> Tensor:
    """Return the logarithm of the probability of any right answer, `(batch,)`."""
    answers = batch.answers.to(logits.device)
    found = logits.double().log_softmax(-1).gather(1, answers.clamp(min=0))
    return found.masked_fill(answers < 0, -torch.inf).logsumexp(1)


def _positions(
    batches: Sequence[PairBatch], positions: Mapping[str, Sequence[int]], name: str
) -> list[Tensor]:
    """Return the positions of a name by batch, each `(batch,)`."""
    sizes = [len(batch) for batch in batches]
    lengths = torch.tensor(
        [batch.clean.shape[1] for batch in batches for _ in range(len(batch))]
    )
    if name == ANSWER:
        return list((lengths - 1).split(sizes))
    found = torch.as_tensor(positions[name])
    if wrong := torch.nonzero((found < 0) | (found >= lengths)).flatten().tolist():
        raise ValueError(
            f"position {name} of pair {wrong[0]} is {found[wrong[0]]}: expected one of "
            f"its {lengths[wrong[0]]} tokens, from 0 on"
        )
    return list(found.split(sizes))


def _check_groups(
    groups: Sequence[Group], positions: Mapping[str, Sequence[int]], n_pairs: int
) -> None:
    for place, group in enumerate(groups):
        known = READERS if place else (LOGITS,)
        if group.read_by not in known:
            raise ValueError(
                f"group {group.name} is read by {group.read_by!r}: expected "
                f"{' or '.join(known)} {'of the group before' * bool(place)}".rstrip()
            )
        if group.at != ANSWER and group.at not in positions:
            raise ValueError(
                f"group {group.name} is at {group.at!r}: expected one of "
                f"{', '.join([ANSWER, *positions])}"
            )
    for name, values in positions.items():
        if len(values) != n_pairs:
            raise ValueError(
                f"{len(values)} positions of {name} for {n_pairs} pairs: expected one "
                "for each"
            )
