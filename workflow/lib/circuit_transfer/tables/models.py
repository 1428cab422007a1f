"""The table of models: what each can do, and which tasks are worth studying in it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from circuit_transfer.models.lineage import origin
from circuit_transfer.prompts.frame import SPLITS
from circuit_transfer.tables.typesetting import HALF_WIDTH, HIGH, LOW, Table, half_width

# A model does a task if the right answer has a higher logit than the wrong one in this
# share of the test pairs; by chance it would in the other.
MOST, CHANCE = 0.75, 0.5
YES, DOUBTFUL, NO = "yes", "doubtful", "no"
# What a task with a verdict is called, the best first.
CALLED = {YES: "Worth studying", DOUBTFUL: "Doubtful", NO: "Not worth studying"}
# Why a task is not, or not clearly, worth studying in a model.
NO_BETTER = "no better than chance"
NO_EFFECT = "no effect of corruption"
UNCLEAR_EFFECT = "unclear effect of corruption"
LACKING = NO_TRAIN, NO_TEST, NO_PAIRS = "no train pairs", "no test pairs", "no pairs"
BELOW_MOST = f"better than chance, below {MOST}"
FEW_PAIRS = "too few pairs to be better than chance"
SHARES = ("accuracy", "right_above_wrong")
MEANS = ("logit_diff", "corrupted_logit_diff")
# What is read of a baseline, see `baseline.baseline_measures`.
READ = (
    *("pairs", "distinct", "corruption_effect", "corruption_effect_low"),
    *(name + end for name in (*SHARES, *MEANS) for end in ("", LOW, HIGH)),
)
COUNTED = ("train", "distinct_train", "test", "distinct_test", "rejected")
NOTE = (
    "pairs: test pairs that were measured; distinct: without repetitions of the same "
    "two prompts. accuracy: share in which a right answer is the most likely token of "
    "the whole vocabulary. right above wrong: share in which the right answer has a "
    "higher logit than the wrong one. logit diff: mean difference of the two; "
    "corrupted logit diff: of the same answers after the corrupted prompt. verdict, on "
    f"whether the task is worth studying in the model: {YES} where right is above "
    f"wrong in at least {MOST}, the interval of this share is above {CHANCE} and that "
    "of the effect of corruption (logit diff minus corrupted logit diff) above 0; "
    f"{DOUBTFUL} where the share is at least {MOST} or its interval above {CHANCE}, "
    f"and the mean effect above 0; else {NO}. "
    "objection: what speaks against the task in the model. "
    "train, test: usable pairs. In brackets Wilson's 95 % interval of a share, ± "
    "half-width of that of a mean (bootstrap), both over distinct pairs; of a single "
    "pair a mean has none."
)
Cell = tuple[str, str]


def verdict(baseline: Mapping[str, Any]) -> str | None:
    """Return whether a task is worth studying in a model; None if nothing is known.

    Args:
        baseline: see `baseline.baseline_measures`.
    """
    if not baseline["pairs"]:
        return None
    is_most, is_above = _is_most(baseline), _is_above_chance(baseline)
    if is_most and is_above and _is_positive(baseline["corruption_effect_low"]):
        return YES
    has_effect = _is_positive(baseline["corruption_effect"])
    return DOUBTFUL if has_effect and (is_most or is_above) else NO


def objection(baseline: Mapping[str, Any], counts: Mapping[str, int]) -> str | None:
    """Return in a few words what speaks against a task in a model, if anything does.

    Args:
        baseline: see `baseline.baseline_measures`.
        counts: the number of usable pairs by split.
    """
    train, test = (counts[split] for split in SPLITS)
    if not (train and test):
        return NO_TRAIN if test else NO_TEST if train else NO_PAIRS
    judged = verdict(baseline)
    if judged == YES:
        return None
    if judged == DOUBTFUL:
        if not _is_most(baseline):
            return BELOW_MOST
        return UNCLEAR_EFFECT if _is_above_chance(baseline) else FEW_PAIRS
    able = _is_most(baseline) or _is_above_chance(baseline)
    return NO_EFFECT if able else NO_BETTER


def models_table(
    models: Mapping[str, Mapping[str, Any]],
    baselines: Mapping[Cell, Mapping[str, Any]],
    counts: Mapping[Cell, Mapping[str, int]],
) -> Table:
    """Each model's shape, and by task what it can do and how many pairs it was given.

    Args:
        models: by name, the descriptions of the models.
        baselines: by model and task what was measured, see `baseline_measures`.
        counts: by model and task the number of `train`, `test` and `rejected` pairs,
            and of distinct pairs of prompts, `distinct_train` and `distinct_test`.
    """
    converted = any("gguf" in model for model in models.values())
    related = any("lineage" in model for model in models.values())
    lines = []
    for (name, task), count in counts.items():
        model, baseline = models[name], baselines[name, task]
        shape = {
            "model": name,
            "architecture": model["architecture"],
            "layers": model["layers"],
            "heads": model["heads"],
            "nodes": len(model["nodes"]),
            "task": task,
        }
        if converted:
            shape["gguf"] = _gguf_file(model["gguf"]) if "gguf" in model else None
        if related:
            lineage = model.get("lineage")
            shape["origin"] = origin(lineage) if lineage else None
        judged = {"verdict": verdict(baseline), "objection": objection(baseline, count)}
        lines.append(shape | _measured(baseline) | judged | count)
    frame = pl.DataFrame(lines, schema=_schema(converted, related))
    note = NOTE + _lacking(counts)
    if converted:
        note += " gguf: the file that a model was dequantised from, and its tensors."
    if related:
        note += " origin: the models that a model was made from."
    return Table(frame, labels=6 + converted + related, note=note)


def _schema(converted: bool, related: bool) -> dict[str, pl.DataType]:
    schema = {"model": pl.String, "architecture": pl.String}
    schema |= dict.fromkeys(("layers", "heads", "nodes"), pl.Int64)
    schema |= {"task": pl.String}
    schema |= {"gguf": pl.String} if converted else {}
    schema |= {"origin": pl.String} if related else {}
    schema |= {"pairs": pl.Int64, "distinct": pl.Int64}
    schema |= {name + end: pl.Float64 for name in SHARES for end in ("", LOW, HIGH)}
    schema |= {name + end: pl.Float64 for name in MEANS for end in ("", HALF_WIDTH)}
    schema |= {"verdict": pl.String, "objection": pl.String}
    return schema | dict.fromkeys(COUNTED, pl.Int64)


def _measured(baseline: Mapping[str, Any]) -> dict[str, Any]:
    values = {key: baseline[key] for key in ("pairs", "distinct")}
    values |= {
        name + end: baseline[name + end] for name in SHARES for end in ("", LOW, HIGH)
    }
    for name in MEANS:
        values |= {name: baseline[name], name + HALF_WIDTH: half_width(baseline, name)}
    return values


def _lacking(counts: Mapping[Cell, Mapping[str, int]]) -> str:
    """Explain why tasks without pairs have an empty cell everywhere else."""
    lacking = [
        f"{task} ({name}) has no {split} pairs"
        for (name, task), count in counts.items()
        for split in SPLITS
        if not count[split]
    ]
    if not lacking:
        return ""
    return (
        " Without train pairs no circuit is found, without test pairs none is "
        f"measured: {', '.join(lacking)}. Where a file has no column `split`, a hash "
        "of `group`, by default of the clean prompt, decides, so that rows with one "
        "clean prompt are all in one split: give both columns. Why rows are rejected "
        "is in the table of rejected rows."
    )


def _gguf_file(record: Mapping[str, Any]) -> str:
    """Return the name of a GGUF file and how many tensors it has of which type."""
    types = ", ".join(f"{n} {name}" for name, n in record["quantisation"].items())
    return f"{Path(record['file']).name} ({types})"


def _is_most(baseline: Mapping[str, Any]) -> bool:
    return baseline["right_above_wrong"] >= MOST


def _is_above_chance(baseline: Mapping[str, Any]) -> bool:
    return baseline["right_above_wrong_low"] > CHANCE


def _is_positive(value: float | None) -> bool:
    return value is not None and value > 0
