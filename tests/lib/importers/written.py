"""Small files of every type, as other people write them."""

import json

import polars as pl


def write(path, rows):
    """Write rows as JSON Lines, CSV or Parquet, by the suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".csv":
        pl.DataFrame(rows).write_csv(path)
    else:
        pl.DataFrame(rows, infer_schema_length=None).write_parquet(path)
    return path


def reasons(imported):
    """Return why rows were rejected, by their number."""
    return dict(imported.rejects.select("row", "reason").rows())
