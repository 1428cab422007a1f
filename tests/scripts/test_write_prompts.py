import json
import logging

import polars as pl
import pytest
from write_prompts import write_prompts

from circuit_transfer.prompts.frame import PROMPT_SCHEMA, REJECT_SCHEMA

DATA = {"words_path": "data/words.yaml", "facts_path": "data/facts.csv"}


def test_writes_the_prompts_of_a_generator(tmp_path):
    prompts, rejects = tmp_path / "mcqa.parquet", tmp_path / "mcqa.rejects.parquet"
    entry = {"generator": "mcqa", "train": 7, "test": 3, "counterfactual": "question"}
    write_prompts(prompts, rejects, task="mcqa", entry=entry, **DATA)
    frame = pl.read_parquet(prompts)
    assert frame.schema == PROMPT_SCHEMA
    assert frame["split"].to_list() == ["train"] * 7 + ["test"] * 3
    frame = pl.read_parquet(rejects)
    assert frame.is_empty()
    assert frame.schema == REJECT_SCHEMA


def test_writes_the_same_bytes_again(tmp_path):
    entry = {"generator": "ioi"}
    for name in ("once", "twice"):
        paths = tmp_path / name, tmp_path / f"{name}.rejects"
        write_prompts(*paths, task="ioi", entry=entry, **DATA)
    assert (tmp_path / "once").read_bytes() == (tmp_path / "twice").read_bytes()
    assert len(pl.read_parquet(tmp_path / "once")) == 400


def test_writes_the_prompts_of_a_file_and_what_it_rejects(tmp_path, caplog):
    prompt = {"clean": "a", "corrupt": "b", "answers": ["c"], "wrong_answers": ["d"]}
    source = tmp_path / "own.json"
    source.write_text(json.dumps({"prompts": [{"clean": "e"}, prompt]}))
    paths = tmp_path / "own.parquet", tmp_path / "own.rejects.parquet"
    entry = {"file": "own.json", "format": "auto-circuit"}
    with caplog.at_level(logging.INFO):
        write_prompts(*paths, task="own", entry=entry, path=source, **DATA)
    prompts, rejects = map(pl.read_parquet, paths)
    assert prompts.schema == PROMPT_SCHEMA
    assert prompts.select("file", "row", "clean", "corrupted").to_dicts() == [
        {"file": str(source), "row": 2, "clean": "a", "corrupted": "b"}
    ]
    assert rejects.schema == REJECT_SCHEMA
    assert rejects.select("row", "clean").rows() == [(1, "e")]
    assert "own: 1 pairs" in caplog.text
    assert "own: 1 rows rejected, 1: corrupt: expected text, found None" in caplog.text


def test_a_task_that_is_too_large_leaves_no_file(tmp_path):
    paths = tmp_path / "sums.parquet", tmp_path / "sums.rejects.parquet"
    entry = {"generator": "arithmetic-addition", "test": 5000}
    with pytest.raises(ValueError, match="'arithmetic-addition' can make only"):
        write_prompts(*paths, task="sums", entry=entry, **DATA)
    assert not any(path.exists() for path in paths)
