"""Tokenizers of every kind whose token for unknown words has other roles too."""

import polars as pl
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from circuit_transfer.prompts.encoding import lost_word, pairs_tokenizer
from circuit_transfer.prompts.frame import Prompt, prompt_frame
from circuit_transfer.prompts.pairs import begin_twice, tokenize_pairs

END = "<|end|>"
LETTERS = "abcdefghijklmnopqrstuvwxyz▁<|>"
CHARACTERS = {END: 0} | {each: number for number, each in enumerate(LETTERS, 1)}
WORDS = {END: 0, "ann": 1, "ben": 2, "met": 3, "and": 4}
BYTES = pre_tokenizers.ByteLevel.alphabet()
LLAMA = normalizers.Sequence(
    [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁"), normalizers.Lowercase()]
)


def made(model, normalizer=None, pre_tokenizer=None, template="$A"):
    """A tokenizer whose BOS, end and unknown token are one, as in GPT-2 and Pythia."""
    tokenizer = Tokenizer(model)
    if normalizer:
        tokenizer.normalizer = normalizer
    if pre_tokenizer:
        tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.post_processor = TemplateProcessing(template, special_tokens=[(END, 0)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=END, eos_token=END, unk_token=END
    )


def byte_level(**settings):
    vocabulary = {END: 0} | {each: number for number, each in enumerate(BYTES, 1)}
    spaced = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return made(models.BPE(vocabulary, []), pre_tokenizer=spaced, **settings)


def word_level(**settings):
    spaces = pre_tokenizers.WhitespaceSplit()
    lower = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    return made(models.WordLevel(WORDS, unk_token=END), lower, spaces, **settings)


def llama(**settings):
    """Characters, with a space as `▁`, and one token for all others in a row."""
    model = models.BPE(CHARACTERS, [], unk_token=END, fuse_unk=True)
    return made(model, LLAMA, **settings)


def byte_fallback(**settings):
    bytes_ = {f"<0x{number:02X}>": 100 + number for number in range(256)}
    model = models.BPE(CHARACTERS | bytes_, [], unk_token=END, byte_fallback=True)
    return made(model, LLAMA, **settings)


def unigram(**settings):
    pieces = [(each, -1.0) for each in CHARACTERS]
    return made(models.Unigram(pieces, unk_id=0), LLAMA, **settings)


def word_piece(**settings):
    bert = pre_tokenizers.BertPreTokenizer()
    pieces = WORDS | {"##s": 5}
    model = models.WordPiece(pieces, unk_token=END)
    return made(model, normalizers.BertNormalizer(), bert, **settings)


def without_unknown(**settings):
    """Characters that drop all others."""
    return made(models.BPE(CHARACTERS, []), LLAMA, **settings)


LOSSLESS = [byte_level, byte_fallback]
LOSSY = [word_level, llama, unigram, word_piece, without_unknown]


def tokenizer_of(kind, **settings):
    has_unknown = kind not in (byte_level, without_unknown)
    unknown = (0, END) if has_unknown else None
    return pairs_tokenizer(kind(**settings), 99, 1000, unknown)


def lost(kind, text, **settings):
    tokenizer = tokenizer_of(kind, **settings)
    return lost_word(tokenizer.encode(text), tokenizer)


@pytest.mark.parametrize("kind", LOSSLESS + LOSSY)
@pytest.mark.parametrize("template", ["$A", f"{END} $A", f"{END} {END} $A"])
@pytest.mark.parametrize(
    "text", ["ann met ben", f"{END} ann", f"{END}ann", f"ann {END} ben", f"Ann {END}"]
)
def test_the_token_itself_is_no_lost_word(kind, template, text):
    assert lost(kind, text, template=template) is None


@pytest.mark.parametrize("kind", LOSSY)
@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("ann met Ωmega", "Ωmega"),
        ("ann met omegaΩ.", "omegaΩ"),
        (f"{END} 42 ann", "42"),
        ("Жук, ann", "Жук"),
        ("ann 日本", "日本"),
        ("ann 🦊🦊 ben", "🦊🦊"),
    ],
)
def test_a_lost_word_is_named_whatever_else_its_token_is(kind, text, word):
    # The token of some kinds is of the punctuation after a word too.
    assert lost(kind, text, template=f"{END} $A").rstrip(",.") == word


@pytest.mark.parametrize("kind", LOSSLESS)
def test_bytes_lose_no_word(kind):
    assert lost(kind, "ann Ωmega 42 Жук 日本 🦊", template=f"{END} $A") is None


@pytest.mark.parametrize("kind", [byte_level, byte_fallback, word_piece])
def test_what_a_tokenizer_drops_by_design_is_not_lost(kind):
    """Accents, white space and characters without width."""
    text = "  ann\u200b me\u0301t \t ben\u0301 "
    assert lost(kind, text) is None


def test_the_token_in_other_letters_is_its_own_if_the_tokenizer_lowers_them():
    assert lost(word_level, f"ann {END.upper()}") is None
    spaces = pre_tokenizers.WhitespaceSplit()
    cased = made(models.WordLevel(WORDS, unk_token=END), None, spaces)
    tokenizer = pairs_tokenizer(cased, 99, 1000, (0, END))
    upper = tokenizer.encode(f"ann {END.upper()}")
    assert lost_word(upper, tokenizer) == END.upper()


def pairs(start="", answer=" ann", **settings):
    """Two pairs, one of a word that most tokenizers lose."""
    rows = [("ann met", "ben met"), ("ann met ann", "ann met Ωωω")]
    return prompt_frame(
        Prompt(
            clean=start + clean,
            corrupted=start + corrupted,
            answers=(answer,),
            wrong_answers=(" ben",),
            split="train",
            group=str(row),
            row=row,
            **settings,
        )
        for row, (clean, corrupted) in enumerate(rows, 1)
    )


@pytest.mark.parametrize("start", ["", f"{END} ", f"{END}"])
@pytest.mark.parametrize("added", [0, 1])
def test_pairs_that_begin_with_the_token_are_usable(start, added):
    tokenizer = tokenizer_of(word_level, template=f"{END} " * added + "$A")
    found = tokenize_pairs(pairs(start), tokenizer)
    begin = [0] * (added + bool(start))
    assert found.pairs["clean_ids"].to_list() == [[*begin, 1, 3]]
    assert found.pairs["answer_ids"].to_list() == [[1]]
    reason = "corrupted: 'Ωωω' is not in the model's vocabulary"
    assert found.rejects["reason"].to_list() == [reason]


@pytest.mark.parametrize("start", ["", f"{END} "])
@pytest.mark.parametrize("added", [0, 1])
def test_pairs_with_the_added_tokens_twice_are_counted(start, added):
    tokenizer = tokenizer_of(word_level, template=f"{END} " * added + "$A")
    prompts = pairs(start).head(1)
    found = tokenize_pairs(pl.concat([prompts] * 3), tokenizer)
    count = begin_twice(found.pairs, tokenizer.encode("").ids)
    assert count == (3 if start and added else 0)


@pytest.mark.parametrize("tokenized", ["following", "alone"])
@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (f" {END}", None),
        (" Ω", "answer: 'Ω' is not in the model's vocabulary"),
        # Only the first token of an answer is used.
        (" met Ω", None),
        (" Ω met", "answer: 'Ω' is not in the model's vocabulary"),
    ],
)
def test_an_answer_is_known_by_its_first_token(tokenized, answer, reason):
    tokenizer = tokenizer_of(word_level, template=f"{END} $A")
    prompts = pairs(answer=answer, tokenized=tokenized).head(1)
    found = tokenize_pairs(prompts, tokenizer)
    assert found.rejects["reason"].to_list() == ([reason] if reason else [])


def test_an_answer_that_begins_with_what_is_dropped_is_lost():
    tokenizer = tokenizer_of(without_unknown)
    found = tokenize_pairs(pairs(answer=" ωmega").head(1), tokenizer)
    reason = "answer: 'ωmega' is not in the model's vocabulary"
    assert found.rejects["reason"].to_list() == [reason]


def test_the_id_of_unknown_words_is_no_answer_but_an_end_token_may_be():
    prompts = pairs(answer_ids=(0,), wrong_answer_ids=(1,)).head(1)
    lossy = tokenize_pairs(prompts, tokenizer_of(word_level))
    reason = f"answer: the token id 0 is that of every unknown word, {END}"
    assert lossy.rejects["reason"].to_list() == [reason]
    assert tokenize_pairs(prompts, tokenizer_of(byte_level)).rejects.is_empty()
