"""Build the tokenizer that a GGUF file describes."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from circuit_transfer.messages import quoted

log = logging.getLogger(__name__)

KIND, SPLIT = "tokenizer.ggml.model", "tokenizer.ggml.pre"
BYTE_PAIRS, SENTENCEPIECE = "gpt2", "llama"
# How text is split before byte pairs are merged has only a name in the file. By
# llama.cpp (`llama-vocab.cpp`): as in GPT-2, and with every digit by itself.
AS_GPT2 = ("gpt-2", "mpt", "olmo", "phi-2")
WITH_SINGLE_DIGITS = (
    *("codeshell", "command-r", "exaone", "minerva-7b", "refact", "smollm"),
    "starcoder",
)
# Files that are older than these names, or made without one.
UNNAMED = (None, "default")


def check_tokenizer(settings: Mapping[str, Any]) -> None:
    """Check that the tokenizer in the settings of a GGUF file can be built.

    Raises:
        ValueError: it is missing, or of an unknown kind.
    """
    kind, split = settings.get(KIND), settings.get(SPLIT)
    if kind not in (BYTE_PAIRS, SENTENCEPIECE):
        raise ValueError(
            f"{KIND} is {quoted(repr(kind))}: expected {BYTE_PAIRS!r} (byte pairs) or "
            f"{SENTENCEPIECE!r} (SentencePiece), of which transformers can make a "
            "tokenizer.json"
        )
    known = (*AS_GPT2, *WITH_SINGLE_DIGITS, *UNNAMED)
    if kind == BYTE_PAIRS and split not in known and split not in _library_splits():
        raise ValueError(
            f"{SPLIT} is {quoted(repr(split))}: transformers does not know this way to "
            "split text"
        )


def build_tokenizer(path: Path | str, settings: Mapping[str, Any]):
    """Return the tokenizer of a GGUF file, as `transformers` builds it.

    A tokenizer whose vocabulary has single digits splits numbers into them, which
    `transformers` does not read from the file.

    Args:
        path: the GGUF file.
        settings: those of its header.
    """
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence
    from transformers import PreTrainedTokenizerFast
    from transformers.integrations.gguf import (
        convert_gguf_tokenizer,
        get_gguf_tokenizer,
    )

    architecture, tokens, options = get_gguf_tokenizer(str(path))
    backend, _ = convert_gguf_tokenizer(architecture, tokens)
    split = settings.get(SPLIT)
    if split in WITH_SINGLE_DIGITS:
        backend.pre_tokenizer = Sequence(
            [Digits(individual_digits=True), ByteLevel(add_prefix_space=False)]
        )
    if settings[KIND] == BYTE_PAIRS and split in UNNAMED:
        log.warning(
            "%s: no name of how text is split into words (%s): split as in GPT-2",
            path,
            SPLIT,
        )
    return PreTrainedTokenizerFast(tokenizer_object=backend, **options)


def _library_splits() -> Mapping[str, str]:
    """Return the names of splits that transformers knows."""
    # Imported here: seconds that other names need not cost.
    from transformers.integrations.gguf.gguf_tokenizer_mapping import (
        GGUF_PRE_TOKENIZER_SPLITS,
    )

    return GGUF_PRE_TOKENIZER_SPLITS
