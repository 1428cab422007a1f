"""Tokenize a split of a task for one model and sort out the unusable pairs."""

from pathlib import Path

from circuit_transfer.artifacts.descriptions import read_description
from circuit_transfer.artifacts.frames import read_frame, write_frame
from circuit_transfer.jobs.stage import run_stage
from circuit_transfer.models.loading import load_tokenizer
from circuit_transfer.prompts.frame import PROMPT_SCHEMA
from circuit_transfer.prompts.pairs import Tokenizer
from circuit_transfer.prompts.pairs import tokenize_pairs as tokenize


def tokenize_pairs(
    prompts_path: Path | str,
    model_path: Path | str,
    pairs_path: Path | str,
    rejects_path: Path | str,
) -> None:
    """Read text pairs, write token ids and, separately, the pairs without."""
    description = read_description(model_path)
    tokenizer = load_tokenizer(description["path"])
    tokenized = tokenize(
        read_frame(prompts_path, [*PROMPT_SCHEMA]),
        Tokenizer(
            encode=tokenizer.encode,
            encode_alone=lambda text: tokenizer.encode(text, add_special_tokens=False),
            context=description["context"],
            vocabulary=description["vocabulary"],
            unknown=tokenizer.unk_token_id,
        ),
    )
    write_frame(tokenized.pairs, pairs_path)
    write_frame(tokenized.rejects, rejects_path)


if __name__ == "__main__":
    run_stage(tokenize_pairs, snakemake)
