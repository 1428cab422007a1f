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
    names = {"task": "mcqa", "split": "test"}
    write_prompts(prompts, rejects, entry=entry, **names, **DATA)
    frame = pl.read_parquet(prompts)
    assert frame.schema == PROMPT_SCHEMA
    assert frame["split"].to_list() == ["test"] * 3
    assert frame["row"].to_list() == [1, 2, 3]
    frame = pl.read_parquet(rejects)
    assert frame.is_empty()
    assert frame.schema == REJECT_SCHEMA


def test_writes_the_same_bytes_again(tmp_path):
    entry = {"generator": "ioi"}
    for name in ("once", "twice"):
        paths = tmp_path / name, tmp_path / f"{name}.rejects"
        write_prompts(*paths, task="ioi", split="train", entry=entry, **DATA)
    assert (tmp_path / "once").read_bytes() == (tmp_path / "twice").read_bytes()
    assert len(pl.read_parquet(tmp_path / "once")) == 200


@pytest.mark.parametrize(("split", "other"), [("train", "test"), ("test", "train")])
def test_a_split_does_not_know_how_many_pairs_the_other_has(tmp_path, split, other):
    made = []
    for number in (3, 5):
        path = tmp_path / f"{number}.parquet"
        entry = {"generator": "ioi", split: 4, other: number}
        names = {"task": "ioi", "split": split}
        write_prompts(path, tmp_path / "rejects", entry=entry, **names, **DATA)
        made.append(path.read_bytes())
    assert made[0] == made[1]


def test_writes_the_prompts_of_a_file_and_what_it_rejects(tmp_path, caplog):
    prompt = {"clean": "a", "corrupt": "b", "answers": ["c"], "wrong_answers": ["d"]}
    others = [prompt | {"clean": clean} for clean in "fghijk"]
    source = tmp_path / "own.json"
    source.write_text(json.dumps({"prompts": [{"clean": "e"}, prompt, *others]}))
    entry = {"file": "own.json", "format": "auto-circuit"}
    rows = []
    for split in ("train", "test"):
        paths = tmp_path / f"{split}.parquet", tmp_path / f"{split}.rejects.parquet"
        names = {"task": "own", "split": split, "path": source}
        with caplog.at_level(logging.INFO):
            write_prompts(*paths, entry=entry, **names, **DATA)
        prompts, rejects = map(pl.read_parquet, paths)
        assert prompts.schema == PROMPT_SCHEMA
        assert set(prompts["file"]) == {str(source)}
        assert set(prompts["split"]) == {split}
        rows += prompts.select("row", "clean").rows()
        # Of which split it would be is not known.
        assert rejects.schema == REJECT_SCHEMA
        assert rejects.select("row", "clean").rows() == [(1, "e")]
        assert f"own, {split}: {len(prompts)} pairs" in caplog.text
    assert sorted(rows) == [*enumerate("afghijk", start=2)]
    assert "own, test: 1 rejected: corrupt: expected text, found None" in caplog.text


def test_a_task_that_is_too_large_leaves_no_file(tmp_path):
    paths = tmp_path / "sums.parquet", tmp_path / "sums.rejects.parquet"
    entry = {"generator": "arithmetic-addition", "test": 5000}
    with pytest.raises(ValueError, match="'arithmetic-addition' can make only"):
        write_prompts(*paths, task="sums", split="test", entry=entry, **DATA)
    assert not any(path.exists() for path in paths)


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_file_with_one_clean_prompt_says_why_a_split_is_empty(
    tmp_path, caplog, split
):
    # The shape of a public file: one clean prompt, few corrupted ones, many copies.
    names = ("Clara", "Daniel", "Emma")
    rows = [
        {"clean": "Ben went", "corrupt": f"{name} went", "answers": [" A"]}
        | {"wrong_answers": [" B"]}
        for name in names * 10
    ]
    source = tmp_path / "animals.json"
    source.write_text(json.dumps({"prompts": rows}))
    paths = tmp_path / "prompts.parquet", tmp_path / "rejects.parquet"
    entry = {"file": "animals.json", "format": "auto-circuit"}
    write_prompts(*paths, task="animals", split=split, path=source, entry=entry, **DATA)
    assert "animals: no " in caplog.text
    assert "all 30 rows are in the" in caplog.text
    assert len(pl.read_parquet(paths[0])) in (0, 30)
