"""What transfers came to: levels, the best control, and whether that is exceeded.

A row for every pair, method, map and measure, of one study or of several. What was
shown is said by CPR and CMD together, since CPR alone rewards exaggeration.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, product
from typing import Any

import polars as pl

from circuit_transfer.tables.differences import MEAN
from circuit_transfer.tables.edge_transfers import is_lifted, scored_by
from circuit_transfer.tables.measures import CMD, CPR, SHOWN
from circuit_transfer.tables.transfers import Maps, Pair, verdict
from circuit_transfer.tables.typesetting import EMPTY, rounded
from circuit_transfer.transfer.controls import TARGET_ONLY, WITHOUT_SOURCE
from circuit_transfer.transfer.edge_controls import DEGREE_SOURCE, EDGE_TARGET_ONLY

# The controls of which the best is taken: they replace the source, or need none.
CANDIDATES = tuple(
    dict.fromkeys((*chain(*WITHOUT_SOURCE.values()), *TARGET_ONLY, *EDGE_TARGET_ONLY))
)
# p values over tasks x seeds, and over tasks alone, adjusted by Holm.
SEEDS, TASKS = "p_permutation_holm", "p_tasks_holm"
LABELS = ("level", "method", "map", "measure")
LEVELS = ("gold", "in_distribution", "zero_shot", "zero_shot_family", "control_value")
# What the transferred circuits are compared with, and the columns of a comparison.
AGAINST = ("control", "degree_source", "lifted")
TESTED = {"": "mean_difference", "_low": "low", "_high": "high", "_p": SEEDS}
TESTED |= {"_p_tasks": TASKS}
SCHEMA = {
    **dict.fromkeys(("source", "target", *LABELS), pl.String),
    **dict.fromkeys(LEVELS, pl.Float64),
    "control": pl.String,
    **{f"minus_{o}{end}": pl.Float64 for o, end in product(AGAINST, TESTED)},
    "shown": pl.String,
}
QUESTIONS = {
    "control": "uses its source",
    "degree_source": "knows more than the importance of nodes",
    "lifted": "better than lifted nodes",
}
Rows = Mapping[str, Mapping[str, Any] | None]


def transferred_maps(statistics: pl.DataFrame) -> dict[str, list[str]]:
    """Return by method the maps of which a study has transferred circuits."""
    aligned = statistics.filter(pl.col("map").is_not_null(), row="level", task=MEAN)
    aligned = aligned.filter(pl.col("protocol").is_not_null())
    names = aligned.select("method", "map").unique(maintain_order=True).sort("method")
    return {
        method: of_method["map"].to_list()
        for (method,), of_method in names.group_by("method", maintain_order=True)
    }


def pair_outcomes(
    statistics: pl.DataFrame, source: str, target: str, maps: Maps
) -> pl.DataFrame:
    """Return what the transfers of one pair came to, see `SCHEMA`.

    `control` is the one of `CANDIDATES` with the highest CPR, `minus_...` a difference
    of the circuits without the task's family to other ones.

    Args:
        statistics: the levels and differences of all circuits, of one ablation.
        source: the source model.
        target: the target model.
        maps: by method, those to list.
    """
    pair = Pair(statistics, source, target)
    rows = [
        {"source": source, "target": target} | row
        for method, names in maps.items()
        for name in names
        for row in _of_map(pair, method, name)
    ]
    return pl.DataFrame(rows, schema=SCHEMA)


def _of_map(pair: Pair, method: str, name: str) -> Iterator[dict[str, Any]]:
    first, protocol = [*pair.protocols][0], [*pair.protocols][-1]
    circuits = {
        "gold": pair.level(method, "gold", name=name),
        "in_distribution": pair.level(method, "in-distribution", name=name),
        "zero_shot": pair.level(method, pair.protocols[first], name=name),
        "zero_shot_family": pair.level(method, pair.protocols[protocol], name=name),
    }
    if not circuits["zero_shot_family"]:
        return
    control = best_control(pair, method, name, protocol)
    circuits["control_value"] = (
        pair.level(method, control, name=name, protocol=protocol) if control else {}
    )
    others = {"control": control, "degree_source": DEGREE_SOURCE}
    tests = {
        measure.column: {
            key: other and pair.test(method, name, protocol, other, measure)
            for key, other in others.items()
        }
        | {"lifted": pair.lifted_test(method, name, protocol, measure)}
        for measure in SHOWN
    }
    shown = "; ".join(_sentences(tests))
    for measure in SHOWN:
        row = {"level": level_of(method, name), "method": method, "map": name}
        row |= {"measure": measure.name, "control": control, "shown": shown}
        row |= {key: each.get(measure.column) for key, each in circuits.items()}
        for other, end in product(AGAINST, TESTED):
            found = tests[measure.column][other] or {}
            row[f"minus_{other}{end}"] = found.get(TESTED[end])
        yield row


def best_control(pair: Pair, method: str, name: str, protocol: str) -> str | None:
    """Return the control of a map with the highest CPR, of those in `CANDIDATES`."""
    found = {
        each: level["cpr"]
        for each in CANDIDATES
        if (level := pair.level(method, each, name=name, protocol=protocol))
        and pair.test(method, name, protocol, each, CPR)
    }
    return max(found, key=found.get, default=None)


def level_of(method: str, name: str) -> str:
    """Return what is transferred: `nodes`, `edges`, or `nodes lifted to edges`."""
    return "nodes lifted to edges" if is_lifted(name) else scored_by(method)


def what_was_shown(by_cpr: Mapping[str, Any], by_cmd: Mapping[str, Any]) -> str:
    """Return whether circuits are better than others by CPR and CMD, with p values.

    Args:
        by_cpr: a difference of the statistics.
        by_cmd: that of the other measure.
    """
    found = {test: _verdict((by_cpr, by_cmd), test) for test in (SEEDS, TASKS)}
    p = {test: max(by_cpr[test], by_cmd[test]) for test in (SEEDS, TASKS)}
    if by_cpr["n_cells"] == by_cpr["n_tasks"]:
        return f"{found[TASKS]} ({_p(p[TASKS])})"
    text = f"{found[SEEDS]} ({_p(p[SEEDS])}"
    alone = "" if found[TASKS] == found[SEEDS] else f"{found[TASKS]}, "
    return f"{text}; over tasks alone {alone}{_p(p[TASKS])})"


def _verdict(rows: Iterable[Mapping[str, Any]], test: str) -> str:
    """Return `shown` or `worse` if all measures agree on it, else `not shown`."""
    verdicts = {verdict(row, test) for row in rows}
    words = {"yes": "shown", "worse": "worse"}
    return words.get(*verdicts, "not shown") if len(verdicts) == 1 else "not shown"


def _p(value: float) -> str:
    return f"p = {value:.3f}" if value >= 0.001 else "p < 0.001"


def _sentences(tests: Mapping[str, Rows]) -> Iterator[str]:
    for other, question in QUESTIONS.items():
        by_cpr, by_cmd = (tests[each.column][other] for each in (CPR, CMD))
        if by_cpr and by_cmd:
            yield f"{question}: {what_was_shown(by_cpr, by_cmd)}"


def outcomes(
    studies: Iterable[tuple[pl.DataFrame, Mapping[tuple[str, str], str]]],
    maps: Sequence[str] = (),
) -> pl.DataFrame:
    """Return what the transfers of several studies came to, see `pair_outcomes`.

    Args:
        studies: of each the statistics, of one ablation, and by source and target of
            the pairs that are wanted how they are related, in the order of the rows.
        maps: those to list, in the order of the rows; all of them if empty.

    Returns:
        `kinship` and the columns of `SCHEMA`.
    """
    frames = [pl.DataFrame(schema={"kinship": pl.String} | SCHEMA)]
    for statistics, kinships in studies:
        known = transferred_maps(statistics)
        wanted = {
            method: [each for each in maps or names if each in names]
            for method, names in known.items()
        }
        for pair, kinship in kinships.items():
            found = pair_outcomes(statistics, *pair, wanted)
            frames.append(found.select(pl.lit(kinship).alias("kinship"), *SCHEMA))
    return pl.concat(frames)


def outcomes_text(frame: pl.DataFrame) -> str:
    """Return outcomes as a Markdown table: CPR, and CMD in brackets.

    Args:
        frame: see `outcomes`.
    """
    heads = ("pair", "kinship", "level", "method", "map", *map(_head, LEVELS[:-1]))
    heads += ("best control", "what was shown")
    lines = [_line(heads), _line(["---"] * len(heads))]
    # Of every map a row per measure.
    for of_map in frame.iter_slices(len(SHOWN)):
        by_measure = {row["measure"]: row for row in of_map.iter_rows(named=True)}
        by_cpr, by_cmd = by_measure[CPR.name], by_measure[CMD.name]
        values = [_value(by_cpr[key], by_cmd[key]) for key in LEVELS]
        control = " ".join(filter(None, (by_cpr["control"], values.pop())))
        labels = (by_cpr[key] for key in ("kinship", *LABELS[:-1]))
        pair = f"{by_cpr['source']} → {by_cpr['target']}"
        cells = (pair, *labels, *values)
        lines.append(_line((*cells, control, by_cpr["shown"] or "not tested")))
    return "\n".join(lines)


def _head(column: str) -> str:
    return column.replace("_", "-")


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(each.replace('|', chr(92) + '|') for each in cells)} |"


def _value(cpr: float | None, cmd: float | None) -> str:
    return EMPTY if cpr is None else f"{rounded(cpr, 2)} ({rounded(cmd, 2)})"
