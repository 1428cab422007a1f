import polars as pl
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from circuit_transfer.pairs import (
    PAIR_SCHEMA,
    REJECT_SCHEMA,
    select_pairs,
    tokenize_pairs,
)

GOOD = ("w1 w2 :", "w1 w3 :", " w4", " w5")


def frame(*rows, split="train"):
    columns = ["clean", "corrupted", "answer", "wrong_answer"]
    prompts = pl.DataFrame(rows, schema=dict.fromkeys(columns, pl.String), orient="row")
    return prompts.with_columns(split=pl.lit(split))


@pytest.fixture(scope="module")
def encode(tiny_tokenizer):
    return tiny_tokenizer().encode


@pytest.fixture(scope="module")
def byte_level():
    """A small tokenizer in which a space belongs to the word after it, as in GPT-2."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    words = ["The sky is blue", "The sun is green", "Answer:blue", "Answer:green"]
    tokenizer.train_from_iterator(words * 5, trainer)
    return tokenizer


REJECTS = [
    (("", *GOOD[1:]), "clean is empty"),
    ((GOOD[0], "  ", *GOOD[2:]), "corrupted is empty"),
    ((GOOD[0], None, *GOOD[2:]), "corrupted is empty"),
    ((*GOOD[:2], " ", " w5"), "answer is empty"),
    ((*GOOD[:3], ""), "wrong_answer is empty"),
    (
        (GOOD[0], "w1 w3 w4 :", *GOOD[2:]),
        "clean prompt has 3 tokens, corrupted 4",
    ),
    (("w1 " * 9, "w2 " * 9, *GOOD[2:]), "9 tokens, the model takes 8"),
    ((GOOD[0], GOOD[0], *GOOD[2:]), "clean and corrupted prompt are the same"),
    ((*GOOD[:2], " w4", " w4"), "answer and wrong answer begin with the same token"),
    (
        (*GOOD[:2], " w4 w1", " w4 w2"),
        "answer and wrong answer begin with the same token",
    ),
    (("w1 hello :", *GOOD[1:]), "a word is not in the model's vocabulary"),
    ((GOOD[0], "w1 hello :", *GOOD[2:]), "a word is not in the model's vocabulary"),
    ((*GOOD[:2], " hello", " w5"), "a word is not in the model's vocabulary"),
    ((*GOOD[:2], " w4", " hello"), "a word is not in the model's vocabulary"),
    (("w1 w2", "w1 w3", "7", " w5"), "answer runs into the last token of the prompt"),
    (("w1 w2", "w1 w3", " w5", "7"), "wrong_answer runs into the last token of the"),
]


@pytest.mark.parametrize(("row", "reason"), REJECTS)
def test_every_reason_to_reject_a_row(encode, row, reason):
    result = tokenize_pairs(frame(row), encode, context=8, unknown=0)
    assert result.pairs.is_empty()
    assert result.pairs.schema == PAIR_SCHEMA
    assert result.rejects["reason"][0].startswith(reason)


def test_an_answer_without_a_token_is_rejected():
    def encode(text):
        return [ord(letter) for letter in text if letter.isalnum()]

    result = tokenize_pairs(frame(("ab", "cd", "...", "e")), encode, context=8)
    assert result.rejects["reason"].to_list() == ["answer has no token of its own"]


def test_rows_keep_their_numbers_texts_and_order(encode):
    bad = (GOOD[0], "w1 :", *GOOD[2:])
    other = ("w6 w7 :", "w8 w9 :", " yes", " no")
    result = tokenize_pairs(frame(GOOD, bad, other), encode, context=8, unknown=0)
    assert result.pairs.schema == PAIR_SCHEMA
    assert result.pairs["row"].to_list() == [0, 2]
    assert result.pairs["split"].to_list() == ["train", "train"]
    assert result.pairs["clean_ids"].to_list() == [encode(GOOD[0]), encode(other[0])]
    assert result.pairs["corrupted_ids"].to_list()[0] == encode(GOOD[1])
    assert result.pairs["answer_id"].to_list() == encode("w4 yes")
    assert result.pairs["wrong_answer_id"].to_list() == encode("w5 no")
    assert result.rejects.schema == REJECT_SCHEMA
    reason = "clean prompt has 3 tokens, corrupted 2"
    assert result.rejects.rows() == [(1, reason, *bad)]


def test_no_rows_give_both_schemas(encode):
    result = tokenize_pairs(frame(), encode, context=8)
    assert result.pairs.schema == PAIR_SCHEMA
    assert result.rejects.schema == REJECT_SCHEMA


def test_the_answer_is_the_token_as_it_follows_the_prompt(byte_level):
    def encode(text):
        return byte_level.encode(text).ids

    spaced = ("The sky is", "The sun is", " blue", " green")
    glued = ("Answer:", "The sun", "blue", "green")
    trailing = ("The sky is ", "The sun is ", "blue", "green")
    result = tokenize_pairs(frame(spaced, trailing), encode, context=99)
    assert result.pairs["answer_id"].to_list() == [byte_level.token_to_id("Ġblue")]
    assert result.pairs["wrong_answer_id"].to_list() == [
        byte_level.token_to_id("Ġgreen")
    ]
    # The space at the end of the prompt belongs to the answer's token.
    assert result.rejects["row"].to_list() == [1]
    assert "runs into the last token" in result.rejects["reason"][0]
    glued_result = tokenize_pairs(frame(glued), encode, context=99)
    assert glued_result.pairs["answer_id"].to_list() == [byte_level.token_to_id("blue")]


def test_an_answer_of_several_tokens_counts_by_its_first(byte_level):
    def encode(text):
        return byte_level.encode(text).ids

    row = ("The sky is", "The sun is", " blue green", " greenish")
    result = tokenize_pairs(frame(row), encode, context=99)
    assert result.pairs["answer_id"].to_list() == [byte_level.token_to_id("Ġblue")]


def test_selection_takes_the_first_pairs_of_a_split():
    pairs = pl.DataFrame({"row": range(6), "split": ["train", "test"] * 3})
    assert select_pairs(pairs, "test", 2)["row"].to_list() == [1, 3]
    assert select_pairs(pairs, "train", 100)["row"].to_list() == [0, 2, 4]
    assert select_pairs(pairs, "train", 0).is_empty()
