import string

import polars as pl
import pytest
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from circuit_transfer.importers import import_task
from circuit_transfer.prompts.encoding import Encoding, Tokenizer, pairs_tokenizer
from circuit_transfer.prompts.frame import (
    MARK_SCHEMA,
    PROMPT_SCHEMA,
    REJECT_SCHEMA,
    Mark,
    Prompt,
    prompt_frame,
)
from circuit_transfer.prompts.pairs import (
    PAIR_SCHEMA,
    POSITION_SCHEMA,
    select_pairs,
    tokenize_pairs,
)

GOOD = ("w1 w2 :", "w1 w3 :", " w4", " w5")


def several(text):
    return text if isinstance(text, tuple) else (text,)


def frame(*rows, **settings):
    """Text pairs; an answer may be a tuple of texts."""
    return prompt_frame(
        Prompt(
            clean=clean,
            corrupted=corrupted,
            answers=several(answer),
            wrong_answers=several(wrong),
            split="train",
            group=str(number),
            row=number,
            file="own.csv",
            **settings,
        )
        for number, (clean, corrupted, answer, wrong) in enumerate(rows, start=1)
    )


def made(encode, encode_alone=None, vocabulary=1000):
    """A tokenizer by functions that return ids; every token is of the whole text."""

    def encoder(ids_of):
        def encoded(text):
            ids = ids_of(text)
            return Encoding(text, ids, [(0, len(text))] * len(ids))

        return encoded

    return Tokenizer(encoder(encode), encoder(encode_alone or encode), 99, vocabulary)


@pytest.fixture(scope="module")
def encode(tiny_tokenizer):
    return tiny_tokenizer().encode


@pytest.fixture(scope="module")
def words(tiny_tokenizer):
    return pairs_tokenizer(tiny_tokenizer(), 8, 1000, (0, "<unk>"))


@pytest.fixture(scope="module")
def byte_level():
    """A small tokenizer in which a space belongs to the word after it, as in GPT-2."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    words = ["The sky is blue", "The sun is green", "Answer:blue", "Answer:green"]
    tokenizer.train_from_iterator(words * 5, trainer)
    return tokenizer


@pytest.fixture(scope="module")
def bytes_of(byte_level):
    return made(lambda text: byte_level.encode(text).ids)


LOST = "is not in the model's vocabulary"
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
    (("w1 hello :", *GOOD[1:]), f"clean: 'hello' {LOST}"),
    ((GOOD[0], "w1 hello :", *GOOD[2:]), f"corrupted: 'hello' {LOST}"),
    ((*GOOD[:2], " hello", " w5"), f"answer: 'hello' {LOST}"),
    ((*GOOD[:2], " w4", " hello"), f"wrong_answer: 'hello' {LOST}"),
    # Unknown words that become one token are not thereby the same.
    (("w1 hello :", "w1 world :", *GOOD[2:]), f"clean: 'hello' {LOST}"),
    ((*GOOD[:2], " hello", " world"), f"answer: 'hello' {LOST}"),
    (("w1 hello :", "w1 w2 w3 :", *GOOD[2:]), f"clean: 'hello' {LOST}"),
    (
        ("w1 w2", "w1 w3", "7", " w5"),
        "answer runs into the last token of the prompt: begin the answers with a space",
    ),
    (("w1 w2", "w1 w3", " w5", "7"), "wrong_answer runs into the last token of the"),
]


@pytest.mark.parametrize(("row", "reason"), REJECTS)
def test_every_reason_to_reject_a_row(words, row, reason):
    result = tokenize_pairs(frame(row), words)
    assert result.pairs.is_empty()
    assert result.pairs.schema == PAIR_SCHEMA
    assert result.rejects["reason"][0].startswith(reason)


def test_a_model_that_can_use_no_row_is_a_warning_with_the_reason(words, caplog):
    short, empty = (GOOD[0], "w1 :", *GOOD[2:]), ("", *GOOD[1:])
    tokenize_pairs(frame(short, empty, GOOD), words)
    assert not [each for each in caplog.records if each.levelname == "WARNING"]
    tokenize_pairs(frame(empty, short, short), words)
    reason = "2 rejected, such as: clean prompt has 3 tokens, corrupted 2"
    assert f"no row is usable for this model, {reason}" in caplog.text


def test_an_answer_without_a_token_is_rejected():
    def encode(text):
        return [ord(letter) for letter in text if letter.isalnum()]

    result = tokenize_pairs(frame(("ab", "cd", "...", "e")), made(encode))
    assert result.rejects["reason"].to_list() == ["answer has no token of its own"]


def test_rows_keep_their_numbers_texts_and_order(words, encode):
    bad = (GOOD[0], "w1 :", *GOOD[2:])
    other = ("w6 w7 :", "w8 w9 :", " yes", " no")
    result = tokenize_pairs(frame(GOOD, bad, other), words)
    assert result.pairs.schema == PAIR_SCHEMA
    assert result.pairs["row"].to_list() == [1, 3]
    assert result.pairs["split"].to_list() == ["train", "train"]
    assert result.pairs["clean_ids"].to_list() == [encode(GOOD[0]), encode(other[0])]
    assert result.pairs["corrupted_ids"].to_list()[0] == encode(GOOD[1])
    assert result.pairs["answer_ids"].to_list() == [encode("w4"), encode("yes")]
    assert result.pairs["wrong_answer_ids"].to_list() == [encode("w5"), encode("no")]
    assert result.rejects.schema == REJECT_SCHEMA
    reason = "clean prompt has 3 tokens, corrupted 2"
    expected = ("own.csv", 2, reason, *bad[:2], [bad[2]], [bad[3]])
    assert result.rejects.rows() == [expected]


def test_no_rows_give_both_schemas(words):
    result = tokenize_pairs(frame(), words)
    assert result.pairs.schema == PAIR_SCHEMA
    assert result.rejects.schema == REJECT_SCHEMA


def test_the_answer_is_the_token_as_it_follows_the_prompt(byte_level, bytes_of):
    spaced = ("The sky is", "The sun is", " blue", " green")
    glued = ("Answer:", "The sun", "blue", "green")
    trailing = ("The sky is ", "The sun is ", "blue", "green")
    result = tokenize_pairs(frame(spaced, trailing), bytes_of)
    token = byte_level.token_to_id
    assert result.pairs["answer_ids"].to_list() == [[token("Ġblue")]]
    assert result.pairs["wrong_answer_ids"].to_list() == [[token("Ġgreen")]]
    # The space at the end of the prompt belongs to the answer's token.
    assert result.rejects["row"].to_list() == [2]
    cure = "prompt: move the space at the end of the prompts to the answers"
    assert result.rejects["reason"][0].endswith(cure)
    glued_result = tokenize_pairs(frame(glued), bytes_of)
    assert glued_result.pairs["answer_ids"].to_list() == [[token("blue")]]


def test_an_answer_alone_is_the_token_of_its_text_whatever_the_prompt(
    byte_level, bytes_of
):
    trailing = ("The sky is ", "The sun is ", "blue", " green")
    result = tokenize_pairs(frame(trailing, tokenized="alone"), bytes_of)
    token = byte_level.token_to_id
    assert result.pairs["answer_ids"].to_list() == [[token("blue")]]
    assert result.pairs["wrong_answer_ids"].to_list() == [[token("Ġgreen")]]


def test_an_answer_alone_has_no_special_tokens(tiny_tokenizer):
    tokenizer = made(lambda text: [1, *map(ord, text)], lambda text: [*map(ord, text)])
    result = tokenize_pairs(frame(("a", "b", "c", "d"), tokenized="alone"), tokenizer)
    assert result.pairs["answer_ids"].to_list() == [[ord("c")]]


def test_an_answer_of_several_tokens_counts_by_its_first(byte_level, bytes_of):
    row = ("The sky is", "The sun is", " blue green", " greenish")
    result = tokenize_pairs(frame(row), bytes_of)
    token = byte_level.token_to_id("Ġblue")
    assert result.pairs["answer_ids"].to_list() == [[token]]
    needed = tokenize_pairs(frame(row, single_token=True), bytes_of)
    reasons = ["answer has 2 tokens, the task needs one"]
    assert needed.rejects["reason"].to_list() == reasons


def test_several_answers_are_several_tokens_each_once(words, encode):
    row = (*GOOD[:2], (" w4", " w6", " w4 w1"), (" w5", " w7 w8"))
    result = tokenize_pairs(frame(row), words)
    assert result.pairs["answer_ids"].to_list() == [encode("w4 w6")]
    assert result.pairs["wrong_answer_ids"].to_list() == [encode("w5 w7")]
    both = (*GOOD[:2], (" w4", " w6"), (" w5", " w6"))
    reasons = tokenize_pairs(frame(both), words).rejects["reason"].to_list()
    assert reasons == ["answer and wrong answer begin with the same token"]


def test_token_ids_of_a_file_are_taken_as_they_are(words, encode):
    ids = {"answer_ids": (7, 9), "wrong_answer_ids": (8,)}
    row = (*GOOD[:2], (), ())
    result = tokenize_pairs(frame(row, **ids), words)
    assert result.pairs["answer_ids"].to_list() == [[7, 9]]
    assert result.pairs["wrong_answer_ids"].to_list() == [[8]]
    small = made(encode, vocabulary=9)
    (reason,) = tokenize_pairs(frame(row, **ids), small).rejects["reason"]
    assert reason.startswith("a token id is not below the size of the model's vocab")


def test_every_script_and_quotes_are_text_like_any_other(byte_level, bytes_of):
    odd = [
        "Is 🦊 a 👩‍👩‍👧:",
        "שלום עולם، مرحبا:",
        "say \"it\", 'so' <b>&</b>:",
        "e\u0301\u200f:",
    ]
    rows = [(f"{text} The sky", f"{text} The sun", " blue", " green") for text in odd]
    result = tokenize_pairs(frame(*rows), bytes_of)
    decoded = [byte_level.decode(ids) for ids in result.pairs["clean_ids"]]
    assert decoded == [row[0] for row in rows]


def test_fifty_thousand_rows_are_sorted(tmp_path):
    """A row in ten is broken; every one is a pair or counted as a reject."""
    rows, letters = 50_000, string.ascii_letters
    path = tmp_path / "large.jsonl"
    with path.open("w") as file:
        for row in range(rows):
            corrupted = "" if row % 10 == 0 else f"{row:06d}b"
            pair = f'"clean": "{row:06d}a", "corrupted": "{corrupted}"'
            file.write(
                f'{{{pair}, "answer": "{letters[row % 26]}", "wrong_answer": "!"}}\n'
            )
    prompts = import_task({"file": path.name}, path).prompts
    assert prompts["row"].to_list() == [*range(1, rows + 1)]
    result = tokenize_pairs(prompts, made(lambda text: [*map(ord, text)]))
    assert len(result.pairs) == rows * 9 // 10
    assert set(result.rejects["reason"]) == {"corrupted is empty"}
    assert result.rejects["row"].to_list() == [*range(1, rows, 10)]


def test_selection_takes_the_first_pairs_of_a_split():
    pairs = pl.DataFrame({"row": range(6), "split": ["train", "test"] * 3})
    assert select_pairs(pairs, "test", 2)["row"].to_list() == [1, 3]
    assert select_pairs(pairs, "train", 100)["row"].to_list() == [0, 2, 4]
    assert select_pairs(pairs, "train", 0).is_empty()


def marked_prompt(text, *marks, **changes):
    row = {"clean": text, "corrupted": text.replace("w1", "w2"), "answers": (" w4",)}
    row |= {"wrong_answers": (" w5",), "split": "train", "group": text, "row": 1}
    return Prompt(**row | changes, marks=tuple(Mark(*mark) for mark in marks))


def test_marks_become_the_positions_of_their_tokens(words):
    text = "w1 w3 : w1"
    marks = [("first", 0, 2), ("both", 3, 7), ("last", 8, 10)]
    frame = prompt_frame([marked_prompt(text, *marks)])
    (found,) = tokenize_pairs(frame, words).pairs["marks"].to_list()
    tokens = words.encode(text)
    read = {
        each["name"]: [text[slice(*tokens.spans[at])] for at in each["positions"]]
        for each in found
    }
    assert read == {"first": ["w1"], "both": ["w3", ":"], "last": ["w1"]}


def test_a_mark_has_every_token_that_it_touches_and_no_added_one():
    """A tokenizer of three characters a token, after one of its own."""

    def encode(text):
        starts = range(0, len(text), 3)
        spans = [(0, 0), *((start, min(start + 3, len(text))) for start in starts)]
        return Encoding(text, [0, *(1 + ord(text[start]) for start in starts)], spans)

    marks = [("within", 4, 5), ("across", 2, 5), ("whole", 0, 9), ("start", 0, 1)]
    prompt = marked_prompt(
        *("abcdefghi", *marks),
        **{"corrupted": "xbcdefghi", "answers": ("jkl",), "wrong_answers": ("mno",)},
    )
    tokenizer = Tokenizer(encode, encode, 99, 1000)
    (found,) = tokenize_pairs(prompt_frame([prompt]), tokenizer).pairs["marks"]
    positions = {each["name"]: each["positions"] for each in found}
    expected = {"within": [2], "across": [1, 2], "whole": [1, 2, 3], "start": [1]}
    assert positions == expected


def test_only_frames_with_marks_have_them(words):
    assert tokenize_pairs(frame(GOOD), words).pairs.schema == PAIR_SCHEMA
    marked = [marked_prompt("w1 w3 :", ("first", 0, 2)), marked_prompt("w1 w4 :")]
    prompts = prompt_frame(marked)
    assert prompts.schema == PROMPT_SCHEMA | {"marks": MARK_SCHEMA}
    pairs = tokenize_pairs(prompts, words).pairs
    assert pairs.schema == PAIR_SCHEMA | {"marks": POSITION_SCHEMA}
    assert pairs["marks"].to_list()[1] == []
    # Also where no row is usable.
    rejected = prompt_frame([marked_prompt("new w1", ("first", 0, 3))])
    found = tokenize_pairs(rejected, words)
    assert len(found.rejects) == 1
    assert found.pairs.schema == PAIR_SCHEMA | {"marks": POSITION_SCHEMA}
