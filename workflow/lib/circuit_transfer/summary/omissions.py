"""What was left out: rejected rows, empty cells, and numbers that say little."""

from collections.abc import Iterator, Mapping

import polars as pl

from circuit_transfer.summary.wording import counted, listed
from circuit_transfer.tables.typesetting import Table

QUESTION = "What was left out?"
NOTHING = (
    "Nothing: no row was rejected, every model has train and test pairs of every task, "
    "every circuit has a faithfulness, and no fit collapsed."
)
REJECTED, LACKING, UNDEFINED = "rejected rows", "no pairs", "undefined faithfulness"
SAME, COLLAPSED = "a single pair of prompts", "collapsed fits"
# By kind, the sentence that is about all of its places.
SENTENCES = {
    REJECTED: "{count} rejected, of {places}; the table says why.",
    LACKING: "An empty cell: {places}. Without train pairs no circuit is found, "
    "without test pairs none is measured.",
    UNDEFINED: "Faithfulness is undefined where the corrupted prompts do not change "
    "what the model answers: {places}.",
    SAME: "All test pairs are the same two prompts, so that there is no interval: "
    "{places}.",
    COLLAPSED: "{count} collapsed, so that their rankings mean little: {places}.",
}
NOUNS = {REJECTED: "row was,rows were", COLLAPSED: "fit,fits"}
SCHEMA = dict.fromkeys(("kind", "place", "reason"), pl.String) | {"count": pl.Int64}
NOTE = "count: rows, or fits; reason: of rejected rows that of the file or tokenizer."


def left_out(
    models: pl.DataFrame, rejects: pl.DataFrame, cpr: pl.DataFrame
) -> pl.DataFrame:
    """Return what a study left out, a row for each kind and place; see `SCHEMA`.

    Args:
        models: the table of models, a row per model and task, with numbers of pairs.
        rejects: the summary of rejected rows by `model`, `task` and `reason`.
        cpr: the areas of all circuits of one ablation.
    """
    rows = [*_rejected(rejects), *_lacking(models), *_undefined(cpr), *_collapsed(cpr)]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


Row = tuple[str, str, str | None, int | None]


def _rejected(rejects: pl.DataFrame) -> Iterator[Row]:
    for row in rejects.iter_rows(named=True):
        place = f"{row['task']} ({row['model']})"
        yield REJECTED, place, row["reason"], row["rows"]


def _lacking(models: pl.DataFrame) -> Iterator[Row]:
    for row in models.iter_rows(named=True):
        place = f"{row['task']} ({row['model']})"
        lacking = [split for split in ("train", "test") if not row[split]]
        if lacking:
            yield LACKING, place, f"no {' and no '.join(lacking)} pairs", None
        if row["distinct_test"] == 1:
            yield SAME, place, None, None


def _undefined(cpr: pl.DataFrame) -> Iterator[Row]:
    """Yield the tasks of which even gold circuits have no faithfulness."""
    gold = cpr.filter(kind="gold").group_by("target", "task", maintain_order=True)
    for target, task, known in gold.agg(pl.col("cpr").count()).iter_rows():
        if not known:
            yield UNDEFINED, f"{task} ({target})", None, None


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
    parts = found.partition_by("kind", maintain_order=True)
    return [_sentence(part) for part in parts]


def _sentence(part: pl.DataFrame) -> str:
    kind = part["kind"][0]
    places = part["place"].unique(maintain_order=True).to_list()
    noun, plural = NOUNS.get(kind, ",").split(",")
    count = counted(part["count"].sum(), noun, plural)
    return SENTENCES[kind].format(count=count, places=listed(places, "others"))


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
