"""Small files of every type, as other people write them."""

import gzip
import json
from pathlib import Path

import polars as pl

SEPARATORS = {".csv": ",", ".tsv": "\t"}


def write(path, rows):
    """Write rows as the suffix says, packed if it ends in `.gz`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    name = path.name.lower()
    suffix = Path(name.removesuffix(".gz")).suffix
    if suffix in (".jsonl", ".ndjson"):
        content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    elif suffix == ".json":
        content = json.dumps(rows, indent=1).encode()
    elif suffix in SEPARATORS:
        frame = pl.DataFrame(rows, infer_schema_length=None)
        content = frame.write_csv(separator=SEPARATORS[suffix]).encode()
    else:
        pl.DataFrame(rows, infer_schema_length=None).write_parquet(path)
        return path
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return path


def reasons(imported):
    """Return why rows were rejected, by their number."""
    return dict(imported.rejects.select("row", "reason").rows())
