"""Tokenize a split of a task for one model and sort out the unusable pairs."""

import logging
from pathlib import Path

import polars as pl

from circuit_transfer.artifacts.descriptions import read_description
from circuit_transfer.artifacts.frames import read_frame, write_frame
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.messages import quoted
from circuit_transfer.models.loading import load_tokenizer
from circuit_transfer.models.tokenizer_files import unknown_token
from circuit_transfer.prompts.encoding import Tokenizer, pairs_tokenizer
from circuit_transfer.prompts.frame import PROMPT_SCHEMA
from circuit_transfer.prompts.pairs import begin_twice
from circuit_transfer.prompts.pairs import tokenize_pairs as tokenize
from circuit_transfer.prompts.spacing import missing_spaces, trailing_spaces

log = logging.getLogger(__name__)


def tokenize_pairs(
    prompts_path: Path | str,
    model_path: Path | str,
    pairs_path: Path | str,
    rejects_path: Path | str,
) -> None:
    """Read text pairs, write token ids and, separately, the pairs without."""
    description = read_description(model_path)
    loaded = load_tokenizer(description["path"])
    tokenizer = pairs_tokenizer(
        loaded,
        context=description["context"],
        vocabulary=description["vocabulary"],
        unknown=unknown_token(description["path"]),
    )
    prompts = read_frame(prompts_path, [*PROMPT_SCHEMA])
    tokenized = tokenize(prompts, tokenizer)
    _warn_of_spaces(prompts, tokenizer, pairs_path)
    added = tokenizer.encode("").ids
    if twice := begin_twice(tokenized.pairs, added):
        log.warning(
            "%s: %d of %d pairs begin with %s twice: the tokenizer adds it, and the "
            "prompts have it; remove it from the prompts",
            pairs_path,
            twice,
            len(tokenized.pairs),
            " ".join(loaded.convert_ids_to_tokens(added)),
        )
    write_frame(tokenized.pairs, pairs_path)
    write_frame(tokenized.rejects, rejects_path)


def _warn_of_spaces(
    prompts: pl.DataFrame, tokenizer: Tokenizer, pairs_path: Path | str
) -> None:
    """Warn of pairs in which the space before the answer is missing or misplaced."""
    if texts := missing_spaces(prompts, tokenizer):
        log.warning(
            "%s: in %d of %d pairs an answer follows the prompt without a space (%s), "
            "and with one it would be a single token of this model; begin the answers "
            "with a space",
            pairs_path,
            len(texts),
            len(prompts),
            quoted(repr(texts[0])),
        )
    if texts := trailing_spaces(prompts, tokenizer):
        log.warning(
            "%s: %d of %d prompts end in a space (%s), which for this model is the "
            "beginning of the answer's token; remove it there, and begin the answers "
            "with one",
            pairs_path,
            len(texts),
            len(prompts),
            quoted(repr(texts[0])),
        )


if __name__ == "__main__":
    run_stage(tokenize_pairs, snakemake)
