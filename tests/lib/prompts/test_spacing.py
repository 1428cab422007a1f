import pytest

from circuit_transfer.prompts.frame import Prompt, prompt_frame
from circuit_transfer.prompts.spacing import glued_words


@pytest.mark.parametrize(
    ("clean", "answer", "tokenized", "word"),
    [
        ("Ben gave a book to", "Anna", "following", "toAnna"),
        ("It was in the year", "1705", "following", "year1705"),
        ("É o Zoë", "élan", "following", "Zoëélan"),
        ("Ben gave a book to", " Anna", "following", None),
        ("Ben gave a book to ", "Anna", "following", None),
        ("Ben gave a book to\n", "Anna", "following", None),
        ("Q: What is it? Answer:", "D", "following", None),
        ("It is (", "Anna", "following", None),
        ("Ben gave a book to", ".", "following", None),
        # Greater-than, and MIB's circuit track.
        ("From 1705 to 17", "12", "following", None),
        ("Ben gave a book to", "Anna", "alone", None),
        ("安娜和本去了公园", "本", "following", None),
        ("one", "two", "following", None),
    ],
)
def test_an_answer_glued_to_its_prompt_is_shown(clean, answer, tokenized, word):
    answers = ((answer,), (" no",)), ((" no",), (" no", answer))
    prompts = [
        Prompt(clean, clean, *each, "train", "x", 1, tokenized=tokenized)
        for each in answers
    ]
    assert glued_words(prompt_frame(prompts)) == ([word] * 2 if word else [])


def test_token_ids_are_not_glued():
    ids = {"answer_ids": (1,), "wrong_answer_ids": (2,)}
    prompt = Prompt("a b", "a c", (), (), "train", "x", 1, **ids)
    assert glued_words(prompt_frame([prompt])) == []
