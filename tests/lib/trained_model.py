"""A trained model that the project ships, and pairs of a task that it has learnt."""

from functools import cache
from pathlib import Path

from circuit_transfer.generators import generate_prompts, read_words
from circuit_transfer.models.loading import load_model, load_tokenizer
from circuit_transfer.prompts.batches import pair_batches
from circuit_transfer.prompts.encoding import pairs_tokenizer
from circuit_transfer.prompts.pairs import tokenize_pairs

FOLDER = Path("data/models/llama-medium")


@cache
def ioi_case(count=12):
    """Return the model and batches of so many pairs of ioi."""
    words = read_words("data/words.yaml", "data/facts.csv")
    prompts = generate_prompts("ioi", words, "train", count, seed=0)
    settings = {"context": 64, "vocabulary": 512, "unknown": None}
    tokenizer = pairs_tokenizer(load_tokenizer(FOLDER), **settings)
    model = load_model(FOLDER, dtype="float32", device="cpu").requires_grad_(False)
    return model, pair_batches(tokenize_pairs(prompts, tokenizer).pairs, count)
