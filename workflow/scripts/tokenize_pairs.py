"""Tokenize a task's pairs for one model and sort out those that cannot be used."""

from pathlib import Path

from circuit_transfer.artifacts import read_frame, read_json, write_frame
from circuit_transfer.job import job
from circuit_transfer.models import load_tokenizer
from circuit_transfer.pairs import TEXT_COLUMNS
from circuit_transfer.pairs import tokenize_pairs as tokenize


def tokenize_pairs(
    prompts_path: Path | str,
    model_path: Path | str,
    pairs_path: Path | str,
    rejects_path: Path | str,
) -> None:
    """Read text pairs, write token ids and, beside them, the rejected rows."""
    description = read_json(model_path)
    tokenizer = load_tokenizer(description["path"])
    tokenized = tokenize(
        read_frame(prompts_path, [*TEXT_COLUMNS, "split"]),
        tokenizer.encode,
        context=description["context"],
        unknown=tokenizer.unk_token_id,
    )
    write_frame(tokenized.pairs, pairs_path)
    write_frame(tokenized.rejects, rejects_path)


if __name__ == "__main__":
    with job(snakemake.log[0]):
        tokenize_pairs(
            snakemake.input.prompts,
            snakemake.input.model,
            snakemake.output.pairs,
            snakemake.output.rejects,
        )
