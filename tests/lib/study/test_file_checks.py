"""The files of tasks, as they are checked with the configuration: by their first rows.

What the messages say of damaged rows is in tests/lib/importers.
"""

import gzip
import json
import pickle

import polars as pl
import pytest

from circuit_transfer.importers import import_task
from circuit_transfer.study.file_checks import HEAD, check_files

ROW = {"clean": "a", "corrupted": "b", "answer": " c", "wrong_answer": " d"}
HEADER = "clean,corrupted,answer,wrong_answer\n"
LINE = json.dumps(ROW) + "\n"
LONG = ROW | {"clean": "a" * 1000}


def check(folder, name, **entry):
    config = {
        "study": {"tasks": ["own"]},
        "tasks": {"own": {"file": name} | entry},
        "models": {},
        "evaluation": {"circuits": {}},
    }
    check_files(config, [], [folder])


WRONG = {
    "empty": ("x.csv", "", "not a readable CSV file (the first line is empty)"),
    "empty lines": ("x.jsonl", "\n\n", "no rows"),
    "no row": ("x.csv", HEADER, "no rows"),
    "no row of a list": ("x.json", "[]", "no rows"),
    "no prompts": ("x.json", '{"prompts": []}', "no prompts"),
    "other columns": (
        "x.csv",
        "prompt,label\na,b\n",
        "no column ['clean', 'corrupted', 'answer', 'wrong_answer'], only ['prompt', ",
    ),
    "no answers": (
        "x.csv",
        "clean,corrupted\na,b\n",
        "no column ['answer', 'wrong_answer'], only ['clean', 'corrupted']",
    ),
    "one answer": ("x.csv", "clean,corrupted,answer\na,b,c\n", "['wrong_answer']"),
    "prompts without answers": (
        "x.json",
        json.dumps({"prompts": [{"clean": "a", "corrupt": "b"}]}),
        "no column ['answers', 'wrong_answers'], only ['clean', 'corrupt']",
    ),
    "a column twice": (
        "x.csv",
        "clean,corrupted,answer,wrong_answer,answer\na,b,c,d,e\n",
        "more than one column ['answer']",
    ),
    "capital letters": (
        "x.csv",
        "Clean, corrupted,answer,wrong_answer\na,b,c,d\n",
        "only ['Clean', ' corrupted', 'answer', 'wrong_answer']; expected names in "
        "lower-case letters without spaces around them",
    ),
    "JSON Lines under .csv": ("x.csv", LINE, "JSON: its name must end in .jsonl"),
    "CSV under .jsonl": ("x.jsonl", HEADER + "a,b,c,d\n", "row 1: not JSON"),
    "a list under .jsonl": ("x.jsonl", f"[{LINE}]", "is a file of type .json"),
    "columns of pandas": (
        "x.json",
        json.dumps({key: {"0": cell} for key, cell in ROW.items()}),
        "expected an object with a list named prompts, a list of objects, or JSON Li",
    ),
    "UTF-16": ("x.csv", HEADER.encode("utf-16"), "this is UTF-16 text: save it as"),
    "UTF-16 without a mark": ("x.csv", HEADER.encode("utf-16-le"), "but UTF-16 or no"),
    "Latin-1": (
        "x.csv",
        f"{HEADER}a,b,c,d\né,b,c,d\n".encode("latin-1"),
        "line 3: not UTF-8 ('utf-8' codec can't decode byte 0xe9 in position 0: "
        "invalid continuation byte): perhaps Latin-1 (Windows-1252): save it as UTF-8",
    ),
    "a workbook": (
        "x.csv",
        b"PK\x03\x04\x14\0\x06",
        "this is a workbook or a zip arch",
    ),
    "Parquet under .csv": ("x.csv", b"PAR1\0\0", "its name must end in .parquet"),
    "gzip under .csv": ("x.csv", gzip.compress(b"a"), "its name must end in .gz"),
    "no gzip": ("x.csv.gz", HEADER, "not a readable gzip archive"),
    "cut gzip": ("x.csv.gz", gzip.compress(b"a" * 99)[:-9], "not a readable gzip arc"),
    "a pointer": ("x.jsonl", "version https://git-lfs.github.com/spec/v1\n", "git lfs"),
    "a pointer for Parquet": (
        "x.parquet",
        "version https://git-lfs.github.com/spec/v1\n",
        "fetch the file by `git lfs pull`",
    ),
    "no Parquet": ("x.parquet", HEADER, "not a readable Parquet file"),
    "packed Parquet": ("x.parquet.gz", b"", "a packed Parquet file; unpack it first"),
    "an open quote": (
        "x.csv",
        f'{HEADER}a,b,c,d\n"a,b,c,d\na,b,c,d\n',
        "line 3: unexpected end of data: a text that begins with a quote must end",
    ),
    "a quote within quotes": (
        "x.csv",
        f'{HEADER}"a\n b",b,c,d\na,"say "b"",c,d\n',
        "line 4: ',' expected after '\"': a text that begins with a quote must",
    ),
    "a comma in a text": (
        "x.csv",
        f"{HEADER}a,b,c,d\nWhen A, B,b,c,d\n",
        "row 2 has 5 cells, the header 4: a text with ',' needs quotes around it",
    ),
    "other separators": (
        "x.csv",
        f"{HEADER}a;b;c;d\n",
        "row 1 has one cell, the header 4: expected cells that are separated by ','",
    ),
    "a short row": ("x.csv", f"{HEADER}a,b,c\n", "row 1, column wrong_answer: expect"),
}


@pytest.mark.parametrize(("name", "content", "message"), WRONG.values(), ids=WRONG)
def test_a_mistake_of_format_is_an_error_of_the_configuration(
    name, content, message, tmp_path
):
    content = content.encode() if isinstance(content, str) else content
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=r"^tasks\.own\.file: ") as caught:
        check(tmp_path, name)
    assert f"{name}: " in str(caught.value)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_a_file_of_no_format_is_answered_with_what_every_format_needs(tmp_path):
    (tmp_path / "x.csv").write_text("clean,corrupt,label\na,b,c\n")
    with pytest.raises(ValueError, match="; expected one of these form") as caught:
        check(tmp_path, "x.csv")
    for needed in (
        "pairs: columns clean, corrupted, answer and wrong_answer",
        "eap-ig: clean and corrupted, and token ids in correct_idx and incorrect_idx",
        'auto-circuit: an object {"prompts": [...]} with clean, corrupt, answers and',
        "edge-pruning: clean and corrupted, with the answer as <predict>",
    ):
        assert needed in str(caught.value)


@pytest.mark.parametrize("name", ["mib", "mib/train.jsonl"])
def test_the_columns_of_mib_are_checked(name, tmp_path):
    (tmp_path / "mib").mkdir()
    (tmp_path / "mib/train.jsonl").write_text(LINE)
    config = {
        "study": {"tasks": ["own"]},
        "tasks": {"own": {"mib": "ioi", "path": name}},
        "models": {},
        "evaluation": {"circuits": {}},
    }
    with pytest.raises(ValueError, match=r"tasks.own.path: .*: no column \['prompt', "):
        check_files(config, [], [tmp_path])


def test_pickled_circuits_are_refused_before_anything_runs(tmp_path):
    path = tmp_path / "graph.pt"
    path.write_bytes(pickle.dumps({"edges_scores": 1}))
    circuit = {"importances": "graph.pt", "target": "x", "task": "own"}
    config = {
        "study": {"tasks": []},
        "tasks": {},
        "models": {},
        "evaluation": {"circuits": {"theirs": circuit}},
    }
    message = (
        r"evaluation.circuits.theirs.importances: .*graph\.pt: a pickle can run code "
        "and is never opened here; convert it where it was written"
    )
    with pytest.raises(ValueError, match=message):
        check_files(config, [], [tmp_path])
    path.write_text("{}")
    check_files(config, [], [tmp_path])


def csv_text(rows):
    return HEADER + "".join(",".join(row.values()) + "\n" for row in rows)


def jsonl_text(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def prompts_text(rows):
    names = {"corrupted": "corrupt", "answer": "answers", "wrong_answer": "x"}
    prompts = [{names.get(key, key): row[key] for key in row} for row in rows]
    answers = {"answers": ["c"], "wrong_answers": ["d"]}
    return json.dumps({"seq_labels": [], "prompts": [p | answers for p in prompts]})


@pytest.mark.parametrize(
    ("name", "text", "end"),
    [
        ("x.csv", csv_text, '"open'),
        ("x.jsonl", jsonl_text, "no JSON"),
        ("x.json", jsonl_text, "no JSON"),
        ("x.json", json.dumps, "]"),
        ("x.json", lambda rows: json.dumps(rows, indent=1), "]"),
        ("x.json", prompts_text, "]"),
    ],
    ids=["csv", "jsonl", "lines", "list", "indented", "prompts"],
)
def test_only_the_first_rows_of_a_long_file_are_read(name, text, end, tmp_path):
    """Wrong at its end, which a run finds when it starts."""
    path = tmp_path / name
    path.write_text(text([LONG] * 6 * HEAD) + end)
    check(tmp_path, name)
    with pytest.raises(ValueError, match=name):
        import_task({"file": name}, path)


def test_only_the_first_rows_of_a_parquet_file_are_parsed(tmp_path):
    answers = [" c"] * HEAD + [None]
    rows = pl.DataFrame([ROW]).select(pl.exclude("answer"), answer=pl.lit(answers))
    rows.explode("answer").write_parquet(tmp_path / "x.parquet")
    check(tmp_path, "x.parquet")
    with pytest.raises(ValueError, match=f"row {HEAD + 1}, column answer: expected te"):
        import_task({"file": "x"}, tmp_path / "x.parquet")


@pytest.mark.parametrize("name", ["x.json", "x.jsonl", "x.csv", "x.parquet"])
def test_a_good_file_passes(name, tmp_path):
    if name.endswith(".parquet"):
        pl.DataFrame([ROW]).write_parquet(tmp_path / name)
    else:
        text = csv_text if name.endswith(".csv") else jsonl_text
        (tmp_path / name).write_text(text([ROW] * 3))
    check(tmp_path, name)
