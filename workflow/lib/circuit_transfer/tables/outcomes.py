"""What transfers came to: levels, the best controls, and whether they are exceeded.

A row for every pair, method, map and measure, of one study or of several. What was
shown is said by CPR and CMD together, since CPR alone rewards exaggeration. Two
questions are separate, as in `source_use`: whether the source adds to a map, and
whether that knows more than forward passes of the target itself.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, product
from typing import Any

import polars as pl

from circuit_transfer.tables.by_method import Maps
from circuit_transfer.tables.differences import MEAN
from circuit_transfer.tables.edge_transfers import is_lifted, scored_by
from circuit_transfer.tables.measures import CMD, CPR, SHOWN, Measure
from circuit_transfer.tables.transfers import Pair, verdict
from circuit_transfer.tables.typesetting import EMPTY, rounded
from circuit_transfer.transfer.controls import TARGET_ONLY, WITHOUT_SOURCE
from circuit_transfer.transfer.edge_controls import DEGREE_SOURCE, EDGE_TARGET_ONLY

# The controls of which the best is taken: those that replace the source's scores, and
# those from the target's own forward passes.
CANDIDATES = {
    "without_source": tuple(chain.from_iterable(WITHOUT_SOURCE.values())),
    "target_only": tuple(dict.fromkeys((*TARGET_ONLY, *EDGE_TARGET_ONLY))),
}
# p values over tasks x seeds, and over tasks alone, adjusted by Holm.
SEEDS, TASKS = "p_permutation_holm", "p_tasks_holm"
LABELS = ("level", "method", "map", "measure")
LEVELS = ("gold", "in_distribution", "zero_shot", "zero_shot_family")
# What the transferred circuits are compared with, and the columns of a comparison.
AGAINST = (*CANDIDATES, "degree_source", "lifted")
TESTED = {"": "mean_difference", "_low": "low", "_high": "high", "_p": SEEDS}
TESTED |= {"_p_tasks": TASKS}
SCHEMA = {
    **dict.fromkeys(("source", "target", *LABELS), pl.String),
    **dict.fromkeys(LEVELS, pl.Float64),
    **{
        f"{kind}{end}": dtype
        for kind in CANDIDATES
        for end, dtype in {"": pl.String, "_value": pl.Float64}.items()
    },
    **{f"minus_{o}{end}": pl.Float64 for o, end in product(AGAINST, TESTED)},
    "shown": pl.String,
    **{f"{other}_answer": pl.String for other in AGAINST},
}
QUESTIONS = {
    "without_source": "uses its source",
    "target_only": "better than the target's own forward passes",
    "degree_source": "knows more than the importance of nodes",
    "lifted": "better than lifted nodes",
}
# The same as heads of columns.
SHORT_QUESTIONS = {
    "without_source": "uses its source",
    "target_only": "beats the target's own passes",
    "degree_source": "more than node importance",
    "lifted": "beats lifted nodes",
}
SHORT_VERDICTS = {"shown": "yes", "not shown": "no", "worse": "worse"}
Rows = Sequence[Mapping[str, Any]]
# By level, see `level_of`, the maps that are listed.
MapsOfLevels = Mapping[str, Sequence[str]]


def transferred_maps(statistics: pl.DataFrame) -> dict[str, list[str]]:
    """Return by method the maps of which a study has transferred circuits."""
    aligned = statistics.filter(pl.col("map").is_not_null(), row="level", task=MEAN)
    aligned = aligned.filter(pl.col("protocol").is_not_null())
    names = aligned.select("method", "map").unique(maintain_order=True)
    names = names.sort("method", maintain_order=True)
    return {
        method: of_method["map"].to_list()
        for (method,), of_method in names.group_by("method", maintain_order=True)
    }


def pair_outcomes(
    statistics: pl.DataFrame, source: str, target: str, maps: Maps
) -> pl.DataFrame:
    """Return what the transfers of one pair came to, see `SCHEMA`.

    `without_source` and `target_only` are those of `CANDIDATES` with the highest CPR,
    `minus_...` a difference of the circuits without the task's family to other ones.
    A question about several controls is answered by all of them.

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
    best = {
        kind: best_control(pair, method, name, protocol, controls)
        for kind, controls in CANDIDATES.items()
    }
    for kind, control in best.items():
        own = pair.level(method, control, name=name, protocol=protocol)
        circuits[f"{kind}_value"] = own
    answered = answers(pair, method, name, protocol)
    said = {f"{key}_answer": short_answer(rows) for key, rows in answered.items()}
    said["shown"] = "; ".join(
        f"{QUESTIONS[key]}: {what_was_shown(rows)}" for key, rows in answered.items()
    )
    others = best | {"degree_source": DEGREE_SOURCE}
    for measure in SHOWN:
        row = {"level": level_of(method, name), "method": method, "map": name}
        row |= {"measure": measure.name} | said | best
        row |= {key: each.get(measure.column) for key, each in circuits.items()}
        tests = {
            key: pair.test(method, name, protocol, other, measure)
            for key, other in others.items()
        }
        tests["lifted"] = pair.lifted_test(method, name, protocol, measure)
        for other, end in product(AGAINST, TESTED):
            row[f"minus_{other}{end}"] = (tests[other] or {}).get(TESTED[end])
        yield row


def best_control(
    pair: Pair, method: str, name: str, protocol: str, controls: Iterable[str]
) -> str | None:
    """Return the control of a map with the highest CPR, of those that were tested."""
    found = {
        each: pair.level(method, each, name=name, protocol=protocol)["cpr"]
        for each in controls
        if pair.test(method, name, protocol, each, CPR)
    }
    return max(found, key=found.get, default=None)


def level_of(method: str, name: str) -> str:
    """Return what is transferred: `nodes`, `edges`, or `nodes lifted to edges`."""
    return "nodes lifted to edges" if is_lifted(name) else scored_by(method)


def what_was_shown(rows: Rows) -> str:
    """Return whether circuits are better than others, with the largest p values.

    Args:
        rows: differences of the statistics, by CPR and CMD, to one control or several,
            all of which must be exceeded.
    """
    found, p = _tested(rows)
    if _of_one_seed(rows):
        return f"{found[TASKS]} ({_p(p[TASKS])})"
    text = f"{found[SEEDS]} ({_p(p[SEEDS])}"
    alone = "" if found[TASKS] == found[SEEDS] else f"{found[TASKS]}, "
    return f"{text}; over tasks alone {alone}{_p(p[TASKS])})"


def short_answer(rows: Rows) -> str:
    """Return the same in short, over tasks alone, and with seeds where that differs.

    Args:
        rows: see `what_was_shown`.
    """
    found, p = _tested(rows)
    texts = {
        test: f"{SHORT_VERDICTS[found[test]]} {_p(p[test])[2:]}".replace("= ", "")
        for test in found
    }
    texts = {test: text.replace(" 0.", " .") for test, text in texts.items()}
    if _of_one_seed(rows) or found[TASKS] == found[SEEDS]:
        return texts[TASKS]
    return f"{texts[TASKS]}; tasks x seeds: {texts[SEEDS]}"


def _tested(rows: Rows) -> tuple[dict[str, str], dict[str, float]]:
    """Return the verdict and the largest p value, by test."""
    found = {test: _verdict(rows, test) for test in (SEEDS, TASKS)}
    return found, {test: max(row[test] for row in rows) for test in found}


def _of_one_seed(rows: Rows) -> bool:
    """Return whether both tests are the same."""
    return all(row["n_cells"] == row["n_tasks"] for row in rows)


def _verdict(rows: Rows, test: str) -> str:
    """Return `shown` or `worse` if all differences agree on it, else `not shown`."""
    verdicts = {verdict(row, test) for row in rows}
    words = {"yes": "shown", "worse": "worse"}
    return words.get(*verdicts, "not shown") if len(verdicts) == 1 else "not shown"


def _p(value: float) -> str:
    return f"p = {value:.3f}" if value >= 0.001 else "p < 0.001"


def answers(pair: Pair, method: str, name: str, protocol: str) -> dict[str, Rows]:
    """Return the differences by which every question that was tested is answered.

    Args:
        pair: the pair.
        method: of the scores that are transferred.
        name: of the map.
        protocol: of the circuits.

    Returns:
        By question, see `QUESTIONS`, those to every control, by CPR and by CMD.
    """
    place, both = (method, name, protocol), (CPR, CMD)
    controls = CANDIDATES | {"degree_source": (DEGREE_SOURCE,)}
    tests = {
        key: [pair.test(*place, *each) for each in product(names, both)]
        for key, names in controls.items()
    }
    tests["lifted"] = [pair.lifted_test(*place, measure) for measure in both]
    known = {key: [*filter(None, rows)] for key, rows in tests.items()}
    return {key: rows for key, rows in known.items() if rows}


def hardest(rows: Rows) -> dict[Measure, Mapping[str, Any]]:
    """Return the differences to the one control that is the hardest to exceed.

    One that is better, then one that was not shown to be worse; among these the largest
    p, and then the smallest difference by CPR.

    Args:
        rows: of one question, see `answers`.

    Returns:
        By measure, CPR and CMD.
    """
    by_control: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_control.setdefault(row["against"], []).append(row)
    order = ("shown", "not shown", "worse")

    def difficulty(control: str) -> tuple[int, float, float]:
        """Return how far circuits are from exceeding a control."""
        by_cpr, _ = rows = by_control[control]
        found, p = _tested(rows)
        return order.index(found[SEEDS]), p[SEEDS], -by_cpr["mean_difference"]

    chosen = by_control[max(by_control, key=difficulty)]
    return dict(zip((CPR, CMD), chosen, strict=True))


def outcomes(
    studies: Iterable[tuple[pl.DataFrame, Mapping[tuple[str, str], str]]],
    maps: MapsOfLevels | None = None,
) -> pl.DataFrame:
    """Return what the transfers of several studies came to, see `pair_outcomes`.

    Args:
        studies: of each the statistics, of one ablation, and by source and target of
            the pairs that are wanted how they are related, in the order of the rows.
        maps: by level those to list, in the order of the rows; by default all.

    Returns:
        `kinship` and the columns of `SCHEMA`.
    """
    frames = [pl.DataFrame(schema={"kinship": pl.String} | SCHEMA)]
    for statistics, kinships in studies:
        known = transferred_maps(statistics)
        wanted = {
            method: names if maps is None else _listed(method, names, maps)
            for method, names in known.items()
        }
        for pair, kinship in kinships.items():
            found = pair_outcomes(statistics, *pair, wanted)
            frames.append(found.select(pl.lit(kinship).alias("kinship"), *SCHEMA))
    return pl.concat(frames)


def _listed(method: str, names: Sequence[str], maps: MapsOfLevels) -> list[str]:
    every = ((level, name) for level, wanted in maps.items() for name in wanted)
    return [
        name
        for level, name in every
        if name in names and level_of(method, name) == level
    ]


def outcomes_text(frame: pl.DataFrame) -> str:
    """Return outcomes as a Markdown table: CPR, and CMD in brackets.

    Args:
        frame: see `outcomes`.

    Returns:
        A row for every pair, level and map. Under each of `SHORT_QUESTIONS` the answer
        and its p value, see `short_answer`.
    """
    heads = ("pair", "kinship", "level", "method", "map", *map(_head, LEVELS))
    heads += ("best control (without source)", "best target-only")
    heads += tuple(SHORT_QUESTIONS.values())
    lines = [_line(heads), _line(["---"] * len(heads))]
    # Of every map a row per measure.
    for of_map in frame.iter_slices(len(SHOWN)):
        by_measure = {row["measure"]: row for row in of_map.iter_rows(named=True)}
        by_cpr, by_cmd = by_measure[CPR.name], by_measure[CMD.name]
        values = [_value(by_cpr[key], by_cmd[key]) for key in LEVELS]
        for kind in CANDIDATES:
            value = _value(*(row[f"{kind}_value"] for row in (by_cpr, by_cmd)))
            values.append(" ".join(filter(None, (by_cpr[kind], value))))
        labels = (by_cpr[key] for key in ("kinship", *LABELS[:-1]))
        pair = f"{by_cpr['source']} → {by_cpr['target']}"
        said = (by_cpr[f"{key}_answer"] or EMPTY for key in SHORT_QUESTIONS)
        lines.append(_line((pair, *labels, *values, *said)))
    return "\n".join(lines)


def _head(column: str) -> str:
    return column.replace("_", "-")


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(each.replace('|', chr(92) + '|') for each in cells)} |"


def _value(cpr: float | None, cmd: float | None) -> str:
    return EMPTY if cpr is None else f"{rounded(cpr, 2)} ({rounded(cmd, 2)})"
