"""Both splits of a task as one frame, against the rows as they were before."""

import polars as pl
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from circuit_transfer.prompts.splits import count_generated, join_splits, missing_split

SCHEMA = {"file": pl.String, "row": pl.Int64, "split": pl.String, "clean": pl.String}


def frame(*rows):
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def test_generated_test_rows_follow_those_of_train():
    train = frame((None, 1, "train", "a"), (None, 2, "train", "b"))
    test = frame((None, 1, "test", "c"), (None, 2, "test", "d"))
    assert count_generated(train) == 2
    joined = join_splits(train, test, generated=2)
    assert joined.rows() == [
        *((None, 1, "train", "a"), (None, 2, "train", "b")),
        *((None, 3, "test", "c"), (None, 4, "test", "d")),
    ]
    assert count_generated(joined) == 2
    # Of pairs and rejects, of which there are fewer than prompts.
    few = join_splits(train[1:], test[:1], generated=2)
    assert few["row"].to_list() == [2, 3]


def test_a_row_that_stands_in_both_is_there_once():
    unknown = ("own.csv", 2, None, "x")
    train = frame(unknown, ("own.csv", 4, None, "y"))
    test = frame(unknown, ("own.csv", 3, None, "z"))
    joined = join_splits(train, test, generated=0)
    assert joined["row"].to_list() == [2, 3, 4]


@given(
    st.lists(st.tuples(st.sampled_from(["one", "two"]), st.booleans()), max_size=12),
    st.data(),
)
def test_rows_of_files_stand_in_their_order_again(places, data):
    rows = [
        (file, number, "train" if for_training else "test", str(number))
        for number, (file, for_training) in enumerate(places, start=1)
    ]
    whole = frame(*sorted(rows))
    assert count_generated(whole) == 0
    parts = [whole.filter(split=split) for split in ("train", "test")]
    assert_frame_equal(join_splits(*parts, generated=0), whole)


def test_rows_that_are_all_in_one_split_are_explained():
    schema = {"split": pl.String, "group": pl.String}

    def prompts(*rows):
        return pl.DataFrame(rows, schema=schema, orient="row")

    assert missing_split(prompts(("train", "a"), ("test", "b"))) is None
    assert missing_split(prompts()) is None
    found = missing_split(prompts(*[("test", "one")] * 60))
    assert "no train pairs, all 60 rows are in the test split" in found
    assert "there is 1 of these" in found
    assert "columns `split`" in found
    found = missing_split(prompts(("train", "a"), ("train", "b")))
    assert "no test pairs, all 2 rows are in the train split" in found
    assert "there are 2 of these" in found
