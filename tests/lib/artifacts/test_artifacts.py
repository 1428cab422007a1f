import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import safetensors.numpy

import circuit_transfer
from circuit_transfer.artifacts.alignments import read_alignment, write_alignment
from circuit_transfer.artifacts.descriptions import DESCRIBED, read_description
from circuit_transfer.artifacts.files import atomic, atomic_files, remove_partial
from circuit_transfer.artifacts.frames import read_frame, read_table, write_frame
from circuit_transfer.artifacts.scores import read_scores, write_scores
from circuit_transfer.artifacts.tensors import FORMAT, read_tensors, write_tensors
from circuit_transfer.artifacts.text import read_json, write_json, write_text

LIBRARY = Path(circuit_transfer.__file__).parents[1]
SCORES = np.array([0.1, -np.inf, np.nan, 1e-40, -0.0], np.float32)
NODES = ("a0.h0", "a0.h1", "m0", "a1.h0", "a1.h1")
METADATA = {"model": "7", "task": "2024", "examples": 12, "lambda": 0.1, "note": "a b"}


def same_bits(left, right):
    return left.dtype == right.dtype and left.tobytes() == right.tobytes()


def test_scores_are_read_as_written_bit_by_bit(tmp_path):
    path = tmp_path / "new" / "folder" / "scores.safetensors"
    write_scores(path, SCORES, nodes=NODES, **METADATA)
    found = read_scores(path)
    assert same_bits(found.scores, SCORES)
    assert found.nodes == NODES
    # Names stay text, also where they look like numbers.
    assert found.metadata == METADATA


def test_scores_of_float64_are_stored_as_float32(tmp_path):
    write_scores(tmp_path / "s", SCORES.astype(float), nodes=NODES)
    assert read_scores(tmp_path / "s").scores.dtype == np.float32


def test_scores_must_fit_their_nodes(tmp_path):
    with pytest.raises(ValueError, match=r"scores \(5,\) do not fit 4 node names"):
        write_scores(tmp_path / "s", SCORES, nodes=NODES[:4])
    assert not list(tmp_path.iterdir())


def test_scores_of_every_example_are_read_as_written(tmp_path):
    rows = np.random.default_rng(0).standard_normal((3, 5))
    write_scores(tmp_path / "s", SCORES, nodes=NODES, by_example=rows, **METADATA)
    found = read_scores(tmp_path / "s")
    assert same_bits(found.by_example, rows.astype(np.float32))
    assert same_bits(found.scores, SCORES)
    write_scores(tmp_path / "s", SCORES, nodes=NODES)
    assert read_scores(tmp_path / "s").by_example is None
    message = r"by_example \(5, 3\) does not fit the scores"
    with pytest.raises(ValueError, match=message):
        write_scores(tmp_path / "s", SCORES, nodes=NODES, by_example=rows.T)


def test_alignments_are_read_as_written_bit_by_bit(tmp_path):
    matrix = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    # A transposed view is not contiguous, which safetensors would misread.
    tensors = {"alignment": matrix.T, "loss": SCORES, "alignment/source-free": matrix}
    metadata = {"maps": ["free"], "seed": 3, "source": "1", "controls": []}
    write_alignment(tmp_path / "a", tensors, metadata)
    found = read_alignment(tmp_path / "a")
    assert np.array_equal(found.alignment, matrix.T)
    assert same_bits(found.tensors["loss"], SCORES)
    assert set(found.tensors) == set(tensors)
    assert found.metadata == metadata


def test_frames_are_read_as_written(tmp_path):
    frame = pl.DataFrame({"ids": [[1, 2], [3]], "x": [0.1, None], "text": ["é", ""]})
    write_frame(frame, tmp_path / "f.parquet")
    assert read_frame(tmp_path / "f.parquet", ["ids", "x"]).equals(frame)
    write_frame(frame.clear(), tmp_path / "empty.parquet")
    assert read_frame(tmp_path / "empty.parquet").schema == frame.schema


def test_json_text_and_plain_tensors_are_read_as_written(tmp_path):
    value = {"b": [1, 2.5, None], "a": "ü"}
    write_json(value, tmp_path / "j")
    assert read_json(tmp_path / "j") == value
    write_text("ü\n", tmp_path / "t")
    assert (tmp_path / "t").read_bytes() == "ü\n".encode()
    write_tensors(tmp_path / "x", {"scores": SCORES})
    assert same_bits(read_tensors(tmp_path / "x")[0]["scores"], SCORES)


def test_files_are_the_same_bytes_in_every_process(tmp_path):
    code = (
        "import sys, numpy as np; from circuit_transfer.artifacts.scores import *\n"
        "write_scores(sys.argv[1], np.arange(3.), nodes=['a', 'b', 'm'], model='x',"
        " task='y', method='nap', examples=3, ig_steps=5, ablation='z', effect=.1)"
    )
    for seed in ("1", "2", "3"):
        subprocess.run(
            [sys.executable, "-c", code, tmp_path / seed],
            env={"PYTHONPATH": str(LIBRARY), "PYTHONHASHSEED": seed},
            check=True,
        )
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1
    # safetensors itself must still be able to read the rewritten header.
    assert safetensors.numpy.load_file(tmp_path / "1")["scores"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("kept", [0, 4, 60, -1])
def test_a_truncated_file_is_named(tmp_path, kept):
    path = tmp_path / "scores.safetensors"
    write_scores(path, SCORES, nodes=NODES)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"scores.safetensors: not a readable safet"):
        read_scores(path)


def test_other_files_are_named(tmp_path):
    path = tmp_path / "thing"
    for reader, what in (
        (read_scores, "safetensors"),
        (read_frame, "Parquet"),
        (read_json, "JSON"),
    ):
        path.write_text("{ not this")
        with pytest.raises(ValueError, match=f"thing: not a .*{what} file"):
            reader(path)


def test_a_truncated_frame_is_named(tmp_path):
    path = tmp_path / "f.parquet"
    write_frame(pl.DataFrame({"x": range(100)}), path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match="f.parquet: not a readable Parquet file"):
        read_frame(path)


def test_a_file_of_another_format_is_refused(tmp_path):
    path = tmp_path / "foreign"
    for found in (None, "pt", "circuit-transfer/0"):
        metadata = {"format": found} if found else None
        safetensors.numpy.save_file({"scores": SCORES}, path, metadata)
        expected = f"foreign: its format is {found!r}, expected '{FORMAT}'; delete the"
        with pytest.raises(ValueError, match=expected):
            read_scores(path)


def test_metadata_missing_in_older_versions_is_named(tmp_path):
    path, written = tmp_path / "old", {"format": FORMAT, "task": "ioi"}
    safetensors.numpy.save_file({"scores": SCORES}, path, written)
    message = r"old: no metadata \['nodes'\], only \['task'\]: .* Then delete the file"
    with pytest.raises(ValueError, match=message):
        read_scores(path)
    safetensors.numpy.save_file({"alignment": SCORES}, path, written)
    with pytest.raises(ValueError, match=r"old: no metadata \['maps'\], only"):
        read_alignment(path)


def test_an_incomplete_description_is_named(tmp_path):
    path = tmp_path / "model.json"
    write_json({key: 1 for key in DESCRIBED if key != "nodes"}, path)
    message = r"model.json: no \['nodes'\], only .* Then delete the file"
    with pytest.raises(ValueError, match=message):
        read_description(path)
    path.write_text('{"model": ')
    with pytest.raises(ValueError, match="model.json: not a JSON file .* delete the"):
        read_description(path)
    write_json(found := dict.fromkeys(DESCRIBED, 1), path)
    assert read_description(path) == found


def test_a_frame_with_damage_inside_is_named(tmp_path):
    """Some damage within the pages makes the reader panic, not raise."""
    path = tmp_path / "f.parquet"
    write_frame(pl.DataFrame({"x": ["a", "b"], "y": [[1], [2, 3]]}), path)
    whole, refused = path.read_bytes(), 0
    for place in range(4, len(whole), 7):
        path.write_bytes(whole[:place] + b"\x9d" + whole[place + 1 :])
        try:
            read_frame(path, ["x", "y"])
        except ValueError as error:
            assert str(error).startswith(f"{path}: ")
            refused += 1
    assert refused > 10


def test_a_missing_tensor_or_column_is_named(tmp_path):
    write_scores(tmp_path / "s", SCORES, nodes=NODES)
    with pytest.raises(ValueError, match=r"s: no tensor \['alignment'\], only"):
        read_alignment(tmp_path / "s")
    write_alignment(tmp_path / "a", {"alignment": SCORES}, {})
    with pytest.raises(ValueError, match=r"a: no tensor \['scores'\], only"):
        read_scores(tmp_path / "a")
    write_frame(pl.DataFrame({"x": [1]}), tmp_path / "f")
    with pytest.raises(ValueError, match=r"f: no column \['y'\], only \['x'\]"):
        read_frame(tmp_path / "f", ["x", "y"])


def test_a_missing_file_stays_a_missing_file(tmp_path):
    for reader in (read_scores, read_alignment, read_frame, read_json):
        with pytest.raises(FileNotFoundError, match="nothing"):
            reader(tmp_path / "nothing")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="half way"), atomic(path) as partial:
        assert partial.parent == tmp_path
        partial.write_text("new, but not whole")
        raise RuntimeError("half way")
    assert os.listdir(tmp_path) == ["file"]
    assert path.read_text() == "old"
    with pytest.raises(TypeError):
        write_json({"x": object()}, path)
    assert path.read_text() == "old"


def test_a_write_replaces_the_old_file_at_once(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with atomic(path) as partial:
        partial.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["file"]


def test_metadata_is_readable_by_anything_that_reads_safetensors(tmp_path):
    write_scores(tmp_path / "s", SCORES, nodes=NODES, task="ioi", examples=3)
    with safetensors.safe_open(tmp_path / "s", framework="numpy") as file:
        metadata = file.metadata()
    assert json.loads(metadata["nodes"]) == list(NODES)
    assert metadata["format"] == FORMAT
    assert metadata["task"] == "ioi"


def test_files_of_a_folder_appear_when_all_are_written(tmp_path):
    folder = tmp_path / "new" / "checkpoint"
    with atomic_files(folder) as partial:
        (partial / "b").write_text("2")
        (partial / "a").write_text("1")
        assert not folder.exists()
    assert {path.name: path.read_text() for path in folder.iterdir()} == {
        "a": "1",
        "b": "2",
    }
    assert [path.name for path in folder.parent.iterdir()] == ["checkpoint"]


def test_a_folder_that_could_not_be_written_is_unchanged(tmp_path):
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "a").write_text("old")
    with (
        pytest.raises(RuntimeError),
        atomic_files(tmp_path / "checkpoint") as partial,
    ):
        (partial / "a").write_text("half")
        raise RuntimeError
    assert (tmp_path / "checkpoint" / "a").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def test_partial_files_of_killed_writers_are_removed(tmp_path):
    with pytest.raises(RuntimeError), atomic(tmp_path / "sub" / "a.json") as partial:
        partial.write_text("half")
        partial.with_name(partial.name.replace("a.json", "b.json")).write_text("")
        with atomic_files(tmp_path / "checkpoint") as folder:
            (folder / "c").write_text("half")
            left = folder.with_name(folder.name.replace("checkpoint", "other"))
            left.mkdir()
            (left / "d").touch()
        raise RuntimeError
    (tmp_path / "sub" / ".hidden").touch()
    remove_partial(tmp_path)
    names = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
    assert names == {"sub", "sub/.hidden", "checkpoint", "checkpoint/c"}


def test_a_table_is_read_with_its_types(tmp_path):
    schema = {"task": pl.String, "rows": pl.Int64, "share": pl.Float64}
    path = tmp_path / "table.csv"
    # A name that looks like a number, and a column without a value.
    path.write_text("task,rows,share,other\n1,2,,0.5\n")
    assert read_table(path, schema).rows() == [("1", 2, None, 0.5)]
    path.write_text("task,rows\n")
    with pytest.raises(ValueError, match=r"table.csv: no column \['share'\]"):
        read_table(path, schema)
    path.write_text("task,rows,share\na,many,1\n")
    with pytest.raises(ValueError, match="table.csv: not a table"):
        read_table(path, schema)
