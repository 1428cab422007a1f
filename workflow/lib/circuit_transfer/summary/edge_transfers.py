"""What transferred scores of edges come to, against their best controls."""

from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl

from circuit_transfer.summary.differences import compared, verdict
from circuit_transfer.summary.wording import Answer, counted
from circuit_transfer.tables.measures import CMD, CPR, Measure
from circuit_transfer.tables.outcomes import CANDIDATES, best_control
from circuit_transfer.tables.transferred_edges import BOTH, GOLD, SCHEMA, TRANSFERRED
from circuit_transfer.tables.transfers import Pair
from circuit_transfer.transfer.edge_controls import DEGREE_SOURCE

# The columns that are read.
DRAWN = SCHEMA
# What differences are said by.
BY = (CPR, CMD)
# The best control of `CANDIDATES`, in words.
STRONGEST = {
    "without_source": "their strongest control without the source by CPR",
    "target_only": "the best scores from the target's own forward passes",
}
Tests = Mapping[Measure, Mapping[str, Any]]


def edges_answer(
    pair: Pair, *, source: str, target: str, method: str, map_name: str
) -> Iterator[Answer]:
    """Yield whether circuits of edges exceed the best controls, and scores of nodes.

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
    others = {}
    for kind, controls in CANDIDATES.items():
        control = best_control(pair, method, name, protocol, controls)
        others[control] = f"those of {control}, {STRONGEST[kind]}"
    others[DEGREE_SOURCE] = f"those of {DEGREE_SOURCE}, the importance of nodes alone"
    for other, words in others.items():
        tests = {each: pair.test(method, name, protocol, other, each) for each in BY}
        if other and all(tests.values()):
            yield words, tests
    tests = {each: pair.lifted_test(method, name, protocol, each) for each in BY}
    if all(tests.values()):
        yield f"those of {tests[CPR]['against']}, scores of nodes", tests


def circuits_caption(edges: pl.DataFrame) -> str:
    """Return what gold and transferred circuits share, in a sentence.

    Args:
        edges: those that are drawn, see `DRAWN`.
    """
    gold, transferred = (edges.filter(circuit=each) for each in (GOLD, TRANSFERRED))
    if gold.is_empty() or transferred.is_empty():
        return "No edge has a score: the task has no usable train pair."
    shared = len(transferred.filter(circuits=BOTH))
    return (
        f"Of the {counted(len(transferred), 'edge')} with the highest transferred "
        f"scores, {shared} {'is' if shared == 1 else 'are'} among the "
        f"{len(gold)} highest of the gold circuit (blue)."
    )
