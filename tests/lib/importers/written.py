"""Small files of every type, as other people write them."""

import json

import polars as pl

SEPARATORS = {".csv": ",", ".tsv": "\t"}


def write(path, rows):
    """Write rows as JSON Lines, CSV, TSV or Parquet, by the suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    suffix = path.suffix.lower()
    if suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif suffix in SEPARATORS:
        pl.DataFrame(rows).write_csv(path, separator=SEPARATORS[suffix])
    else:
        pl.DataFrame(rows, infer_schema_length=None).write_parquet(path)
    return path


def reasons(imported):
    """Return why rows were rejected, by their number."""
    return dict(imported.rejects.select("row", "reason").rows())
