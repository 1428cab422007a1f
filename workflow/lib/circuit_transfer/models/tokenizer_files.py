"""What the files of a tokenizer say, without loading it by transformers.

So a checkpoint is checked in a fraction of a second before any job runs.
"""

import json
from pathlib import Path
from typing import Any

from circuit_transfer.artifacts.text import read_json
from circuit_transfer.messages import in_one_line, quoted

TOKENIZER, SETTINGS = "tokenizer.json", "tokenizer_config.json"
# A tokenizer that knows one word, to which the post-processor of another is given.
ONE_WORD = {
    "version": "1.0",
    "added_tokens": [],
    "model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"},
}


def check_text_is_last(folder: Path | str) -> None:
    """Check that a tokenizer puts no token after a text, where logits are read.

    Raises:
        ValueError: it does, by its post-processor or by `add_eos_token`; or its files
            are damaged.
    """
    _, after = added_tokens(folder)
    cure = f"remove what follows the text ($A) from post_processor in {TOKENIZER}"
    settings = _settings(folder)
    if not after and settings.get("add_eos_token") is True:
        after = [_content(settings.get("eos_token")) or "an end token"]
        cure = f"set add_eos_token to false in {SETTINGS}"
    if after:
        tokens = quoted(" ".join(map(repr, after)))
        raise ValueError(
            f"{folder}: the tokenizer puts {tokens} after every text, so the logits "
            f"would be read after that and not after the prompt: {cure}"
        )


def added_tokens(folder: Path | str) -> tuple[list[str], list[str]]:
    """Return the tokens that `tokenizer.json` puts before and after every text.

    Raises:
        ValueError: the file is damaged.
    """
    from tokenizers import Tokenizer

    path = Path(folder) / TOKENIZER
    post_processor = _read_object(path).get("post_processor")
    if post_processor is None:
        return [], []
    try:
        one_word = json.dumps(ONE_WORD | {"post_processor": post_processor})
        encoding = Tokenizer.from_str(one_word).encode("a")
    # The library raises nothing more precise.
    except Exception as error:
        reason = quoted(in_one_line(error))
        raise ValueError(
            f"{path}: no post_processor that can be read ({reason})"
        ) from error
    text = encoding.special_tokens_mask.index(0)
    return encoding.tokens[:text], encoding.tokens[text + 1 :]


def unknown_token(folder: Path | str) -> tuple[int, str] | None:
    """Return id and text of the token that words unknown to a tokenizer become.

    None if it has none, as byte-level tokenizers, which know every text. The
    `unk_token` of `tokenizer_config.json` is often another token's second name and says
    nothing about it.

    Raises:
        ValueError: `tokenizer.json` is damaged.
    """
    model = _read_object(Path(folder) / TOKENIZER)["model"]
    if "unk_id" in model:  # Unigram, whose vocabulary is a list
        number = model["unk_id"]
        return None if number is None else (number, model["vocab"][number][0])
    token = model.get("unk_token")
    return (model["vocab"][token], token) if token in model["vocab"] else None


def asks_for_bos(folder: Path | str) -> bool:
    """Return whether the tokenizer's settings add a BOS token before every text."""
    return _settings(folder).get("add_bos_token") is True


def _settings(folder: Path | str) -> dict[str, Any]:
    path = Path(folder) / SETTINGS
    return _read_object(path) if path.is_file() else {}


def _read_object(path: Path) -> dict[str, Any]:
    found = read_json(path)
    if not isinstance(found, dict):
        raise ValueError(f"{path}: expected a JSON object")
    return found


def _content(token: Any) -> str | None:
    """Return the text of a special token, which is written alone or with options."""
    return token.get("content") if isinstance(token, dict) else token
