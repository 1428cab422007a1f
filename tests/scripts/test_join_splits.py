"""The stages that join the splits of a task: its files against its source's rows."""

import json

import polars as pl
import pytest
from join_pairs import join_pairs
from join_prompts import join_prompts
from tokenize_pairs import tokenize_pairs
from write_prompts import write_prompts

from circuit_transfer.artifacts.frames import read_frame
from circuit_transfer.prompts.frame import PROMPT_SCHEMA, REJECT_SCHEMA
from circuit_transfer.prompts.pairs import PAIR_SCHEMA

DATA = {"words_path": "data/words.yaml", "facts_path": "data/facts.csv"}


class Task:
    """A task made from its entry, by the stages."""

    def __init__(self, folder, model_path, entry, path=None):
        names = ("train", "test", "train.rejects", "test.rejects")
        prompts, pairs = (
            [folder / kind / f"{name}.parquet" for name in names]
            for kind in ("prompts", "pairs")
        )
        self.whole = [folder / f"{number}.parquet" for number in range(4)]
        for split, *made in zip(names, prompts, prompts[2:], strict=False):
            named = {"task": "own", "split": split, "entry": entry, "path": path}
            write_prompts(*made, **named, **DATA)
        join_prompts(prompts[:2], prompts[2:], *self.whole[:2])
        for source, *made in zip(prompts, pairs, pairs[2:], strict=False):
            tokenize_pairs(source, model_path, *made)
        join_pairs(*self.whole[:2], pairs[:2], pairs[2:], *self.whole[2:])

    def frames(self):
        return map(read_frame, self.whole)


def test_rows_of_a_file_stand_in_their_order(study, tmp_path):
    good = {"corrupt": "w1 w8 :", "answers": [" w3"], "wrong_answers": [" w4"]}
    rows = [good | {"clean": f"w{number} w9 :"} for number in range(10, 22)]
    rows[3] = good | {"clean": "w2 w3 w4 :"}  # of another length
    rows[7] = good | {"clean": None}
    rows[8] |= {"clean": "w2 w3 w5 :"}
    path = tmp_path / "own.json"
    path.write_text(json.dumps({"prompts": rows}))
    entry = {"file": "own.json", "format": "auto-circuit"}
    task = Task(tmp_path, study.model("source"), entry, path)
    prompts, prompt_rejects, pairs, rejects = task.frames()
    assert prompts.schema == PROMPT_SCHEMA
    numbers = [number for number in range(1, 13) if number != 8]
    assert prompts["row"].to_list() == numbers
    assert len({*prompts["split"]}) == 2 and prompts["split"].is_sorted() is False
    assert prompt_rejects["row"].to_list() == [8]
    assert pairs.schema == {k: v for k, v in PAIR_SCHEMA.items() if k != "file"}
    assert pairs["row"].to_list() == [n for n in numbers if n not in (4, 9)]
    splits = dict(prompts.select("row", "split").rows())
    assert all(
        splits[row] == split for row, split in pairs.select("row", "split").rows()
    )
    assert rejects.schema == REJECT_SCHEMA
    # First what gave no pair for any model.
    assert rejects["row"].to_list() == [8, 4, 9]


def test_generated_rows_are_numbered_through(study, tmp_path):
    entry = {"generator": "ioi", "train": 3, "test": 2}
    task = Task(tmp_path, study.model("source"), entry)
    prompts, prompt_rejects, pairs, rejects = task.frames()
    assert prompts.select("row", "split").rows() == [
        *((1, "train"), (2, "train"), (3, "train"), (4, "test"), (5, "test")),
    ]
    assert prompt_rejects.is_empty() and pairs.is_empty()
    # The tiny model knows none of these words.
    assert rejects["row"].to_list() == [1, 2, 3, 4, 5]
    assert rejects["clean"].to_list() == prompts["clean"].to_list()


def test_a_missing_column_is_named(tmp_path):
    for name in ("train", "test"):
        pl.DataFrame({"row": [1]}).write_parquet(tmp_path / name)
    paths = [tmp_path / name for name in ("train", "test")]
    with pytest.raises(ValueError, match=r"train: no column"):
        join_prompts(paths, paths, tmp_path / "prompts", tmp_path / "rejects")
