"""Build a model with a planted circuit, save it with its tokenizer and the truth."""

import logging
from pathlib import Path
from typing import Any

import torch

from circuit_transfer.artifacts.files import atomic_files
from circuit_transfer.artifacts.text import write_json
from circuit_transfer.embedded.planted.constructions import plant
from circuit_transfer.embedded.planted.settings import GENERATORS
from circuit_transfer.embedded.vocabulary import build_tokenizer
from circuit_transfer.generators import read_words
from circuit_transfer.jobs.stage import run_stage

log = logging.getLogger(__name__)

# One token a letter, and nothing before the first one.
TOKENIZER = "qwen2"


def plant_model(
    truth_path: Path | str,
    *,
    model: str,
    entry: dict[str, Any],
    words_path: Path | str,
    facts_path: Path | str,
) -> None:
    """Plant the circuit of `entry`; save in the Hugging Face layout, with the truth.

    The truth has the names of the circuit's edges by kind of corrupted prompt and by
    whether keys and values are those of query heads or of key-value heads; likewise,
    where parts back each other up, the groups of sets of edges of which one suffices.
    """
    generator = GENERATORS[entry["construction"]]
    tokenizer = build_tokenizer(
        read_words(words_path, facts_path),
        architecture=TOKENIZER,
        generators=[generator],
    )
    planted = plant(entry, tokenizer.get_vocab())
    with atomic_files(Path(truth_path).parent) as folder:
        planted.model.to(torch.float32).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        truth = {"model": model, "settings": entry, "circuits": planted.circuits}
        truth["alternatives"] = planted.alternatives
        write_json(truth, folder / Path(truth_path).name)
    for kind, edges in planted.circuits.items():
        counts = ", ".join(f"{len(names)} by {kv}" for kv, names in edges.items())
        log.info("%s, %s: edges of the circuit: %s", model, kind, counts)


if __name__ == "__main__":
    run_stage(plant_model, snakemake)
