"""JSON read entry by entry is what `json` reads, and is refused where it refuses."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from circuit_transfer.artifacts.json_entries import read_json_entries

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["big", "a", 'q"\\', ""]), inner, max_size=3)
    ),
    max_leaves=8,
)


def read(path, text):
    path.write_text(text, encoding="utf-8")
    return read_json_entries(path, {"big": lambda entries: ("reduced", dict(entries))})


@given(VALUES, st.sampled_from([None, 0, 3]))
def test_it_reads_what_json_reads(tmp_path_factory, value, indent):
    path = tmp_path_factory.mktemp("json") / "value.json"
    expected = value
    if isinstance(value, dict) and isinstance(value.get("big"), dict):
        expected = value | {"big": ("reduced", value["big"])}
    assert read(path, json.dumps(value, indent=indent)) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "{", '{"a"', '{"a":', '{"a": 1', '{"a": 1,', '{"a": 1,}', "{1: 2}"),
        *('{"a" 1}', '{"a": 1 "b": 2}', '{"a": 1} x', '{"a": x}', "{,}", "[1,]", "nan"),
        *('{"big": {"a": 1}', '{"big": {"a": 1,}}', '{"big": {"a"}}', '{"big": }'),
        *('{"a\x00": 1}', '{"a": "\n"}', '{"big": {"a": ' + "9" * 5000 + "}}"),
        *("[" * 100_000, '{"a":' * 100_000, '{"big": {"a": ' + "[" * 100_000),
        "\ufeff{}",
    ],
)
def test_it_refuses_what_json_refuses(tmp_path, text):
    with pytest.raises((ValueError, RecursionError)) as refused:
        json.loads(text)
    path = tmp_path / "value.json"
    with pytest.raises(ValueError, match=r"value\.json: not a JSON file \(") as error:
        read(path, text)
    if isinstance(refused.value, json.JSONDecodeError) and text[:1] != "\ufeff":
        assert str(refused.value) in str(error.value)


def test_other_encodings_are_refused(tmp_path):
    path = tmp_path / "value.json"
    path.write_bytes('{"é": 1}'.encode("latin-1"))
    with pytest.raises(ValueError, match=r"value\.json: not a JSON file \('utf-8'"):
        read_json_entries(path, {})
