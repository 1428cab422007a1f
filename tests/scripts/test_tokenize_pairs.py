import json
import shutil

import polars as pl
import pytest
from tokenize_pairs import tokenize_pairs
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from circuit_transfer.artifacts.frames import read_frame, write_frame
from circuit_transfer.prompts.frame import REJECT_SCHEMA, Prompt, prompt_frame
from circuit_transfer.prompts.pairs import PAIR_SCHEMA


def test_usable_pairs_keep_their_split(study):
    pairs = read_frame(study.pairs("target", "a"))
    assert pairs.schema == PAIR_SCHEMA
    assert pairs["split"].to_list() == ["train"] * 6 + ["test"] * 4
    assert set(pairs["clean_ids"].list.len()) == {4}
    rejects = read_frame(study.rejects("target", "a"))
    assert rejects.is_empty()
    assert rejects.schema == REJECT_SCHEMA


def test_unusable_pairs_are_rejected_with_their_reason(study):
    assert read_frame(study.pairs("source", "none")).schema == PAIR_SCHEMA
    assert read_frame(study.pairs("source", "none")).is_empty()
    rejects = read_frame(study.rejects("source", "none"))
    prompts = read_frame(study.prompts("none"))
    assert rejects["clean"].to_list() == prompts["clean"].to_list()
    assert set(rejects["reason"]) == {"clean prompt has 4 tokens, corrupted 5"}


def test_a_word_that_the_model_does_not_know_is_rejected(study, tmp_path):
    prompts = read_frame(study.prompts("a"))
    odd = prompts.with_columns(clean=pl.lit("hello w1 w2 :"))
    write_frame(odd, tmp_path / "odd.parquet")
    rejected = tmp_path / "rejects"
    tokenize_pairs(
        tmp_path / "odd.parquet",
        study.model("source"),
        tmp_path / "pairs",
        rejected,
    )
    reasons = set(read_frame(rejected)["reason"])
    assert reasons == {"clean: 'hello' is not in the model's vocabulary"}


def test_two_bos_tokens_are_counted_with_the_cure(study, tmp_path, caplog):
    """`add_bos_token` of older checkpoints, and prompts that have the token."""
    described = json.loads(study.model("source").read_text())
    folder = shutil.copytree(described["path"], tmp_path / "model")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    changed = json.dumps(settings | {"add_bos_token": True})
    (folder / "tokenizer_config.json").write_text(changed)
    (tmp_path / "model.json").write_text(json.dumps(described | {"path": str(folder)}))
    prompts = read_frame(study.prompts("a"))
    # In two of the rows.
    start = pl.when(pl.col("row") < 3).then(pl.lit("<bos> ")).otherwise(pl.lit(""))
    texts = {name: start + pl.col(name) for name in ("clean", "corrupted")}
    write_frame(prompts.with_columns(**texts), tmp_path / "prompts")
    paths = (tmp_path / "model.json", tmp_path / "pairs", tmp_path / "rejects")
    tokenize_pairs(tmp_path / "prompts", *paths)
    (warning,) = [each for each in caplog.messages if "twice" in each]
    assert f"2 of {len(prompts)} pairs begin with <bos> twice" in warning
    assert "remove it from the prompts" in warning
    ids = read_frame(tmp_path / "pairs")["clean_ids"].to_list()
    assert [each[:2].count(1) for each in ids] == [2, 2] + [1] * (len(prompts) - 2)


@pytest.mark.parametrize(("space", "count"), [(" ", 0), ("", 12)])
def test_answers_without_a_space_are_counted_with_the_cure(
    study, tmp_path, caplog, space, count
):
    rows = [
        Prompt(f"w{i} w5", f"w{i} w6", (f"{space}w3",), (" w4",), "train", "x", i)
        for i in range(10, 22)
    ]
    write_frame(prompt_frame(rows), tmp_path / "prompts")
    paths = (study.model("source"), tmp_path / "pairs", tmp_path / "rejects")
    tokenize_pairs(tmp_path / "prompts", *paths)
    # What is rejected for it is logged too.
    warnings = [each for each in caplog.messages if "pairs an answer follows" in each]
    assert len(warnings) == bool(count)
    if count:
        assert f"{paths[1]}: in 12 of 12 pairs an answer follows" in warnings[0]
        assert "('w5w3')" in warnings[0]
        assert "begin the answers with a space" in warnings[0]


def test_prompts_that_end_in_a_space_are_counted_with_the_cure(study, tmp_path, caplog):
    described = json.loads(study.model("source").read_text())
    folder = shutil.copytree(described["path"], tmp_path / "model")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.train_from_iterator([" to", " Anna", " Ben"] * 3)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(folder)
    (tmp_path / "model.json").write_text(json.dumps(described | {"path": str(folder)}))
    rows = [
        Prompt(f"Anna to{end}", f"Ben to{end}", ("Anna",), ("Ben",), "train", "x", row)
        for row, end in enumerate([" ", " ", "\n"], start=1)
    ]
    write_frame(prompt_frame(rows), tmp_path / "prompts")
    paths = (tmp_path / "model.json", tmp_path / "pairs", tmp_path / "rejects")
    tokenize_pairs(tmp_path / "prompts", *paths)
    (warning,) = [each for each in caplog.messages if "space" in each]
    assert f"{paths[1]}: 2 of 3 prompts end in a space ('to ')" in warning
    assert "remove it there, and begin the answers with one" in warning


def test_a_missing_column_is_named(study, tmp_path):
    write_frame(read_frame(study.prompts("a")).drop("split"), tmp_path / "prompts")
    paths = (study.model("source"), tmp_path / "pairs", tmp_path / "rejects")
    with pytest.raises(ValueError, match=r"prompts: no column \['split'\]"):
        tokenize_pairs(tmp_path / "prompts", *paths)
