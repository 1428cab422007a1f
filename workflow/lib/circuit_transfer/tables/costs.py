"""What a study has cost, and from how many tasks on a transfer is cheaper.

Costs are rows of counted passes, as the stages write them. FLOPs follow from them and
from the models' sizes, see `models.shape.ModelShape`; seconds were measured.
"""

from collections.abc import Iterator, Mapping, Sequence
from math import floor
from typing import TYPE_CHECKING

import polars as pl

from circuit_transfer.tables.typesetting import Table
from circuit_transfer.transfer.maps import SIMILARITY_MAPS, TRAINED_MAPS

if TYPE_CHECKING:
    # It needs torch, which those who read the tables do without.
    from circuit_transfer.models.shape import ModelShape

COUNTS = dict.fromkeys(
    ("forwards", "forward_backwards", "tokens", "backward_tokens"), pl.Int64
)
# Where a row belongs; `job` is the path of its job, the others are null for stages that
# do not have them.
PLACE = ("stage", "job", "source", "target", "task", "method", "training_set")
COST_SCHEMA = {
    **dict.fromkeys((*PLACE, "part", "model"), pl.String),
    "seed": pl.Int64,
    **COUNTS,
    "seconds": pl.Float64,
}
FLOP_UNITS = {"megaFLOP": 1e6, "gigaFLOP": 1e9, "teraFLOP": 1e12, "petaFLOP": 1e15}
UNITS = ("target passes", "FLOP", "seconds")
ALL, FAMILY, NOTHING = "all tasks", "all but a family", "nothing (stitched)"
BREAK_EVEN_SCHEMA = {
    **dict.fromkeys(("source", "target", "method", "trained_on", "unit"), pl.String),
    **dict.fromkeys(("gold", "training", "further", "break_even"), pl.Float64),
}
COST_NOTE = (
    "Passes are of one prompt each: forwards without, forward backwards with a "
    "backward pass; tokens: of all passes. Computing: seconds without the start of "
    "jobs and the loading of models; whole jobs: with them. A job that runs two models "
    "stands under both, and once under all."
)
BREAK_EVEN_NOTE = (
    "gold: attribution of the target on one task. training: an alignment of one seed, "
    "and the source attribution of its training tasks. further: one more task, which "
    "needs its source attribution alone. break even: training / (gold - further) "
    "tasks. target passes: prompts run through the target, with or without a backward "
    f"pass; seconds: of computing. {FAMILY}: mean over the families left out. "
    f"{NOTHING}: no training; a further task needs its source attribution and the runs "
    "of both models that stitch them."
)


def with_flops(rows: pl.DataFrame, shapes: Mapping[str, "ModelShape"]) -> pl.DataFrame:
    """Add `flop` to rows of costs; prompts are taken to be equally long in a row.

    Args:
        rows: see `COST_SCHEMA`; `tokens` are those of `forwards`, `backward_tokens`
            those of `forward_backwards`.
        shapes: the sizes of every model in the rows.
    """
    columns = ("model", *COUNTS)
    flops = [_flops(shapes[model], *counts) for model, *counts in _rows(rows, columns)]
    return rows.with_columns(flop=pl.Series(flops, dtype=pl.Float64))


def _rows(frame: pl.DataFrame, columns: Sequence[str]) -> list[tuple]:
    return frame.select(columns).rows()


def _flops(
    shape: "ModelShape",
    forwards: int,
    forward_backwards: int,
    tokens: int,
    backward_tokens: int,
) -> float:
    flops = 0.0
    if forwards:
        flops += forwards * shape.forward_flops(tokens / forwards)
    if forward_backwards:
        length = backward_tokens / forward_backwards
        both = shape.forward_flops(length) + shape.backward_flops(length)
        flops += forward_backwards * both
    return flops


def flop_unit(flops: float) -> str:
    """Return the largest unit in which a number of FLOPs is at least 10."""
    fitting = [name for name, size in FLOP_UNITS.items() if flops >= 10 * size]
    return fitting[-1] if fitting else next(iter(FLOP_UNITS))


def costs_table(rows: pl.DataFrame, job_seconds: Mapping[str, float]) -> Table:
    """What every stage has cost on every model, and all of them.

    Args:
        rows: costs with `flop`.
        job_seconds: by job, the seconds that it took as a whole.
    """
    unit = flop_unit(rows["flop"].sum())
    whole = pl.col("job").unique().replace_strict(job_seconds, default=None)
    amounts = (
        # A job counts once, whatever the number of its parts.
        pl.col("job").n_unique().cast(pl.Int64).alias("jobs"),
        pl.col("forwards", "forward_backwards").sum(),
        pl.col("tokens").sum() + pl.col("backward_tokens").sum(),
        (pl.col("flop").sum() / FLOP_UNITS[unit]).alias(unit),
        pl.col("seconds").sum().alias("seconds_computing"),
        whole.cast(pl.Float64).sum().alias("seconds_of_whole_jobs"),
    )
    stages = rows.group_by("stage", "model", maintain_order=True).agg(amounts)
    everything = rows.with_columns(stage=pl.lit("all"), model=pl.lit(""))
    everything = everything.group_by("stage", "model").agg(amounts)
    return Table(pl.concat([stages, everything]), labels=2, note=COST_NOTE)


def break_even(
    rows: pl.DataFrame, *, training: Mapping[str, Sequence[str]], map_name: str
) -> pl.DataFrame:
    """From how many new tasks on a transfer costs less than direct attribution.

    Args:
        rows: costs with `flop` of the stages attribute_nodes, fit_alignment and, where
            the study has it, stitch_alignment.
        training: the tasks of the training set `all`, and of those that leave out a
            family, by name.
        map_name: the map whose training is counted.

    Returns:
        One row per pair, method, `trained_on` and `unit`, see `BREAK_EVEN_SCHEMA`;
        `break_even` is null where a further task costs no less than a gold circuit.
        A pair and method without a task in both models has no rows.
    """
    lines = []
    fits = rows.filter(stage="fit_alignment")
    pairs = fits.select("source", "target", "method").unique(maintain_order=True)
    for source, target, method in pairs.iter_rows():
        fitted = fits.filter(source=source, target=target, method=method)
        scored = rows.filter(stage="attribute_nodes", method=method)
        stitches = rows.filter(stage="stitch_alignment", source=source, target=target)
        for unit in UNITS:
            gold = _by_task(scored.filter(model=target), target, unit)
            further = _by_task(scored.filter(model=source), target, unit)
            both = sorted(gold.keys() & further.keys())
            if not both:
                continue
            of_set = {
                name: _fit_cost(
                    fitted.filter(training_set=name), map_name, target, unit
                )
                + sum(further.get(task, 0.0) for task in tasks)
                for name, tasks in training.items()
            }
            per_task = (_mean(gold[t] for t in both), _mean(further[t] for t in both))
            for trained_on, cost in _trainings(of_set):
                labels = (source, target, method, trained_on, unit)
                lines.append((*labels, *_balance(*per_task, cost)))
            stitched = _by_task(stitches, target, unit)
            if both and set(both) <= stitched.keys():
                more = _mean(further[task] + stitched[task] for task in both)
                labels = (source, target, method, NOTHING, unit)
                lines.append((*labels, *_balance(per_task[0], more, 0.0)))
    return pl.DataFrame(lines, schema=BREAK_EVEN_SCHEMA, orient="row")


def _amount(unit: str, target: str) -> pl.Expr:
    if unit == "target passes":
        passes = pl.col("forwards") + pl.col("forward_backwards")
        return pl.when(pl.col("model") == target).then(passes).otherwise(0)
    return pl.col(unit.lower())


def _by_task(rows: pl.DataFrame, target: str, unit: str) -> dict[str, float]:
    sums = rows.group_by("task").agg(_amount(unit, target).sum())
    return {task: float(amount) for task, amount in sums.iter_rows()}


def _fit_cost(rows: pl.DataFrame, map_name: str, target: str, unit: str) -> float:
    """Cost of one seed of a map: what is prepared for all, and its own training."""
    needed = ["prepare"] if map_name in TRAINED_MAPS else []
    needed += ["similarity"] if map_name in SIMILARITY_MAPS else []
    rows = rows.with_columns(amount=_amount(unit, target))
    prepared = rows.filter(pl.col("part").is_in(needed))["amount"].sum()
    seeds = rows.filter(part=map_name).group_by("seed").agg(pl.col("amount").sum())
    return float(prepared) + float(seeds["amount"].mean() or 0.0)


def _trainings(of_set: Mapping[str, float]) -> Iterator[tuple[str, float]]:
    families = [cost for name, cost in of_set.items() if name != "all"]
    if "all" in of_set:
        yield ALL, of_set["all"]
    if families:
        yield FAMILY, _mean(families)


def _balance(
    gold: float, further: float, training: float
) -> tuple[float, float, float, float | None]:
    tasks = training / (gold - further) if gold > further else None
    return gold, training, further, tasks


def _mean(values: Iterator[float] | Sequence[float]) -> float:
    values = list(values)
    return sum(values) / len(values)


def break_even_table(balance: pl.DataFrame) -> Table:
    """The rows of `break_even` with FLOPs in a readable unit, and what they mean."""
    flops = balance.filter(unit="FLOP")
    unit = flop_unit(
        flops.select(pl.max_horizontal("gold", "training").max()).item() or 0
    )
    size = pl.when(pl.col("unit") == "FLOP").then(FLOP_UNITS[unit]).otherwise(1.0)
    pair = pl.concat_str("source", "target", separator=" → ")
    cheaper = pl.col("break_even").map_elements(
        lambda tasks: f"from task {floor(tasks) + 1} on", return_dtype=pl.String
    )
    frame = balance.select(
        pair.alias("pair"),
        "method",
        "trained_on",
        pl.col("unit").replace("FLOP", unit),
        *(pl.col(name) / size for name in ("gold", "training", "further")),
        "break_even",
        cheaper.fill_null("never").alias("transfer_cheaper"),
    )
    verdicts = " ".join(verdict(balance, unit) for unit in UNITS[1:])
    return Table(frame, labels=4, note=f"{BREAK_EVEN_NOTE} {verdicts}".strip())


def verdict(balance: pl.DataFrame, unit: str) -> str:
    """Say in a sentence where direct attribution is cheaper, trained on all tasks."""
    rows = balance.filter(unit=unit, trained_on=ALL)
    if rows.is_empty():
        return ""
    pairs = rows.select("source", "target").n_unique() > 1
    clauses = [
        (f"{row['source']} → {row['target']}, " if pairs else "")
        + f"{row['method']}, {_reach(row['break_even'])}"
        for row in rows.iter_rows(named=True)
    ]
    name = {"FLOP": "FLOPs"}.get(unit, unit)
    return f"In {name}, direct attribution is cheaper: {'; '.join(clauses)}."


def _reach(tasks: float | None) -> str:
    if tasks is None:
        return "any number of new tasks"
    count = floor(tasks)
    if not count:
        return "not for a single new task"
    return f"up to {count} new task{'s' if count > 1 else ''}"
