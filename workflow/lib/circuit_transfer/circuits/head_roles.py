"""What a head is to a task, by the effects of ablating it: its role.

Nothing here runs a model; see `heads`.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl

from circuit_transfer.messages import quoted
from circuit_transfer.models.nodes import is_mlp

STRONGEST, NEGATIVE, BACKUP, NAMED = "strongest", "negative", "backup", "named"
HEAD_COLUMNS = {
    "head": pl.String,
    "effect": pl.Float32,
    "effect_without": pl.Float32,
    "without": pl.String,
    "role": pl.String,
}
# At most so many heads of each role, each with at least this share of the largest one.
MOST, SHARE = 4, 0.05
# Backups are chosen by a gradient among more, which are then ablated.
SCREENED = 2 * MOST


def check_heads(named: Sequence[str], nodes: Sequence[str]) -> None:
    """Check that heads are those of a model.

    Args:
        named: the heads.
        nodes: names of the model's nodes, in their order.

    Raises:
        ValueError: one is not.
    """
    heads = [name for name in nodes if not is_mlp(name)]
    for name in named:
        if name not in heads:
            raise ValueError(
                f"{quoted(repr(name))} is not a head of the model; expected one of its "
                f"{len(heads)} heads, {heads[0]} to {heads[-1]}"
            )


def highest(values: np.ndarray, count: int = MOST, beside: float = 0.0) -> list[int]:
    """Return where the highest values are, highest first; small ones do not count.

    Args:
        values: `(n_nodes,)`, zero where there is no head.
        count: how many at most.
        beside: another value that they are small or large in comparison with.
    """
    order = np.argsort(-values, kind="stable")[:count]
    least = SHARE * np.abs(values).max(initial=beside)
    return [int(node) for node in order if values[node] > 0 and values[node] >= least]


def roles_of(
    effects: np.ndarray, drops: Sequence[float | None], strongest: int, negative: int
) -> list[str | None]:
    """Return the role of every head: of the strongest, the negative and other ones.

    Args:
        effects: of each alone.
        drops: of each without another one.
        strongest: how many of the first ones are the strongest.
        negative: how many of the next ones are negative.
    """
    first = strongest + negative
    gained = [
        drop - effect if drop is not None and drop > 0 else 0.0
        for effect, drop in zip(effects, drops, strict=True)
    ]
    values = np.array(gained)
    values[:first] = 0.0
    backups = highest(values, beside=np.abs(effects).max(initial=0.0))
    roles: list[str | None] = [STRONGEST] * strongest + [NEGATIVE] * negative
    roles += [None] * (len(effects) - first)
    for place in backups:
        roles[place] = BACKUP
    return roles
