"""A GGUF file as a model: converted, described, and shown in the table of models."""

import hashlib

import pytest
from convert_gguf import convert_gguf
from describe_model import describe_model
from gguf_models import tiny_model, write_gguf

from circuit_transfer.artifacts.text import read_json


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "tiny.gguf"
    write_gguf(path, tiny_model("llama"), "llama", quantised="Q8_0")
    return path


def test_a_model_is_described_with_the_file_that_it_came_from(file, tmp_path):
    record = tmp_path / "checkpoint/conversion.json"
    convert_gguf(file, record)
    expected = {
        "file": str(file),
        "bytes": file.stat().st_size,
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "architecture": "llama",
        "quantisation": {"Q8_0": 15, "F32": 5},
        "dtype": "float32",
    }
    assert read_json(record) == {"gguf": expected}
    path = tmp_path / "model.json"
    where = {"checkpoint": record.parent, "load": {"dtype": "bfloat16"}}
    describe_model(path, model="tiny", **where, record_path=record)
    described = read_json(path)
    assert described["gguf"] == expected
    assert described["dtype"] == "bfloat16"
    assert described["path"] == str(record.parent)


def test_a_bad_file_leaves_nothing_behind(file, tmp_path):
    file.write_bytes(file.read_bytes()[:-9000])
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match="truncated"):
        convert_gguf(file, tmp_path / "checkpoint/conversion.json")
    assert sorted(tmp_path.rglob("*")) == before
