import json

import polars as pl
import pytest
from write_prompts import write_prompts

DATA = {"words_path": "data/words.yaml", "facts_path": "data/facts.csv"}
COLUMNS = ["clean", "corrupted", "answer", "wrong_answer", "split", "group"]


def test_writes_the_prompts_of_a_generator(tmp_path):
    path = tmp_path / "mcqa.parquet"
    entry = {"generator": "mcqa", "train": 7, "test": 3, "counterfactual": "question"}
    write_prompts(path, task="mcqa", entry=entry, **DATA)
    frame = pl.read_parquet(path)
    assert frame.columns == COLUMNS
    assert frame["split"].to_list() == ["train"] * 7 + ["test"] * 3


def test_writes_the_same_bytes_again(tmp_path):
    entry = {"generator": "ioi"}
    for name in ("once", "twice"):
        write_prompts(tmp_path / name, task="ioi", entry=entry, **DATA)
    assert (tmp_path / "once").read_bytes() == (tmp_path / "twice").read_bytes()
    assert len(pl.read_parquet(tmp_path / "once")) == 400


def test_writes_the_prompts_of_a_file(tmp_path):
    row = dict.fromkeys(COLUMNS[:4], "text") | {"split": "test", "group": "g"}
    source = tmp_path / "own.jsonl"
    source.write_text(json.dumps(row))
    path = tmp_path / "own.parquet"
    entry = {"file": "own.jsonl"}
    write_prompts(path, task="own", entry=entry, file_path=source, **DATA)
    assert pl.read_parquet(path).to_dicts() == [row]


def test_a_task_that_is_too_large_leaves_no_file(tmp_path):
    path = tmp_path / "sums.parquet"
    entry = {"generator": "arithmetic-addition", "test": 5000}
    with pytest.raises(ValueError, match="'arithmetic-addition' can make only"):
        write_prompts(path, task="sums", entry=entry, **DATA)
    assert not path.exists()
