"""What transferred scores of edges come to, against their hardest controls."""

from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl

from circuit_transfer.summary.differences import compared, verdict
from circuit_transfer.summary.wording import Answer, counted
from circuit_transfer.tables.measures import CPR, Measure
from circuit_transfer.tables.outcomes import answers, hardest
from circuit_transfer.tables.transferred_edges import BOTH, GOLD, SCHEMA, TRANSFERRED
from circuit_transfer.tables.transfers import Pair

# The columns that are read.
DRAWN = SCHEMA
# By question, what the control is that is the hardest to exceed.
HARDEST = {
    "without_source": "the hardest control without the source to exceed",
    "target_only": "the hardest of those from the target's own forward passes",
    "degree_source": "the importance of nodes alone",
    "lifted": "scores of nodes",
}
Tests = Mapping[Measure, Mapping[str, Any]]


def edges_answer(
    pair: Pair, *, source: str, target: str, method: str, map_name: str
) -> Iterator[Answer]:
    """Yield whether circuits of edges exceed their controls, and scores of nodes.

    By the strictest protocol; nothing without such circuits.

    Args:
        pair: the statistics of the pair.
        source: the source model.
        target: the target model.
        method: the method of the scores of edges.
        map_name: their map.
    """
    *_, protocol = pair.protocols
    found = dict(_compared(pair, method, map_name, protocol))
    if not found:
        return
    clauses = "; they ".join(verdict(tests, words) for words, tests in found.items())
    details = [
        f"Compared with {words}: "
        f"{' and '.join(compared(row, measure) for measure, row in tests.items())}."
        for words, tests in found.items()
    ]
    circuit = pair.protocols[protocol]
    lead = f"From {source} to {target} by {method}, {circuit} circuits of edges "
    yield Answer(f"{lead}{clauses}.", " ".join(details))


def _compared(
    pair: Pair, method: str, name: str, protocol: str
) -> Iterator[tuple[str, Tests]]:
    """Yield in words what circuits are compared with, and the differences."""
    for question, rows in answers(pair, method, name, protocol).items():
        tests = hardest(rows)
        yield f"those of {tests[CPR]['against']}, {HARDEST[question]}", tests


def circuits_caption(edges: pl.DataFrame) -> str:
    """Return what gold and transferred circuits share, in a sentence.

    Args:
        edges: those that are drawn, see `DRAWN`.
    """
    gold, transferred = (edges.filter(circuit=each) for each in (GOLD, TRANSFERRED))
    if gold.is_empty():
        return "No edge has a score: the task has no usable train pair."
    if transferred.is_empty():
        return "No edge has a transferred score: the map has no task to learn from."
    shared = len(transferred.filter(circuits=BOTH))
    return (
        f"Of the {counted(len(transferred), 'edge')} with the highest transferred "
        f"scores, {shared} {'is' if shared == 1 else 'are'} among the "
        f"{len(gold)} highest of the gold circuit (blue)."
    )
