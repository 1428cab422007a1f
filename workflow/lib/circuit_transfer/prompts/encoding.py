"""Texts as tokens, and the words that are lost on the way.

A word is lost where its token stands for any unknown word, or where it has no token at
all. The id of a token does not tell: in many tokenizers the token for unknown words
begins or ends a text too, and a text may contain it.
"""

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

Span = tuple[int, int]


@dataclass(frozen=True)
class Encoding:
    """A text as tokens.

    Attributes:
        text: the text.
        ids: its tokens.
        spans: begin and end of the characters that each token is of; both are 0 for a
            token that the tokenizer adds.
    """

    text: str
    ids: list[int]
    spans: list[Span]


@dataclass(frozen=True)
class Unknown:
    """The token of every word that a tokenizer does not know.

    Attributes:
        id: its token id.
        text: its own text.
        normalise: what the tokenizer does to a text before it looks for tokens.
    """

    id: int
    text: str
    normalise: Callable[[str], str] = str

    def is_own(self, text: str) -> bool:
        """Return whether a text is that of the token itself, so that nothing is lost.

        White space around it may belong to the token.
        """
        return self.normalise(text.strip()) == self.normalise(self.text)


@dataclass(frozen=True)
class Tokenizer:
    """What this package needs of a tokenizer.

    Attributes:
        encode: encodes a text with the model's special tokens.
        encode_alone: the same without special tokens.
        context: the longest prompt that the model takes, in tokens.
        vocabulary: the number of token ids that the model knows.
        unknown: the token for unknown words, where the tokenizer has one.
    """

    encode: Callable[[str], Encoding]
    encode_alone: Callable[[str], Encoding]
    context: int
    vocabulary: int
    unknown: Unknown | None = None


def pairs_tokenizer(
    tokenizer, context: int, vocabulary: int, unknown: tuple[int, str] | None
) -> Tokenizer:
    """Return what is needed of a fast tokenizer of `transformers`.

    Args:
        tokenizer: the tokenizer.
        context: the longest prompt that the model takes, in tokens.
        vocabulary: the number of token ids that the model knows.
        unknown: id and text of the token for unknown words, if it has one.
    """

    def encode(text: str, special: bool = True) -> Encoding:
        found = tokenizer(text, add_special_tokens=special, return_offsets_mapping=True)
        return Encoding(text, found["input_ids"], found["offset_mapping"])

    normaliser = tokenizer.backend_tokenizer.normalizer
    normalise = normaliser.normalize_str if normaliser else str
    return Tokenizer(
        encode=encode,
        encode_alone=lambda text: encode(text, special=False),
        context=context,
        vocabulary=vocabulary,
        unknown=Unknown(*unknown, normalise) if unknown else None,
    )


def lost_word(
    encoding: Encoding, tokenizer: Tokenizer, start: int = 0, stop: int | None = None
) -> str | None:
    """Return a word of a text that its tokens do not contain, if there is one.

    Args:
        encoding: the text and its tokens.
        tokenizer: what it was encoded with.
        start: the token to begin with; the text before it is ignored.
        stop: the token from which on words may be unknown; none if not given.
    """
    text, unknown = encoding.text, tokenizer.unknown
    reached = encoding.spans[start - 1][1] if start else 0
    if unknown is not None:
        tokens = zip(encoding.ids[start:stop], encoding.spans[start:stop], strict=True)
        for token, (begin, end) in tokens:
            own = begin == end or unknown.is_own(text[begin:end])
            if token == unknown.id and not own:
                return _word(text, begin, end)
    if not _drops(encoding, start):
        return None
    # Spans are shifted after what is dropped, so that they do not tell the word.
    words = text[reached:].split()
    dropped = (word for word in words if _drops(tokenizer.encode_alone(word)))
    return next(dropped, text[reached:].strip())


def _drops(encoding: Encoding, start: int = 0) -> bool:
    """Return whether some of a text is in no token, from a token on."""
    reached = encoding.spans[start - 1][1] if start else 0
    for begin, end in encoding.spans[start:]:
        if _has_word(encoding.text[reached:begin]):
            return True
        reached = max(reached, end)
    return _has_word(encoding.text[reached:])


def _has_word(text: str) -> bool:
    """Return whether a text has letters, numbers or symbols such as emoji.

    Tokenizers drop white space, accents, control characters and punctuation by design.
    """
    return any(each.isalnum() or unicodedata.category(each) == "So" for each in text)


def _word(text: str, begin: int, end: int) -> str:
    """Return a part of a text, completed to whole words."""
    while begin > 0 and text[begin - 1].isalnum() and text[begin].isalnum():
        begin -= 1
    while end < len(text) and text[end].isalnum() and text[end - 1].isalnum():
        end += 1
    return text[begin:end].strip()
