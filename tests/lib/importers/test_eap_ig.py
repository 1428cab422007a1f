import pytest
from written import reasons, write

from circuit_transfer.importers import import_task

# The first row of the published ioi_llama.csv: ids are Llama-3's, " Amber", " Aaron".
IOI = (
    ",clean,corrupted,corrupted_hard,correct_idx,incorrect_idx\n"
    '470,"Then, Aaron and Amber were working at the house. Aaron decided to give a '
    'drink to","Then, Aaron and Amber were working at the house. Tiffany decided to '
    'give a drink to","Then, Aaron and Amber were working at the house. Amber decided '
    'to give a drink to",47764,26757\n'
)
# Two rows of the published greater_than_data.csv; the year 1604 has lost its zero.
GREATER_THAN = (
    "clean,corrupted,label\n"
    "The contract lasted from the year 1352 to the year 13,"
    "The contract lasted from the year 1301 to the year 13,52\n"
    "The effect lasted from the year 1604 to the year 16,"
    "The effect lasted from the year 1601 to the year 16,4\n"
)


def read(path):
    return import_task({"file": path.name, "format": "eap-ig"}, path)


def read_text(text, tmp_path):
    path = tmp_path / "data.csv"
    path.write_text(text)
    return read(path)


def test_token_ids_of_the_published_example(tmp_path):
    imported = read_text(IOI, tmp_path)
    row = imported.prompts.row(0, named=True)
    assert row["clean"].endswith("Aaron decided to give a drink to")
    assert row["corrupted"].endswith("Tiffany decided to give a drink to")
    assert row["answer_ids"] == [47764]
    assert row["wrong_answer_ids"] == [26757]
    assert row["answers"] == row["wrong_answers"] == []
    assert row["row"] == 1
    assert row["group"] == row["clean"]
    assert imported.rejects.is_empty()


@pytest.mark.parametrize("column", ["label", "correct_idx"])
def test_years_of_the_published_example(column, tmp_path):
    """Years by hand: after 1352 come 1353 to 1399, after 1604 1605 to 1699."""
    imported = read_text(GREATER_THAN.replace("label", column), tmp_path)
    first, second = imported.prompts.iter_rows(named=True)
    assert (first["answers"][0], first["answers"][-1]) == ("53", "99")
    assert (first["wrong_answers"][0], first["wrong_answers"][-1]) == ("00", "52")
    assert len(first["answers"]) + len(first["wrong_answers"]) == 100
    assert second["wrong_answers"] == ["00", "01", "02", "03", "04"]
    assert second["answers"][:2] == ["05", "06"]
    assert first["tokenized"] == "alone"
    assert first["single_token"]
    assert first["answer_ids"] == []


def test_a_label_that_is_no_year_of_the_prompt_is_rejected(tmp_path):
    rows = [
        {"clean": "from 1352 to 13", "corrupted": "from 1301 to 13", "correct_idx": i}
        for i in (52, 47764, 53, "", "x")
    ]
    rows.append(rows[0] | {"clean": "from 1399 to 13", "correct_idx": 99})
    rows.append(rows[0] | {"clean": "Aaron gave it to"})
    imported = read(write(tmp_path / "data.jsonl", rows))
    assert imported.prompts["row"].to_list() == [1]
    found = reasons(imported)
    for row in (2, 3, 4, 5, 7):
        assert "correct_idx: expected the last two digits of the year" in found[row]
    assert found[6] == "correct_idx: no two-digit number is greater than 99"


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("correct_idx", "incorrect_idx"),
        ("answers_idx", "corrupted_answers_idx"),
        ("clean_answer_idx", "corrupted_answer_idx"),
        ("country_idx", "corrupted_country_idx"),
    ],
)
def test_lists_of_ids_are_read_whatever_the_task_calls_them(right, wrong, tmp_path):
    text = f'clean,corrupted,{right},{wrong}\na,b,"[1, 2]",3\nc,d,4.0,[5]\n'
    frame = read_text(text, tmp_path).prompts
    assert frame["answer_ids"].to_list() == [[1, 2], [4]]
    assert frame["wrong_answer_ids"].to_list() == [[3], [5]]


def test_invalid_ids_are_rejected(tmp_path):
    cells = ["", "x", "-1", "1.5", '"[]"', '"[1, null]"', "true", str(2**31), "3"]
    text = "clean,corrupted,correct_idx,incorrect_idx\n"
    imported = read_text(text + "".join(f"a,b,{c},3\n" for c in cells), tmp_path)
    assert imported.prompts.is_empty()
    found = reasons(imported)
    assert [*found] == [*range(1, 10)]
    for row in range(1, 9):
        assert "correct_idx: expected token ids, found" in found[row]
    assert found[9] == "3 is both a right and a wrong answer"
    assert imported.rejects["clean"].to_list() == ["a"] * 9


def test_answers_may_be_text(tmp_path):
    text = "clean,corrupted,answer,wrong_answer\na,b, yes, no\n"
    row = read_text(text, tmp_path).prompts.row(0, named=True)
    assert row["answers"] == [" yes"]
    assert row["wrong_answers"] == [" no"]
    assert row["tokenized"] == "following"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("clean,corrupted,plural\na,b,1\n", r"no answer columns, only \['clean', "),
        ("clean,corrupted,incorrect_idx\na,b,1\n", "no answer columns"),
        ("Context1,Context2,Target1,Target2\na,b,c,d\n", r"no column \['clean', "),
        ("clean,corrupted,label\n", "no rows"),
    ],
)
def test_files_without_answers_are_named(text, message, tmp_path):
    with pytest.raises(ValueError, match=f"data.csv: {message}"):
        read_text(text, tmp_path)


def test_a_list_of_texts_in_a_csv_is_a_list_and_a_malformed_one_a_reject(tmp_path):
    row = {"clean": "a b", "corrupted": "a c", "wrong_answer": " e"}
    rows = [row | {"answer": cell} for cell in ("['d', 'f']", "['d'")]
    found = import_task(
        {"file": "x", "format": "eap-ig"}, write(tmp_path / "x.csv", rows)
    )
    assert found.prompts["answers"].to_list() == [["d", "f"]]
    assert reasons(found)[2].startswith("answer: expected a text, or a list of texts")
