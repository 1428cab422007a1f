"""Tables of the costs of a study, and of the break-even point of a transfer.

The stages record costs as rows of counted passes and measured seconds. FLOPs are
computed from the passes and the sizes of the models, see `models.shape.ModelShape`.
"""

from collections.abc import Iterator, Mapping, Sequence
from math import floor, inf
from typing import TYPE_CHECKING

import polars as pl

from circuit_transfer.tables.typesetting import EMPTY, Table
from circuit_transfer.transfer.maps import (
    CKA,
    COMPARED,
    MAPS,
    needed_correspondences,
)

if TYPE_CHECKING:
    # For type checkers only: the tables need no torch.
    from circuit_transfer.models.shape import ModelShape

COUNTS = dict.fromkeys(
    ("forwards", "forward_backwards", "tokens", "backward_tokens", "weight_tokens"),
    pl.Int64,
)
# The columns that identify a row; `job` is the path of its job, the others are null in
# stages without them.
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
    "Passes are counted per prompt: forwards without, forward backwards with a "
    "backward pass; tokens: of all passes. seconds computing: without starting jobs "
    "and loading models; seconds of whole jobs: including these. A job that runs two "
    "models is counted for both, and once in the last row."
)
BREAK_EVEN_NOTE = (
    "gold: direct attribution on the target, per task. training: the alignment of one "
    "seed, and attribution on the source for its training tasks. further: cost of a "
    "further task, which needs attribution on the source only. break even: training / "
    "(gold - further), the number of tasks from which on the transfer costs less; "
    f"{EMPTY}: never. target passes: prompts run through the target, with or without a "
    f"backward pass; seconds: computing only. {FAMILY}: mean over the families left "
    f"out. {NOTHING}: no training; a further task needs attribution on the source and "
    "the forward passes of both models for the stitched map."
)


def with_flops(rows: pl.DataFrame, shapes: Mapping[str, "ModelShape"]) -> pl.DataFrame:
    """Add the column `flop` to rows of costs, assuming equal lengths within a row.

    Args:
        rows: see `COST_SCHEMA`; `tokens` are those of `forwards`, `backward_tokens`
            those of `forward_backwards`, and `weight_tokens` those of them with
            gradients of weights, null where no weights are trained.
        shapes: sizes of the models, by name.
    """
    columns = ("model", *COUNTS)
    flops = [
        _flops(shapes[model], *(count or 0 for count in counts))
        for model, *counts in _rows(rows, columns)
    ]
    return rows.with_columns(flop=pl.Series(flops, dtype=pl.Float64))


def _rows(frame: pl.DataFrame, columns: Sequence[str]) -> list[tuple]:
    return frame.select(columns).rows()


def _flops(
    shape: "ModelShape",
    forwards: int,
    forward_backwards: int,
    tokens: int,
    backward_tokens: int,
    weight_tokens: int,
) -> float:
    flops = 0.0
    if forwards:
        flops += forwards * shape.forward_flops(tokens / forwards)
    if forward_backwards:
        length = backward_tokens / forward_backwards
        both = shape.forward_flops(length) + shape.backward_flops(length)
        flops += forward_backwards * both
    return flops + shape.weight_flops(weight_tokens)


def flop_unit(flops: float) -> str:
    """Return the largest unit in which a number of FLOPs is at least 10."""
    fitting = [name for name, size in FLOP_UNITS.items() if flops >= 10 * size]
    return fitting[-1] if fitting else next(iter(FLOP_UNITS))


def costs_table(rows: pl.DataFrame, job_seconds: Mapping[str, float]) -> Table:
    """Return the table of costs by stage and model, with a total.

    Args:
        rows: costs with `flop`.
        job_seconds: seconds of the whole job, by job.
    """
    unit = flop_unit(rows["flop"].sum())
    whole = pl.col("job").unique().replace_strict(job_seconds, default=None)
    amounts = (
        # A job is counted once, not once per part.
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
    rows: pl.DataFrame,
    *,
    training: Mapping[str, Sequence[str]],
    map_name: str,
    correspondence: str = CKA,
) -> pl.DataFrame:
    """Return the number of tasks from which a transfer costs less than attribution.

    Args:
        rows: costs with `flop` of the stages attribute_nodes, fit_alignment and, if
            part of the study, stitch_alignment.
        training: tasks by training set: `all`, and those that leave out a family.
        map_name: the map whose training is counted.
        correspondence: which one `prior-residual` begins with.

    Returns:
        One row per pair, method, `trained_on` and `unit`, see `BREAK_EVEN_SCHEMA`;
        `break_even` is null if a further task costs no less than direct attribution.
        Pairs and methods without a task scored in both models have no rows.
    """
    lines = []
    parts = _parts(map_name, correspondence)
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
                name: _fit_cost(fitted.filter(training_set=name), *parts, target, unit)
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


def _parts(map_name: str, correspondence: str) -> tuple[str, list[str]]:
    """Return the parts of the costs that are a map's: its own, and shared ones."""
    needed = needed_correspondences([map_name], correspondence)
    shared = [part for each, part in COMPARED.items() if each in needed]
    return map_name, [*shared, *(["prepare"] if MAPS[map_name].trained else [])]


def _fit_cost(
    rows: pl.DataFrame, own: str, shared: Sequence[str], target: str, unit: str
) -> float:
    """Return the cost of a map per seed: what all seeds share, and its training."""
    rows = rows.with_columns(amount=_amount(unit, target))
    prepared = rows.filter(pl.col("part").is_in(shared))["amount"].sum()
    seeds = rows.filter(part=own).group_by("seed").agg(pl.col("amount").sum())
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
    """Return the table of `break_even`, every unit in columns of its own.

    FLOPs are in a readable unit.
    """
    flops = balance.filter(unit="FLOP")
    name = flop_unit(
        flops.select(pl.max_horizontal("gold", "training").max()).item() or 0
    )
    sizes = {"target passes": 1.0, "FLOP": FLOP_UNITS[name], "seconds": 1.0}
    keys = ("source", "target", "method", "trained_on")
    frame = balance.select(keys).unique(maintain_order=True)
    for unit, size in sizes.items():
        suffix = (name if unit == "FLOP" else unit).replace(" ", "_")
        amounts = (
            (pl.col(each) / size).alias(f"{each}_{suffix}")
            for each in ("gold", "training", "further")
        )
        tasks = pl.col("break_even").alias(f"break_even_{suffix}")
        of_unit = balance.filter(unit=unit).select(*keys, *amounts, tasks)
        frame = frame.join(of_unit, on=keys, how="left", maintain_order="left")
    pair = pl.concat_str("source", "target", separator=" → ").alias("pair")
    frame = frame.select(pair, pl.exclude("source", "target"))
    verdicts = " ".join(verdict(balance, unit) for unit in UNITS[1:])
    return Table(frame, labels=3, note=f"{BREAK_EVEN_NOTE} {verdicts}".strip())


def verdict(balance: pl.DataFrame, unit: str) -> str:
    """Return a sentence on when a transfer is cheaper, if trained on all tasks."""
    rows = balance.filter(unit=unit, trained_on=ALL)
    if rows.is_empty():
        return ""
    several = rows.select("source", "target").n_unique() > 1
    cheaper_from: dict[float, list[str]] = {}
    for row in rows.iter_rows(named=True):
        pair = f"{row['source']} → {row['target']} by " if several else ""
        # At the break-even point itself, both cost the same.
        tasks = inf if row["break_even"] is None else floor(row["break_even"]) + 1
        cheaper_from.setdefault(tasks, []).append(pair + row["method"])
    counted = f"Counted in {'FLOPs' if unit == 'FLOP' else unit}, transfer is"
    if [*cheaper_from] == [inf]:
        names = ", ".join(cheaper_from[inf])
        return f"{counted} never cheaper than direct attribution ({names})."
    clauses = ", ".join(_clauses(cheaper_from))
    return f"{counted} cheaper than direct attribution {clauses}."


def _clauses(cheaper_from: Mapping[float, Sequence[str]]) -> Iterator[str]:
    """Yield from how many tasks on, the fewest first, a transfer by what is cheaper."""
    noun = " new tasks"
    for tasks, names in sorted(cheaper_from.items()):
        start = "never" if tasks == inf else f"from {tasks}{noun} on"
        if tasks == 1:
            start = "from the first new task on"
        yield f"{start} ({', '.join(names)})"
        noun = ""
