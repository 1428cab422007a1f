import json

import polars as pl
import pytest

from circuit_transfer.importers import read_file

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
COLUMNS = ["clean", "corrupted", "answer", "wrong_answer", "split", "group"]


def write(path, rows):
    if path.suffix == ".jsonl":
        path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    elif path.suffix == ".csv":
        pl.DataFrame(rows).write_csv(path)
    else:
        pl.DataFrame(rows).write_parquet(path)
    return path


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_every_type_gives_the_same_frame(suffix, tmp_path):
    frame = read_file(write(tmp_path / f"pairs{suffix}", ROWS))
    assert frame.columns == COLUMNS
    assert frame.select(COLUMNS[:4]).to_dicts() == ROWS
    assert frame["group"].to_list() == [row["clean"] for row in ROWS]
    # The same hash in every process and file type, not far from half and half.
    assert frame["split"].to_list()[:8] == FIRST_SPLITS
    assert 70 < (frame["split"] == "test").sum() < 130


def test_rows_of_a_group_share_their_split(tmp_path):
    rows = [row | {"group": str(number % 20)} for number, row in enumerate(ROWS)]
    frame = read_file(write(tmp_path / "pairs.csv", rows))
    splits = frame.group_by("group").agg(pl.col("split").n_unique())
    assert splits["split"].to_list() == [1] * 20
    assert frame["split"].n_unique() == 2


def test_a_given_split_is_kept_and_other_columns_are_left_out(tmp_path):
    rows = [
        row | {"split": "test" if number % 3 else "train", "note": "x"}
        for number, row in enumerate(ROWS)
    ]
    frame = read_file(write(tmp_path / "pairs.parquet", rows))
    assert frame["split"].to_list() == [row["split"] for row in rows]
    assert frame.columns == COLUMNS


def test_an_empty_cell_of_a_csv_is_empty_text(tmp_path):
    rows = [ROWS[0] | {"clean": ""}, *ROWS[1:3]]
    assert read_file(write(tmp_path / "pairs.csv", rows))["clean"][0] == ""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answer": 7}, r"pairs.jsonl: row 2, column answer: expected text, found 7"),
        ({"answer": None}, r"row 2, column answer: expected text, found None"),
        ({"split": "dev"}, r"row 1, column split: expected text, found None"),
    ],
)
def test_bad_cells_are_named(change, message, tmp_path):
    rows = [ROWS[0], ROWS[1] | change]
    with pytest.raises(ValueError, match=message):
        read_file(write(tmp_path / "pairs.jsonl", rows))


def test_bad_files_are_named(tmp_path):
    path = tmp_path / "pairs.jsonl"
    with pytest.raises(ValueError, match="no such file"):
        read_file(path)
    path.write_text("{}\nnonsense\n")
    with pytest.raises(ValueError, match=r"pairs.jsonl: row 2: not JSON"):
        read_file(path)
    path.write_text("[1, 2]\n")
    with pytest.raises(ValueError, match=r"row 1: expected an object"):
        read_file(path)
    write(path, [{"clean": "a"}])
    with pytest.raises(ValueError, match=r"no column \['corrupted', "):
        read_file(path)
    with pytest.raises(ValueError, match=r"pairs.txt: expected a file of type .jsonl"):
        read_file(tmp_path / "pairs.txt")
    (tmp_path / "pairs.parquet").write_text("nonsense")
    with pytest.raises(ValueError, match="not a readable Parquet file"):
        read_file(tmp_path / "pairs.parquet")


def test_a_group_in_both_splits_is_an_error(tmp_path):
    rows = [
        ROWS[0] | {"group": "g", "split": "train"},
        ROWS[1] | {"group": "g", "split": "test"},
    ]
    with pytest.raises(ValueError, match="rows 1 and 2, column split"):
        read_file(write(tmp_path / "pairs.csv", rows))
    same = [ROWS[0] | {"split": "train"}, ROWS[0] | {"split": "test"}]
    with pytest.raises(ValueError, match="rows 1 and 2, column split"):
        read_file(write(tmp_path / "pairs.csv", same))
    bad = [ROWS[0] | {"split": "dev"}]
    with pytest.raises(ValueError, match="row 1, column split: expected train or test"):
        read_file(write(tmp_path / "pairs.csv", bad))
