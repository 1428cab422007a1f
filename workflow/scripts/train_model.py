"""Train an embedded model and save it with its tokenizer, a record and a model card."""

from pathlib import Path
from typing import Any

import yaml

from circuit_transfer.artifacts import write_json, write_text
from circuit_transfer.generators import read_words
from circuit_transfer.job import job
from circuit_transfer.training import TrainingSettings, train

CARD = """# {model}

A language model of {layers} layers with {heads} attention heads each, small enough for
a laptop and large enough to have circuits. It was trained on the prompts of this
project's generators alone: it can do these tasks and nothing else, and its tokenizer
knows their words, one token each.

| task | accuracy on the test split |
|---|---|
{accuracies}

An answer is right when its first token is the likeliest of the whole vocabulary.
No prompt of a test split occurs in the training text; nor does, in arithmetic, its
pair of operands.

## How it was made

`train_model` trained it for {steps} steps ({seconds:.0f} s on one core) by this entry
for `models:`, under `train:`. `training.json` has the learning curve.

```yaml
{settings}```
"""


def train_model(
    checkpoint_path: Path | str,
    *,
    model: str,
    entry: dict[str, Any],
    words_path: Path | str,
    facts_path: Path | str,
    state_path: Path | str,
) -> None:
    """Train by the settings in `entry` and save in the Hugging Face layout.

    An interrupted or failed training leaves its state in `state_path`, and goes on
    from there.
    """
    settings = TrainingSettings(**entry)
    words = read_words(words_path, facts_path)
    trained, tokenizer, record = train(settings, words, state_path)
    folder = Path(checkpoint_path)
    trained.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write_json({"model": model, **record}, folder / "training.json")
    write_text(model_card(model, record), folder / "README.md")


def model_card(model: str, record: dict[str, Any]) -> str:
    """Describe a trained model in Markdown."""
    accuracies = "\n".join(
        f"| {task} | {accuracy:.3f} |" for task, accuracy in record["accuracy"].items()
    )
    return CARD.format(
        model=model,
        layers=record["settings"]["layers"],
        heads=record["settings"]["heads"],
        accuracies=accuracies,
        steps=record["steps"],
        seconds=record["seconds"],
        settings=yaml.safe_dump(record["settings"], sort_keys=False),
    )


if __name__ == "__main__":
    with job(snakemake.log[0]):
        train_model(
            Path(snakemake.output.record).parent,
            model=snakemake.wildcards.model,
            entry=snakemake.params.entry,
            words_path=snakemake.input.words,
            facts_path=snakemake.input.facts,
            state_path=snakemake.params.state,
        )
