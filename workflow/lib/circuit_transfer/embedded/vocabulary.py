"""Tokenizers of the embedded models: one token per word of their generators."""

import json
from collections.abc import Sequence

from tokenizers import Regex, Tokenizer, pre_tokenizers, processors
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from circuit_transfer.generators import Words, get_generator

SPECIAL_TOKENS = {
    "unk_token": "<unk>",
    "pad_token": "<pad>",
    "bos_token": "<bos>",
    "eos_token": "<eos>",
}
# As in the real families: Llama 3 encodes numbers of up to three digits as one token
# and starts every text with a BOS token; Qwen splits numbers into digits, without BOS.
NUMBERS = {"llama": r"\d{1,3}", "qwen2": r"\d"}
STARTS_WITH_BOS = {"llama": True, "qwen2": False}


def build_tokenizer(
    words: Words, *, architecture: str, generators: Sequence[str]
) -> PreTrainedTokenizerFast:
    """Return a tokenizer with a token for every word that the generators can produce.

    Tokens include no leading space. Load a saved tokenizer by
    `PreTrainedTokenizerFast`: for `qwen2`, `AutoTokenizer` replaces it by its own.

    Args:
        words: word lists of the generators.
        architecture: `llama` or `qwen2`.
        generators: names of the generators.

    Raises:
        ValueError: There is no tokenizer for the architecture.
    """
    if architecture not in NUMBERS:
        raise ValueError(
            f"architecture {architecture!r}: expected one of {[*NUMBERS]} to train"
        )
    split = _pre_tokenizer(NUMBERS[architecture])
    known = {
        piece
        for name in generators
        for text in get_generator(name).vocabulary(words)
        for piece, _ in split.pre_tokenize_str(text)
    }
    ids = {
        token: index
        for index, token in enumerate((*SPECIAL_TOKENS.values(), *sorted(known)))
    }
    tokenizer = Tokenizer(WordLevel(ids, unk_token=SPECIAL_TOKENS["unk_token"]))
    tokenizer.pre_tokenizer = split
    if STARTS_WITH_BOS[architecture]:
        bos = SPECIAL_TOKENS["bos_token"]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, ids[bos])]
        )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **SPECIAL_TOKENS)


def unknown_words(
    tokenizer: PreTrainedTokenizerFast, words: Words, generator: str
) -> list[str]:
    """Return the words of a generator that a tokenizer has no token for, in order.

    Args:
        tokenizer: of any model.
        words: word lists of the generators.
        generator: its name.
    """
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    if model.get("unk_token") is None:
        return []
    found = set()
    for text in get_generator(generator).vocabulary(words):
        encoding = tokenizer.backend_tokenizer.encode(text, add_special_tokens=False)
        parts = zip(encoding.tokens, encoding.offsets, strict=True)
        found |= {text[a:b] for token, (a, b) in parts if token == model["unk_token"]}
    return sorted(found)


def _pre_tokenizer(numbers: str) -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Punctuation("isolated"),
            pre_tokenizers.Split(Regex(numbers), "isolated"),
        ]
    )
