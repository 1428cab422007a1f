"""What was left out: rejected rows, empty cells, and numbers that say little."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import polars as pl

from circuit_transfer.prompts.frame import SPLITS
from circuit_transfer.summary.wording import counted, listed
from circuit_transfer.tables.typesetting import Table

QUESTION = "What was left out?"
NOTHING = (
    "Nothing: no row was rejected, every model has train and test pairs of every task, "
    "every circuit has a faithfulness, and no fit collapsed."
)
REJECTED, LACKING, UNDEFINED = "rejected rows", "no pairs", "undefined faithfulness"
SAME, FEW = "a single pair of prompts", "few pairs of prompts"
COLLAPSED, UNRELATED = "collapsed fits", "maps by lineage"
# Fewer distinct test pairs than this are called few.
FEWEST = 10
# By kind, the sentence that is about all of its places.
SENTENCES = {
    REJECTED: "{count} rejected (counted in every model), of {places}; most often: "
    "{reason}.",
    LACKING: "Empty cells: {places}. Without train pairs no circuit is found, "
    "without test pairs none is measured.",
    UNDEFINED: "Faithfulness is undefined where the corrupted prompts do not change "
    "what the model answers: {places}.",
    SAME: "All test pairs are the same two prompts, so that there is no interval: "
    "{places}.",
    FEW: "Intervals are rough where distinct test pairs are few: {places}.",
    COLLAPSED: "{count} collapsed, so that their rankings mean little: {places}.",
    UNRELATED: "Maps by lineage are left out for models of which none is recorded to "
    "be made from the other, or both from a third one: {places}.",
}
NOUNS = {REJECTED: "row was,rows were", COLLAPSED: "fit,fits"}
Row = tuple[str, str, str | None, int | None]
NONE = (None, None)  # reason and count
SCHEMA = dict.fromkeys(("kind", "place", "reason"), pl.String) | {"count": pl.Int64}
# The columns of the rejected rows that are read.
REJECTS = dict.fromkeys(("model", "task", "reason", "example"), pl.String) | {
    "rows": pl.Int64
}
NOTE = "count: rows, or fits; reason: of rejected rows that of the file or tokenizer."


def left_out(
    models: pl.DataFrame,
    rejects: pl.DataFrame,
    cpr: pl.DataFrame,
    omitted: Iterable[Sequence[str]] = (),
) -> pl.DataFrame:
    """Return what a study left out, a row for each kind and place; see `SCHEMA`.

    Args:
        models: the table of models, a row per model and task, with numbers of pairs.
        rejects: the summary of rejected rows by `model`, `task` and `reason`.
        cpr: the areas of all circuits of one ablation.
        omitted: the maps that a pair has none of, each as source, target and map.
    """
    rows = [*_rejected(rejects), *_lacking(models), *_undefined(cpr), *_collapsed(cpr)]
    for source, target, name in omitted:
        rows.append((UNRELATED, f"{source} → {target}", name, None))
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def _rejected(rejects: pl.DataFrame) -> Iterator[Row]:
    for row in rejects.iter_rows(named=True):
        place = f"{row['task']} ({row['model']})"
        yield REJECTED, place, row["example"] or row["reason"], row["rows"]


def _lacking(models: pl.DataFrame) -> Iterator[Row]:
    for row in models.iter_rows(named=True):
        task, model, distinct = (row[key] for key in ("task", "model", "distinct_test"))
        lacking = [split for split in SPLITS if not row[split]]
        if lacking:
            yield (
                LACKING,
                f"{task} ({model}: no {' and no '.join(lacking)} pairs)",
                *NONE,
            )
        if distinct == 1:
            yield SAME, f"{task} ({model})", *NONE
        elif 1 < distinct < FEWEST:
            yield FEW, f"{task} ({model}: {distinct})", *NONE


def _undefined(cpr: pl.DataFrame) -> Iterator[Row]:
    """Yield the tasks of which even gold circuits have no faithfulness."""
    gold = cpr.filter(kind="gold").group_by("target", "task", maintain_order=True)
    for target, task, known in gold.agg(pl.col("cpr").count()).iter_rows():
        if not known:
            yield UNDEFINED, f"{task} ({target})", *NONE


def _collapsed(cpr: pl.DataFrame) -> Iterator[Row]:
    fits = cpr.filter("collapsed").with_columns(pl.col("map").fill_null("control"))
    keys = ("source", "target", "method", "map", "training_set", "control")
    # A fit is measured on several tasks.
    fits = fits.unique([*keys, "seed"], maintain_order=True).sort(*keys)
    for key, part in fits.group_by(keys, maintain_order=True):
        source, target, method, name, trained_on, control = key
        what = name if control == "none" else f"{name}, {control}"
        place = f"{source} → {target} by {method}"
        yield COLLAPSED, place, f"{what}, trained on {trained_on}", len(part)


def omissions_answer(found: pl.DataFrame) -> list[str]:
    """Return one sentence per kind of what was left out.

    Args:
        found: see `left_out`.
    """
    if found.is_empty():
        return [NOTHING]
    parts = ((kind, found.filter(kind=kind)) for kind in SENTENCES)
    return [_sentence(kind, part) for kind, part in parts if len(part)]


def _sentence(kind: str, part: pl.DataFrame) -> str:
    places = part["place"].unique(maintain_order=True).to_list()
    noun, plural = NOUNS.get(kind, ",").split(",")
    count = counted(part["count"].sum(), noun, plural)
    reasons = part.group_by("reason", maintain_order=True).agg(pl.sum("count"))
    reason = reasons.sort("count", descending=True, maintain_order=True)["reason"][0]
    texts = {"count": count, "places": listed(places), "reason": reason}
    return SENTENCES[kind].format(**texts)


def omissions_table(found: pl.DataFrame) -> Table:
    """Return what was left out, a row for each kind, place and reason."""
    return Table(found, labels=3, note=NOTE)


def rejected_shares(models: pl.DataFrame) -> Mapping[str, tuple[float, str]]:
    """Return the share of the rows that could be used, by model and task."""
    shares = {}
    for row in models.iter_rows(named=True):
        used = row["train"] + row["test"]
        rows = used + row["rejected"]
        if rows:
            name = f"{row['model']}, {row['task']}"
            shares[name] = (used / rows, f"{used:,} of {rows:,}")
    return shares
