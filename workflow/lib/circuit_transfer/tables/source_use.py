"""Whether transfers use their source: real scores against controls, over families.

A *cell* is a family of tasks: the mean over its tasks and over seeds. Everything else
is over cells, and so are the tests: tasks of a family share a circuit, and seeds are no
further tasks. Two questions are separate. Whether the source adds to the map is shown
by replacing its scores (`WITHOUT_SOURCE`); whether the transfer knows more than forward
passes of the target itself, by the best of `OF_TARGET` in each cell. Of edges there is
a third: whether more is transferred than the importance of nodes (`DEGREE_SOURCE`).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import polars as pl

from circuit_transfer.models.lineage import CLOSENESS
from circuit_transfer.statistics import paired_effect, sign_flip_p, t_interval
from circuit_transfer.tables.curves import ZERO_SHOT
from circuit_transfer.tables.differences import (
    Cells,
    Circuit,
    adjust,
    circuit_cells,
    paired_cells,
)
from circuit_transfer.tables.equivalence import (
    equivalence_bound,
    least_p,
    units_needed,
)
from circuit_transfer.tables.measures import AREAS, SHOWN, Measure
from circuit_transfer.transfer.controls import TARGET_ONLY, WITHOUT_SOURCE
from circuit_transfer.transfer.edge_controls import DEGREE_SOURCE, EDGE_TARGET_ONLY
from circuit_transfer.transfer.maps import STITCHED
from circuit_transfer.transfer.training_sets import ONE_PROTOCOL, PROTOCOLS, Families

# The mean of the controls that replace the source's scores, in each cell.
ALL_GIVEN = "mean of controls"
# Circuit and map of the controls from the target's own forward passes on the task.
OF_TARGET = (
    *((name, None) for name in dict.fromkeys((*TARGET_ONLY, *EDGE_TARGET_ONLY))),
    ("source-free", STITCHED),
)
BEST_TARGET_ONLY = "best target-only"
GIVEN = tuple(name for names in WITHOUT_SOURCE.values() for name in names)
# An effect below this is called equivalent to none.
NEGLIGIBLE = 0.05
TEST = "p_families"
FEWEST = 2  # families, of which there is an interval

KEYS = {
    "relation": (
        pl.String,
        "of source and target by their lineage, whichever is the source: finetuned, "
        "pruned, distilled, apart",
    ),
    "source": (pl.String, "source model; null: over all pairs of the relation"),
    "target": (pl.String, "target model; null likewise"),
    "method": (pl.String, "attribution method"),
    "map": (pl.String, "map from source to target scores"),
    "protocol": (pl.String, "what training left out: task, or family"),
    "measure": (pl.String, "what is compared: cpr, cmd, right_above_wrong_area"),
    "control": (
        pl.String,
        f"what the real scores are compared with; {ALL_GIVEN}: of those that replace "
        f"the source's scores; {BEST_TARGET_ONLY}: in each family the best of "
        "node-changes, edge-changes, self-stitched, and a constant through the "
        f"stitched map; {DEGREE_SOURCE}: of edges, the source's totals of writers and "
        "readers",
    ),
}
VALUES = {
    "difference": (
        pl.Float64,
        "the measure by the real source scores minus that by the control, mean over "
        "families; of a family: mean over its tasks and over seeds (over pairs: and "
        "over these)",
    ),
    "difference_low": (pl.Float64, "lower end of its 95 % interval over families (t)"),
    "difference_high": (pl.Float64, "upper end of it"),
    "better": (pl.Int64, "in how many families the real scores are better"),
    "n_families": (pl.Int64, "how many families"),
    "n_pairs": (pl.Int64, "how many pairs of models"),
    "d_z": (pl.Float64, "mean / standard deviation of the families' differences"),
    TEST: (pl.Float64, "sign flips over families, two-sided"),
    f"{TEST}_holm": (
        pl.Float64,
        "adjusted by Holm for the controls that replace the source's scores; null for "
        "what is no such control",
    ),
    f"{TEST}_least": (pl.Float64, "the smallest p that so many families can give"),
    "equivalence_bound": (
        pl.Float64,
        "the smallest bound that the absolute difference is shown to be within, at .05 "
        "by two one-sided t tests over families",
    ),
    "equivalent": (pl.Boolean, f"whether that bound is below {NEGLIGIBLE:g}"),
    "families_needed": (
        pl.Int64,
        "how many families it takes to show a difference of this d_z, with power .8 at "
        "two-sided .05, not adjusted; null where the real scores are not better",
    ),
    "task_similarity": (
        pl.Float64,
        "rank correlation, over pairs of tasks of different families, of how similar "
        "(Pearson) their gold scores are in the source and in the target",
    ),
}
PLACE = ("relation", "source", "target", "method", "map", "protocol")
COLUMNS = KEYS | VALUES
SCHEMA = {name: dtype for name, (dtype, _) in COLUMNS.items()}
DOCUMENTATION = {name: meaning for name, (_, meaning) in COLUMNS.items()}

# The strictest last.
PROTOCOL_ORDER = (*PROTOCOLS, *ONE_PROTOCOL)

Pair = tuple[str, str]
# Differences by family.
ByFamily = dict[str, float]


def source_use(
    cpr: pl.DataFrame,
    *,
    relations: Mapping[Pair, str],
    similarities: Mapping[tuple[str, str, str], float],
    families: Families,
    methods: Sequence[str],
    maps: Sequence[str],
) -> pl.DataFrame:
    """Return the differences of real scores to every control, tested over families.

    A row for every pair, and one over all pairs of a relation where there are several:
    its cells are means over the pairs, so that the families remain the unit.

    Args:
        cpr: the area of every circuit, with `circuit` and `protocol` (`named_rows`), of
            one ablation.
        relations: of every source and target, see `models.lineage.relation`.
        similarities: `task_similarity` by source, target and method.
        families: of the study's tasks, see `training_sets.study_families`.
        methods: in the order of the rows.
        maps: in the order of the rows.

    Returns:
        See `COLUMNS`. No row where less than two families are known.
    """
    cpr = cpr.drop_nulls("cpr")
    rows = []
    for measure in SHOWN:
        cells = circuit_cells(cpr, measure.column)
        found = dict(_compared(cells, relations, families, measure))
        for key, by_pair in [*_by_pair(found), *_by_relation(found)]:
            rows += _tested(key, by_pair, measure)
    for row in rows:
        place = (row["source"], row["target"], row["method"])
        row["task_similarity"] = similarities.get(place)
    orders = {
        "relation": CLOSENESS,
        "pair": [*relations],
        "method": methods,
        "map": maps,
        "protocol": PROTOCOL_ORDER,
        "measure": AREAS,
    }
    return pl.DataFrame(_sorted(rows, orders), schema=SCHEMA).fill_nan(None)


def _sorted(
    rows: Iterable[dict[str, Any]], orders: Mapping[str, Sequence]
) -> list[dict[str, Any]]:
    """Sort rows by names in the given orders; those over all pairs come first."""
    places = {key: {each: n for n, each in enumerate(o)} for key, o in orders.items()}

    def place(row: Mapping[str, Any]) -> list[int]:
        """Return the place of a row by every order."""
        names = {**row, "pair": (row["source"], row["target"])}
        return [of_key.get(names[key], -1) for key, of_key in places.items()]

    return sorted(rows, key=place)


def _compared(
    cells: Mapping[Circuit, Cells],
    relations: Mapping[Pair, str],
    families: Families,
    measure: Measure,
) -> Iterator[tuple[tuple, dict[str, ByFamily]]]:
    """Yield every zero-shot circuit, and by control its differences by family."""
    for ours in cells:
        if ours.circuit in ZERO_SHOT:
            relation = relations[ours.source, ours.target]
            place = (ours.source, ours.target, ours.method, ours.map, ours.protocol)
            found = _differences(ours, cells, families, measure)
            yield (relation, *place), {name: each for name, each in found if each}


def _differences(
    ours: Circuit,
    cells: Mapping[Circuit, Cells],
    families: Families,
    measure: Measure,
) -> Iterator[tuple[str, ByFamily]]:
    """Yield the differences to every control, those to a control of the map first."""

    def minus(circuit: str, name: str | None) -> ByFamily:
        """Return the differences to another circuit of the pair."""
        other = cells.get(ours._replace(circuit=circuit, map=name), {})
        return family_differences(cells[ours], other, families)

    given = {}
    for names in WITHOUT_SOURCE.values():
        found = {each: minus(each, ours.map) or minus(each, None) for each in names}
        given |= dict([each for each in found.items() if each[1]][:1])
    yield from given.items()
    yield ALL_GIVEN, _over(given.values(), np.mean)
    others = [minus(*each) for each in OF_TARGET]
    yield BEST_TARGET_ONLY, _over(others, min if measure.higher else max)
    yield DEGREE_SOURCE, minus(DEGREE_SOURCE, ours.map)


def family_differences(ours: Cells, theirs: Cells, families: Families) -> ByFamily:
    """Return one circuit minus another by family: the mean over its tasks and seeds.

    Args:
        ours: a measure by task and seed.
        theirs: that of the other circuit.
        families: tasks by family; those without a common task are left out.
    """
    found = {}
    for family, tasks in families.items():
        of_family = (
            {task: cells[task] for task in tasks if task in cells}
            for cells in (ours, theirs)
        )
        paired = paired_cells(*of_family, mean=False)
        if paired:
            found[family] = float(np.mean([each.mean() for each in paired]))
    return found


def _over(found: Iterable[ByFamily], reduce) -> ByFamily:
    """Reduce differences to one by family, of those that know the family."""
    found = [*found]
    families = dict.fromkeys(family for each in found for family in each)
    return {
        family: float(reduce([each[family] for each in found if family in each]))
        for family in families
    }


def _by_pair(found: Mapping[tuple, dict[str, ByFamily]]) -> Iterator[tuple]:
    for key, by_control in found.items():
        yield key, {control: [each] for control, each in by_control.items()}


def _by_relation(found: Mapping[tuple, dict[str, ByFamily]]) -> Iterator[tuple]:
    """Yield what is known of the pairs of a relation together, if there are several."""

    def place(key: tuple) -> tuple:
        relation, _, _, *rest = key
        return relation, *rest

    for (relation, *rest), keys in groupby(sorted(found, key=place), key=place):
        together: dict[str, list[ByFamily]] = {}
        for key in keys:
            for control, each in found[key].items():
                together.setdefault(control, []).append(each)
        several = {name: each for name, each in together.items() if len(each) > 1}
        if several:
            yield (relation, None, None, *rest), several


def _tested(
    key: tuple, by_control: Mapping[str, Sequence[ByFamily]], measure: Measure
) -> list[dict[str, Any]]:
    """Return a row per control, the p values of those in `GIVEN` adjusted together."""
    names = dict(zip(PLACE, key, strict=True)) | {"measure": measure.column}
    rows = []
    for control, by_pair in by_control.items():
        by_family = _over(by_pair, np.mean)
        if len(by_family) < FEWEST:
            continue
        row = names | {"control": control, "n_pairs": len(by_pair)}
        values = np.array([by_family[family] for family in sorted(by_family)])
        rows.append(row | _statistics(values, measure))
    given = [row for row in rows if row["control"] in GIVEN]
    adjust(given, TEST)
    return rows


def _statistics(values: np.ndarray, measure: Measure) -> dict[str, Any]:
    low, high = t_interval(values)
    gains = values if measure.higher else -values
    bound = equivalence_bound(values)
    return {
        "difference": float(values.mean()),
        "difference_low": low,
        "difference_high": high,
        "better": int((gains > 0).sum()),
        "n_families": len(values),
        "d_z": paired_effect(values),
        TEST: sign_flip_p(values),
        f"{TEST}_least": least_p(len(values)),
        "equivalence_bound": bound,
        "equivalent": bound < NEGLIGIBLE,
        "families_needed": units_needed(gains),
    }


def strictest(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of the strictest protocol: with the family left out of training.

    Args:
        frame: see `source_use`.
    """
    known = [each for each in PROTOCOL_ORDER if each in frame["protocol"]]
    return frame.filter(pl.col("protocol").is_in(known[-1:]))
