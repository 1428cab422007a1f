import json

import polars as pl
import pytest
from written import write

from circuit_transfer.importers import import_task
from circuit_transfer.prompts.frame import PROMPT_SCHEMA, REJECT_SCHEMA

ROWS = [
    {
        "clean": f"clean {number}",
        "corrupted": f"corrupted {number}",
        "answer": " yes",
        "wrong_answer": " no",
    }
    for number in range(200)
]
# sha256 by hand: an even first byte is train.
FIRST_SPLITS = ["train", "train", "test", "train", "train", "train", "train", "test"]


def read(path):
    imported = import_task({"file": path.name}, path)
    assert imported.rejects.is_empty()
    assert imported.rejects.schema == REJECT_SCHEMA
    return imported.prompts


@pytest.mark.parametrize(
    "suffix",
    [
        *(".jsonl", ".csv", ".tsv", ".parquet", ".JSONL", ".CSV", ".Parquet"),
        *(".json", ".ndjson", ".csv.gz", ".JSONL.GZ", ".json.gz", ".Tsv.gz"),
    ],
)
def test_every_type_gives_the_same_frame(suffix, tmp_path):
    path = write(tmp_path / f"pairs{suffix}", ROWS)
    frame = read(path)
    assert frame.schema == PROMPT_SCHEMA
    assert frame.select("clean", "corrupted").to_dicts() == [
        {"clean": row["clean"], "corrupted": row["corrupted"]} for row in ROWS
    ]
    assert frame["answers"].to_list() == [[" yes"]] * 200
    assert frame["wrong_answers"].to_list() == [[" no"]] * 200
    assert frame["group"].to_list() == [row["clean"] for row in ROWS]
    assert frame["row"].to_list() == [*range(1, 201)]
    assert set(frame["file"]) == {str(path)}
    assert set(frame["tokenized"]) == {"following"}
    # The same hash in every process and file type, not far from half and half.
    assert frame["split"].to_list()[:8] == FIRST_SPLITS
    assert 70 < (frame["split"] == "test").sum() < 130


def test_rows_of_a_group_share_their_split(tmp_path):
    rows = [row | {"group": str(number % 20)} for number, row in enumerate(ROWS)]
    frame = read(write(tmp_path / "pairs.csv", rows))
    splits = frame.group_by("group").agg(pl.col("split").n_unique())
    assert splits["split"].to_list() == [1] * 20
    assert frame["split"].n_unique() == 2


def test_a_given_split_is_used_and_other_columns_are_ignored(tmp_path):
    rows = [
        row | {"split": "test" if number % 3 else "train", "tokenized": "x"}
        for number, row in enumerate(ROWS)
    ]
    frame = read(write(tmp_path / "pairs.parquet", rows))
    assert frame["split"].to_list() == [row["split"] for row in rows]
    assert set(frame["tokenized"]) == {"following"}


def test_an_empty_cell_of_a_csv_is_empty_text(tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text('clean,corrupted,answer,wrong_answer\n,"", a, b\n')
    assert read(path).select("clean", "corrupted").rows() == [("", "")]


@pytest.mark.parametrize("plural", ["", "s"])
@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_an_answer_may_be_a_list(suffix, plural, tmp_path):
    row = {
        "clean": "1 ",
        "corrupted": "2 ",
        f"answer{plural}": ["a", "b"],
        f"wrong_answer{plural}": ["c"],
    }
    frame = read(write(tmp_path / f"pairs{suffix}", [row]))
    assert frame["answers"].to_list() == [["a", "b"]]
    assert frame["wrong_answers"].to_list() == [["c"]]


LISTS = {
    '["a", "b"]': ["a", "b"],
    "[' Anna']": [" Anna"],
    "['a', \"b's\", 'c,d',]": ["a", "b's", "c,d"],
    '[ "a" ,\n"b" ]': ["a", "b"],
    # A pair of escapes is one character to JSON, and two to Python.
    '["\\ud83e\\udd8a", "a"]': ["🦊", "a"],
    "['it\\'s', 'a']": ["it's", "a"],
}


@pytest.mark.parametrize("column", ["answer", "wrong_answers"])
@pytest.mark.parametrize("name", ["pairs.csv", "pairs.tsv"])
def test_a_list_that_is_written_as_text_in_a_csv_is_a_list(name, column, tmp_path):
    rows = [{"clean": "x", "corrupted": "y", column: cell} for cell in LISTS]
    other = "wrong_answer" if column == "answer" else "answer"
    rows = [row | {other: " no"} for row in rows]
    frame = read(write(tmp_path / name, rows))
    assert frame[f"{column.removesuffix('s')}s"].to_list() == [*LISTS.values()]
    assert frame[f"{other}s"].to_list() == [[" no"]] * len(LISTS)


MALFORMED = [
    *("[]", "[1, 2]", "[a, b]", "['a', 1]", '["a", null]', " ['a']", "['a'] "),
    *("['a'", "['a'] + x", "['a', 'b", "['a', ['b']]", "[b'a']"),
    # Two texts to NumPy, one to Python.
    "['a' 'b']",
]


@pytest.mark.parametrize("cell", MALFORMED)
def test_a_malformed_list_in_a_csv_is_an_error(cell, tmp_path):
    path = write(tmp_path / "pairs.csv", [ROWS[0], ROWS[1] | {"wrong_answer": cell}])
    message = "pairs.csv: row 2, column wrong_answer: expected a text, or a list of"
    with pytest.raises(ValueError, match=message):
        read(path)


@pytest.mark.parametrize("cell", ["[MASK]", "[", "[a]", " [1, 2]", "(a, b)", "a['b']"])
def test_brackets_are_text_where_they_are_no_list(cell, tmp_path):
    frame = read(write(tmp_path / "pairs.csv", [ROWS[0] | {"answer": cell}]))
    assert frame["answers"].to_list() == [[cell]]


def test_a_text_like_a_list_is_text_where_lists_can_be_written(tmp_path):
    listed = ROWS[0] | {"answer": "['a']"}
    frame = read(write(tmp_path / "x.jsonl", [listed]))
    assert frame["answers"].to_list() == [["['a']"]]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_the_header_tells_what_separates_cells(separator, suffix, tmp_path):
    """As spreadsheets save them, with or without quotes around every text."""
    path, texts = tmp_path / f"pairs{suffix}", ["a, b; c", " d", "e", "f"]
    for style in ("necessary", "always"):
        row = dict(zip(ROWS[0], texts, strict=True))
        frame = pl.DataFrame([row])
        frame.write_csv(path, separator=separator, quote_style=style)
        found = read(path).select("clean", "corrupted", "answers", "wrong_answers")
        assert found.rows() == [("a, b; c", " d", ["e"], ["f"])]


@pytest.mark.parametrize(
    "content",
    [
        b"sep=;\r\nclean;corrupted;answer;wrong_answer\r\na, b;c; d; e\r\n",
        b'\xef\xbb\xbf"clean";"corrupted";"answer";"wrong_answer"\r\na, b;c; d; e\r\n',
        b"clean,corrupted,answer,wrong_answer\r" + b'"a, b",c, d, e\r',
        b'clean;corrupted;answer;wrong_answer;"x, y, z"\na, b;c; d; e;1,5\n',
        b"clean\tcorrupted\tanswer\twrong_answer\na, b\tc\t d\t e\n\n \n",
    ],
    ids=["stated separator", "Excel", "old Mac", "commas in a name", "blank lines"],
)
def test_spreadsheets_write_csv_in_many_ways(content, tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_bytes(content)
    found = read(path).select("clean", "corrupted", "answers", "wrong_answers")
    assert found.rows() == [("a, b", "c", [" d"], [" e"])]


def test_blank_lines_of_a_csv_are_counted_but_are_no_rows(tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text("clean,corrupted,answer,wrong_answer\na,b,c,d\n\ne,f,g,h\n")
    assert read(path).select("row", "clean").rows() == [(1, "a"), (3, "e")]


def test_a_prompt_may_be_longer_than_a_cell_of_python_by_default(tmp_path):
    row = ROWS[0] | {"clean": "a" * 200_000}
    assert read(write(tmp_path / "pairs.csv", [row]))["clean"][0] == row["clean"]


def test_a_row_of_too_many_cells_is_named(tmp_path):
    path = tmp_path / "pairs.csv"
    header = "clean,corrupted,answer,wrong_answer\n"
    path.write_text(f'{header}"a\nb",c, d, e\nWhen A, and B,c, d, e\n')
    message = "row 2 has 5 cells, the header 4: a text with ',' needs quotes around it"
    with pytest.raises(ValueError, match=message):
        read(path)


def test_a_prompts_file_gives_its_pairs_again(tmp_path):
    given = {
        "file": "before.csv",
        "row": 7,
        "split": "test",
        "group": "g",
        "clean": "a",
        "corrupted": "b",
        "answers": [],
        "wrong_answers": [],
        "answer_ids": [4, 5],
        "wrong_answer_ids": [6],
        "tokenized": "alone",
        "single_token": True,
    }
    path = tmp_path / "prompts.parquet"
    pl.DataFrame([given], schema=PROMPT_SCHEMA).write_parquet(path)
    assert read(path).to_dicts() == [given | {"file": str(path), "row": 1}]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answer": 7}, r"pairs.jsonl: row 2, column answer: expected text, found 7"),
        ({"answer": None}, r"row 2, column answer: expected text, found None"),
        ({"answer": [" a", 7]}, r"row 2, column answer: expected text, found 7"),
        ({"answer": []}, r"row 2, column answer: expected text, found an empty list"),
        ({"answer": "\ud800"}, r"row 2, column answer: expected text, found '\\ud800'"),
        ({"split": "dev"}, r"row 1, column split: expected text, found None"),
        ({"answers": [" a"]}, r"columns \['answer', 'answers'\]: expected one of the"),
    ],
)
def test_bad_cells_are_named(change, message, tmp_path):
    rows = [ROWS[0], ROWS[1] | change]
    with pytest.raises(ValueError, match=message):
        read(write(tmp_path / "pairs.jsonl", rows))


def test_a_row_of_json_lines_is_its_line(tmp_path):
    path = tmp_path / "pairs.jsonl"
    first, second = map(json.dumps, ROWS[:2])
    path.write_text(f"{first}\n\n{second}\n\n")
    assert read(path)["row"].to_list() == [1, 3]


def test_missing_columns_are_named(tmp_path):
    path = write(tmp_path / "pairs.jsonl", [{"clean": "a"}])
    message = r"no column \['corrupted', 'answer', 'wrong_answer'\], only \['clean'\]"
    with pytest.raises(ValueError, match=message):
        read(path)


def test_a_group_in_both_splits_is_an_error(tmp_path):
    rows = [
        ROWS[0] | {"group": "g", "split": "train"},
        ROWS[1] | {"group": "g", "split": "test"},
    ]
    with pytest.raises(ValueError, match="rows 1 and 2, column split"):
        read(write(tmp_path / "pairs.csv", rows))
    same = [ROWS[0] | {"split": "train"}, ROWS[0] | {"split": "test"}]
    with pytest.raises(ValueError, match="rows 1 and 2, column split"):
        read(write(tmp_path / "pairs.csv", same))
    bad = [ROWS[0] | {"split": "dev"}]
    with pytest.raises(ValueError, match="row 1, column split: expected train or test"):
        read(write(tmp_path / "pairs.csv", bad))
