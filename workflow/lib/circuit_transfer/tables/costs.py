"""Tables of the costs of a study, and of the break-even point of a transfer.

The stages record costs as rows of counted passes and measured seconds. FLOPs are
computed from the passes and the sizes of the models, see `models.shape.ModelShape`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import floor, inf
from typing import TYPE_CHECKING

import polars as pl

from circuit_transfer.tables.edge_transfers import scored_by
from circuit_transfer.tables.typesetting import EMPTY, Table
from circuit_transfer.transfer.maps import (
    CKA,
    COST_PARTS,
    FILLED,
    MAPS,
    MEAN_GOLD,
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
# By what a method scores: what does, what fits maps, and what makes stitched ones.
STAGES = {
    "nodes": ("attribute_nodes", "fit_alignment", "stitch_alignment"),
    "edges": ("attribute_edges", "fit_edge_alignment", "stitch_edges"),
}
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
    f"the forward passes of both models for the stitched map. {FAMILY} (map): of a map "
    "that is compared with the first one; it takes scores of its training tasks only "
    "where it is trained, or added to mean gold scores, then those of the target too; "
    "filled up, it needs the passes of the stitched map as well."
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
    maps: Mapping[str, Sequence[str]],
    correspondence: str = CKA,
) -> pl.DataFrame:
    """Return the number of tasks from which a transfer costs less than attribution.

    Args:
        rows: costs with `flop` of the stages of `STAGES` that the study has.
        training: tasks by training set: `all`, and those that leave out a family.
        maps: by method the main map, and those that it is compared with.
        correspondence: which one residual maps begin with.

    Returns:
        One row per pair, method, `trained_on` and `unit`, see `BREAK_EVEN_SCHEMA`;
        `break_even` is null if a further task costs no less than direct attribution.
        Pairs and methods without a task scored in both models have no rows.
    """
    lines = []
    fits = rows.filter(pl.col("stage").is_in([fit for _, fit, _ in STAGES.values()]))
    pairs = fits.select("source", "target", "method").unique(maintain_order=True)
    for place in pairs.iter_rows():
        for unit in UNITS:
            transfer = _transfer(rows, *place, unit)
            own = (training, maps[place[-1]], correspondence)
            for trained_on, *amounts in transfer.ways(*own):
                lines.append((*place, trained_on, unit, *_balance(*amounts)))
    return pl.DataFrame(lines, schema=BREAK_EVEN_SCHEMA, orient="row")


@dataclass(frozen=True)
class _Transfer:
    """The costs of one pair and method, in one unit.

    Attributes:
        fits: of the alignments, with the `amount`.
        gold: of attribution on the target, by task.
        source: of attribution on the source, by task.
        stitches: of the runs that stitched maps are made from, by task.
    """

    fits: pl.DataFrame
    gold: Mapping[str, float]
    source: Mapping[str, float]
    stitches: Mapping[str, float]

    def ways(
        self,
        training: Mapping[str, Sequence[str]],
        maps: Sequence[str],
        correspondence: str,
    ) -> Iterator[tuple[str, float, float, float]]:
        """Yield every way of transfer: gold, a further task, and training before."""
        tasks = sorted(self.gold.keys() & self.source.keys())
        if not tasks:
            return
        gold = _mean(self.gold[task] for task in tasks)
        source = _mean(self.source[task] for task in tasks)
        main, *compared = maps
        for trained_on, cost in _trainings(self._costs(main, training, correspondence)):
            yield trained_on, gold, source, cost
        stitched = 0.0
        if has_stitched := set(tasks) <= self.stitches.keys():
            stitched = _mean(self.stitches[task] for task in tasks)
            yield NOTHING, gold, source + stitched, 0.0
        for name in compared:
            is_filled = name in MAPS and MAPS[name].completed == FILLED
            if name not in MAPS or (is_filled and not has_stitched):
                continue
            costs = dict(_trainings(self._costs(name, training, correspondence)))
            if FAMILY in costs:
                further = source + (stitched if is_filled else 0.0)
                yield f"{FAMILY} ({name})", gold, further, costs[FAMILY]

    def _costs(
        self, name: str, training: Mapping[str, Sequence[str]], correspondence: str
    ) -> dict[str, float]:
        """Return the cost of a map by training set: its fit, and scores it takes."""
        form, of_set = MAPS[name], {}
        taken = [self.source] if form.trained or form.completed == MEAN_GOLD else []
        taken += [self.gold] if form.completed == MEAN_GOLD else []
        for training_set, tasks in training.items():
            fits = self.fits.filter(training_set=training_set)
            scores = sum(each.get(task, 0.0) for each in taken for task in tasks)
            of_set[training_set] = _fit_cost(fits, name, correspondence) + scores
        return of_set


def _transfer(
    rows: pl.DataFrame, source: str, target: str, method: str, unit: str
) -> _Transfer:
    rows = rows.with_columns(amount=_amount(unit, target))
    score, fit, stitch = STAGES[scored_by(method)]
    scored = rows.filter(stage=score, method=method)
    pair = {"source": source, "target": target}
    return _Transfer(
        rows.filter(stage=fit, method=method, **pair),
        _by_task(scored.filter(model=target)),
        _by_task(scored.filter(model=source)),
        _by_task(rows.filter(stage=stitch, **pair)),
    )


def _amount(unit: str, target: str) -> pl.Expr:
    if unit == "target passes":
        passes = pl.col("forwards") + pl.col("forward_backwards")
        return pl.when(pl.col("model") == target).then(passes).otherwise(0)
    return pl.col(unit.lower())


def _by_task(rows: pl.DataFrame) -> dict[str, float]:
    sums = rows.group_by("task").agg(pl.col("amount").sum())
    return {task: float(amount) for task, amount in sums.iter_rows()}


def _fit_cost(rows: pl.DataFrame, name: str, correspondence: str) -> float:
    """Return the cost of a map per seed: what all seeds share, and its training."""
    needed = needed_correspondences([name], correspondence)
    shared = [part for each, part in COST_PARTS.items() if each in needed]
    shared += ["prepare"] if MAPS[name].trained else []
    prepared = rows.filter(pl.col("part").is_in(shared))["amount"].sum()
    seeds = rows.filter(part=name).group_by("seed").agg(pl.col("amount").sum())
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
