import json
import shutil
import struct

import pytest

from circuit_transfer.models.checkpoints import check_checkpoint, weight_files
from circuit_transfer.models.description import describe_model

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"


@pytest.fixture(scope="module")
def saved(tiny_checkpoint):
    return tiny_checkpoint("llama", layers=1)


@pytest.fixture
def folder(saved, tmp_path):
    """A copy of a checkpoint that a test may damage."""
    return shutil.copytree(saved, tmp_path / "checkpoint")


def header(text: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(text) if length is None else length) + text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a safetensors file, or truncated .0 bytes.$"),
        (b"\x80\x02}q", "not a safetensors file"),
        (b"<!DOCTYPE html><html>", "not a safetensors file"),
        (header(b"[]"), "not a safetensors file"),
        (header(b"[" * 100_000), "not a safetensors file"),
        (header(b'{"a": 7}'), "not a safetensors file"),
        (header(b'{"a": {"shape": [2]}}'), "not a safetensors file"),
        (
            header(b"{}", 2**60),
            "10 bytes, expected 1,152,921,504,606,846,984 by its header",
        ),
        (header(b"{}") + b"more", "14 bytes, expected 10 by its header: damaged, or"),
        (
            header(b'{"a": {"shape": [2], "data_offsets": [0, 8]}}') + b"abc",
            "56 bytes, expected 61 by its header: damaged, or not completely",
        ),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n",
            "a Git LFS pointer instead of the weights; run `git lfs pull`",
        ),
    ],
)
def test_incomplete_weights_are_named(folder, content, message):
    (folder / WEIGHTS).write_bytes(content)
    with pytest.raises(ValueError, match=f"checkpoint/{WEIGHTS}: ({message})"):
        check_checkpoint(folder)


def test_weights_are_complete_only_with_their_last_byte(folder):
    whole = (folder / WEIGHTS).read_bytes()
    check_checkpoint(folder)
    for content in (whole[:-1], whole + b"\0"):
        (folder / WEIGHTS).write_bytes(content)
        with pytest.raises(ValueError, match="bytes, expected"):
            check_checkpoint(folder)


@pytest.mark.parametrize(
    "index",
    [
        [],
        {},
        {"weight_map": []},
        {"weight_map": {}},
        {"weight_map": {"a": 7}},
        {"weight_map": {"a": "../other/model.safetensors"}},
        {"weight_map": {"a": "/etc/passwd"}},
        {"weight_map": {"a": ""}},
    ],
)
def test_an_index_names_files_of_its_folder(folder, index):
    (folder / WEIGHTS).unlink()
    (folder / INDEX).write_text(json.dumps(index))
    with pytest.raises(ValueError, match=f"checkpoint/{INDEX}: expected a"):
        weight_files(folder)


def test_a_configuration_that_is_no_object_is_named(folder):
    (folder / "config.json").write_text("[]")
    with pytest.raises(
        ValueError, match="config.json: expected a JSON object, found l"
    ):
        describe_model(folder)


def change(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"num_hidden_layers": "two"},
            "no model .*: .* expected int, got str",
        ),
        (
            {"num_attention_heads": 0},
            "built from config.json: ZeroDivisionError",
        ),
        (
            {"hidden_act": "nonsense"},
            "built from config.json: KeyError: 'nonsense'",
        ),
        (
            {"num_hidden_layers": 2},
            "9 are missing .model.layers.1.input_layernorm.weight",
        ),
        ({"vocab_size": 49}, "tokenizer.json has 50 tokens, but .* vocab_size of 49: "),
    ],
)
def test_a_configuration_of_another_model_is_named(folder, values, message):
    change(folder / "config.json", **values)
    with pytest.raises(ValueError, match=f"checkpoint: .*{message}"):
        describe_model(folder)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("tokenizer.json", "{", "tokenizer.json: not a JSON file"),
        ("tokenizer.json", "{}", "are no tokenizer that can be read"),
        ("tokenizer.json", "[]", "tokenizer.json: expected a JSON object"),
        ("tokenizer_config.json", "{", "tokenizer_config.json: not a JSON file"),
        ("config.json", '{"model_type": ', "config.json: not a JSON file"),
    ],
)
def test_a_broken_part_is_named_in_one_line(folder, name, content, message):
    (folder / name).write_text(content)
    with pytest.raises(ValueError, match=f"checkpoint.*{message}") as error:
        describe_model(folder)
    assert "\n" not in str(error.value)


def test_added_tokens_may_exceed_the_vocabulary(folder):
    """As the image token of Gemma 3; pairs that need one are rejected."""
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    tokenizer.save_pretrained(folder)
    assert describe_model(folder)["vocabulary"] == len(tokenizer) - 1
