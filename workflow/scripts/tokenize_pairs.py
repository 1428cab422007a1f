"""Tokenize a split of a task for one model and sort out the unusable pairs."""

import logging
from pathlib import Path

from circuit_transfer.artifacts.descriptions import read_description
from circuit_transfer.artifacts.frames import read_frame, write_frame
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.models.loading import load_tokenizer
from circuit_transfer.models.tokenizer_files import unknown_token
from circuit_transfer.prompts.encoding import pairs_tokenizer
from circuit_transfer.prompts.frame import PROMPT_SCHEMA
from circuit_transfer.prompts.pairs import begin_twice
from circuit_transfer.prompts.pairs import tokenize_pairs as tokenize

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
    tokenized = tokenize(read_frame(prompts_path, [*PROMPT_SCHEMA]), tokenizer)
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


if __name__ == "__main__":
    run_stage(tokenize_pairs, snakemake)
