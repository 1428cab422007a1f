import json

import pytest
from written import write

from circuit_transfer.importers import FORMATS, data_files, import_task

ROW = {"clean": "a", "corrupted": "b", "answer": " c", "wrong_answer": " d"}
LINE = json.dumps(ROW).encode()


def read(path, **entry):
    return import_task({"file": path.name} | entry, path).prompts


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (LINE + b"\nnonsense\n", r"x.jsonl: row 2: not JSON"),
        (LINE + b"\n" + LINE[:30], r"x.jsonl: row 2: not JSON"),
        (b"[1, 2]\n", r"x.jsonl: row 1: expected an object"),
        (LINE + b'\n{"clean": "\xff"}', r"x.jsonl: row 2: not UTF-8"),
        (b"[" * 100_000, r"x.jsonl: row 1: not JSON"),
    ],
)
def test_a_broken_line_is_named(content, message, tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read(path)


def test_broken_csv_and_json_are_named(tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes(b"clean,corrupted\na,b\n\xff,d\n")
    with pytest.raises(ValueError, match=r"x.csv: line 3: not UTF-8"):
        read(path)
    path.write_bytes(b"clean,corrupted\na,b,c\n")
    with pytest.raises(ValueError, match=r"x.csv: not a readable CSV file"):
        read(path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"x.csv: not a readable CSV file"):
        read(path)
    path = tmp_path / "x.json"
    path.write_text('{"prompts": [\n  {"clean": \n')
    with pytest.raises(ValueError, match=r"x.json: line 3: not JSON"):
        read(path, format="auto-circuit")


def test_a_cut_or_damaged_parquet_file_is_named(tmp_path):
    path = write(tmp_path / "x.parquet", [ROW] * 50)
    whole = path.read_bytes()
    for content in (b"", b"nonsense", whole[:-1], whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"x.parquet: not a readable Parquet file"):
            read(path)


def test_a_parquet_reader_that_panics_is_an_error(tmp_path):
    """Bytes within the file are overwritten one by one; some make the reader panic."""
    path = write(tmp_path / "x.parquet", [ROW] * 5)
    whole = path.read_bytes()
    for place in range(4, len(whole), 9):
        path.write_bytes(whole[:place] + b"\x9d" + whole[place + 1 :])
        try:
            read(path)
        except ValueError as error:
            assert str(path) in str(error)


def test_a_missing_file_and_an_unknown_type_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"x.jsonl: no such file"):
        read(tmp_path / "x.jsonl")
    with pytest.raises(ValueError, match=r"pairs.txt: expected a file of type .jsonl"):
        read(tmp_path / "pairs.txt")
    with pytest.raises(ValueError, match=r"x.csv: expected a file of type .json$"):
        read(tmp_path / "x.csv", format="auto-circuit")
    with pytest.raises(ValueError, match=r"unknown format 'eap': expected one of"):
        read(tmp_path / "x.csv", format="eap")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.jsonl", b"\xef\xbb\xbf" + LINE + b"\r\n" + LINE + b"\r\n"),
        (
            "x.csv",
            b"\xef\xbb\xbfclean,corrupted,answer,wrong_answer\r\n"
            b"a,b, c, d\r\na,b, c, d\r\n",
        ),
    ],
)
def test_byte_order_marks_and_carriage_returns_do_no_harm(name, content, tmp_path):
    path = tmp_path / name
    path.write_bytes(content)
    frame = read(path)
    assert frame["clean"].to_list() == ["a", "a"]
    assert frame["wrong_answers"].to_list() == [[" d"], [" d"]]


def test_a_line_separator_within_a_text_ends_no_row(tmp_path):
    path = tmp_path / "x.jsonl"
    row = ROW | {"clean": "one\u2028two\x85"}
    path.write_text(json.dumps(row, ensure_ascii=False), encoding="utf-8")
    assert read(path)["clean"].to_list() == [row["clean"]]


def test_a_format_has_the_properties_that_checks_need(tmp_path):
    assert [*FORMATS] == [
        *("pairs", "eap-ig", "auto-circuit", "edge-pruning", "edge-pruning-ioi"),
        *("causal-tom", "entity-tracking"),
    ]
    assert FORMATS["auto-circuit"].suffixes == (".json",)
    path = tmp_path / "x.csv"
    assert data_files({"file": "x.csv", "format": "eap-ig"}, path) == [path]
