"""The README of a trained model."""

from typing import Any

import yaml

CARD = """# {model}

A language model of {layers} layers with {heads} attention heads each, small enough for
a laptop and large enough to have circuits. It was trained on the prompts of this
project's generators alone: it can do these tasks and nothing else, and its tokenizer
knows their words, one token each. {numbers}

| task | accuracy on the test split |
|---|---|
{accuracies}

An answer is right when each of its tokens is the likeliest of the whole vocabulary.
No prompt of a test split occurs in the training text; nor does, in arithmetic, its
pair of operands in that order. The same sum in the other order may, so sums that are
new in both orders are harder than the table says. The smallest and the largest operand
are in the training text alone.

## How it was made

`train_model` trained it for {steps} steps ({seconds:.0f} s on one core) by this entry
for `models:`, under `train:`. `training.json` has the learning curve.

```yaml
{settings}```
"""
NUMBERS = {
    "llama": "A number is one token too.",
    "qwen2": "Numbers are split into digits, each a token.",
}


def model_card(model: str, record: dict[str, Any]) -> str:
    """Describe a trained model in Markdown."""
    accuracies = "\n".join(
        f"| {task} | {accuracy:.3f} |" for task, accuracy in record["accuracy"].items()
    )
    return CARD.format(
        model=model,
        numbers=NUMBERS[record["settings"]["architecture"]],
        layers=record["settings"]["layers"],
        heads=record["settings"]["heads"],
        accuracies=accuracies,
        steps=record["steps"],
        seconds=record["seconds"],
        settings=yaml.safe_dump(record["settings"], sort_keys=False),
    )
