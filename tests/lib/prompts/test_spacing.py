"""Spaces before answers, for tokenizers that mark them in different ways or not at all.

Which texts are one token is given: `WORDS` with a space before them, `BARE` without.
"""

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from circuit_transfer.prompts.encoding import pairs_tokenizer
from circuit_transfer.prompts.frame import Prompt, prompt_frame
from circuit_transfer.prompts.spacing import missing_spaces, trailing_spaces

WORDS = [
    *("to", "Anna", "Ben", "is", "blue", "red", "year", "the", "Par", "Paris", "tall"),
    *("taller", "s", "est", "and", "19", "20", "D"),
]
BARE = ["Anna", "Ben", "blue", "s", "er", "est", "is", "19", "20", "D", "本", "th"]
MARK = "▁"


def wrapped(tokenizer, unknown=None):
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    return pairs_tokenizer(fast, 99, 10_000, unknown)


def byte_level():
    """As GPT-2: a space is a part of the word that follows."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=5000, initial_alphabet=alphabet, show_progress=False
    )
    texts = [f" {word}" for word in WORDS] + BARE
    tokenizer.train_from_iterator(texts * 3, trainer)
    return wrapped(tokenizer)


def unigram():
    """As Llama 2 and T5: a space is a mark."""
    pieces = dict.fromkeys(map(chr, range(33, 0x250)), -20.0)
    pieces |= dict.fromkeys([MARK, *"本安人园公了去娜和"], -20.0)
    pieces |= dict.fromkeys(BARE, -9.0) | {f"{MARK}{word}": -9.0 for word in WORDS}
    tokenizer = Tokenizer(models.Unigram([("<unk>", -99.0), *pieces.items()], unk_id=0))
    marks = [normalizers.Prepend(MARK), normalizers.Replace(" ", MARK)]
    tokenizer.normalizer = normalizers.Sequence(marks)
    return wrapped(tokenizer, (0, "<unk>"))


def word_level():
    """As the embedded models: a space only separates words."""
    words = ["<unk>", *dict.fromkeys([*WORDS, *BARE, "gave", "Answer", ":", "="])]
    vocabulary = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return wrapped(tokenizer, (0, "<unk>"))


def characters():
    """A space is a token like any other character."""
    names = {each: number for number, each in enumerate(map(chr, range(32, 0x250)))}
    return wrapped(Tokenizer(models.BPE(names, [])))


MARKED, UNMARKED = [byte_level, unigram], [word_level, characters]


def frame(*rows, **settings):
    return prompt_frame(
        Prompt(clean, clean, answers, (" no",), "train", "x", number, **settings)
        for number, (clean, *answers) in enumerate(rows, start=1)
    )


@pytest.mark.parametrize("kind", MARKED)
@pytest.mark.parametrize(
    ("clean", "answer", "text"),
    [
        ("Ben gave a book to", "Anna", "toAnna"),
        ("Ben gave a book to", "Ben", "toBen"),
        ("The sky is", "blue", "isblue"),
        # Without a space several tokens.
        ("The sky is", "red", "isred"),
        ("Who is", "Paris", "isParis"),
        ("Q: What is it? Answer:", "D", "Answer:D"),
        ("Well, is it?", "Anna", "it?Anna"),
    ],
)
def test_an_answer_that_is_one_token_with_a_space_lacks_it(kind, clean, answer, text):
    found = missing_spaces(frame([clean, answer], [clean, f" {answer}"]), kind())
    assert found == [text]


@pytest.mark.parametrize("kind", MARKED)
@pytest.mark.parametrize(
    ("clean", "answer"),
    [
        ("Ben gave a book to", " Anna"),
        ("Ben gave a book to\n", "Anna"),
        # Not one token with a space.
        ("Ben gave a book to", "Zed"),
        # The rest of a word, which the tokenizer knows or not.
        ("The capital of France is Par", "is"),
        ("She is tall", "er"),
        ("Ben is unbeliev", "est"),
        # Numbers, variables and units.
        ("12 + 7 =", "19"),
        ("From 1719 to 17", "19"),
        ("The time is 12:", "20"),
        ("Let x", "19"),
        ("He was the 5", "th"),
        # Marks that no space follows, in writing or in this prompt.
        ("Is it (", "Anna"),
        ('Ben said "', "Anna"),
        ("It costs $", "20"),
        ("color:red and name:", "Anna"),
        # Scripts without spaces.
        ("安娜和 去了公园", "本"),
        ("安娜 and 人:", "D"),
        # No evidence that this text has spaces.
        ("to", "Anna"),
    ],
)
def test_an_answer_that_continues_its_prompt_lacks_no_space(kind, clean, answer):
    assert missing_spaces(frame([clean, answer]), kind()) == []


@pytest.mark.parametrize("kind", MARKED)
def test_a_suffix_among_completions_is_no_word(kind):
    rows = [("She is tall", "er"), ("It is the Par", "is")]
    assert missing_spaces(frame(*rows, ("It is", "est")), kind()) == []
    assert missing_spaces(frame(("It is", "est")), kind()) == ["isest"]


@pytest.mark.parametrize("kind", UNMARKED)
@pytest.mark.parametrize(
    ("clean", "answer"),
    [("the Answer :", "D"), ("the Answer:", "D"), ("the Ben:", "s"), ("a =", "19")],
)
def test_where_a_space_is_in_no_token_none_is_missing(kind, clean, answer):
    assert missing_spaces(frame([clean, answer]), kind()) == []
    assert trailing_spaces(frame([f"{clean} ", answer]), kind()) == []


def test_two_known_words_that_make_an_unknown_one_lack_a_space():
    rows = frame(("Anna gave Ben to", "Anna"), ("Anna gave Ben to", "Zed"))
    assert missing_spaces(rows, word_level()) == ["toAnna"]


@pytest.mark.parametrize("kind", MARKED)
def test_a_space_at_the_end_of_the_prompt_belongs_to_the_answer(kind):
    rows = [
        ("Ben gave a book to ", "Anna"),
        ("Ben gave a book to  ", " Ben"),
        ("Ben gave a book to ", "Zed"),
        ("Ben gave a book to", "Anna"),
        ("Ben gave a book to\n", "Anna"),
        (" ", "Anna"),
    ]
    assert trailing_spaces(frame(*rows), kind()) == ["to "] * 2
    assert missing_spaces(frame(rows[0]), kind()) == []


@pytest.mark.parametrize("kind", MARKED)
def test_what_is_tokenized_alone_or_given_as_ids_has_no_space(kind):
    rows = [("Ben gave a book to", "Anna"), ("Ben gave a book to ", "Anna")]
    alone = frame(*rows, tokenized="alone")
    ids = {"answer_ids": (1,), "wrong_answer_ids": (2,)}
    prompt = Prompt("a book to", "a c", (), (), "train", "x", 1, **ids)
    for prompts in (alone, prompt_frame([prompt])):
        assert missing_spaces(prompts, kind()) == trailing_spaces(prompts, kind()) == []
