"""The table of a pair's transfers: of nodes, of edges, of nodes lifted to edges."""

from itertools import chain

import polars as pl

from circuit_transfer.tables.by_method import Maps
from circuit_transfer.tables.edge_transfers import is_lifted
from circuit_transfer.tables.explanations import MEASURE_EXPLANATIONS, explain
from circuit_transfer.tables.measures import CPR
from circuit_transfer.tables.outcomes import CANDIDATES, LABELS, pair_outcomes
from circuit_transfer.tables.typesetting import Table
from circuit_transfer.transfer.edge_controls import DEGREE_SOURCE

NOTE = (
    "Means over tasks, by the main map of every method, and of edges by maps of nodes "
    "that are lifted to them. without source: the control with the highest CPR of "
    f"those that replace the source's scores ({', '.join(CANDIDATES['without_source'])}"
    "). target only: that of those from the target's own forward passes "
    f"({', '.join(CANDIDATES['target_only'])}). minus: the circuits without the task's "
    "family minus those of these two, of degree-source, and of lifted nodes, with the "
    "95 % interval over tasks and seeds within them (CPR and accuracy area: higher is "
    "better, CMD: lower is better). p: over tasks x seeds and over tasks alone, "
    "adjusted by Holm for all controls of a map, and for all lifted maps. shown: by "
    "CPR and CMD together, with the largest p; of several controls all must be "
    "exceeded. not shown, though p is small: the differences are of both signs. Lifted "
    "nodes rank by the sign of their scores, edges as the study says: that is part of "
    "the difference. Seeds of a map of edges share the order of batches, so tasks "
    "alone are the stricter unit."
)


def levels_table(
    statistics: pl.DataFrame, *, source: str, target: str, maps: Maps
) -> Table:
    """Circuits of one pair by what is transferred: a block for each map.

    Args:
        statistics: the levels and differences of all circuits, of one ablation.
        source: the source model.
        target: the target model.
        maps: by method, the main one first; shown are this one and lifted ones.
    """
    shown = {
        method: [names[0], *filter(is_lifted, names[1:])]
        for method, names in maps.items()
    }
    frame = pair_outcomes(statistics, source, target, shown)
    frame = frame.select(pl.exclude("source", "target", "^.*_answer$"))
    # Once for all measures.
    once = pl.when(pl.col("measure") == CPR.name).then("shown").alias("shown")
    names = frame["map"].unique(maintain_order=True)
    controls = chain.from_iterable(CANDIDATES.values())
    return Table(
        frame.with_columns(once),
        labels=len(LABELS),
        blocks=len(LABELS) - 1,
        note=NOTE,
        explanations=explain([*MEASURE_EXPLANATIONS, *names, *controls, DEGREE_SOURCE]),
    )
