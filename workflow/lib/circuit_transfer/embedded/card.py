"""The model card of a trained model."""

from typing import Any

import yaml

from circuit_transfer.models.lineage import origin

SHAPE = """A language model of {layers} layers with {heads} attention heads each"""
SCRATCH = """, small enough for
a laptop and large enough to have circuits. It was trained only on the prompts of this
project's generators: it solves these tasks and no others, and its tokenizer has one
token for each of their words. {numbers}"""
MADE = """, {origin}.
It was trained on the prompts of this project's generators, and its tokenizer is that of
its parent. `lineage` in `training.json` says which node is which node of the parent."""
CARD = """# {model}

{about}

| task | accuracy on the test split |
|---|---|
{accuracies}

An answer is correct if each of its tokens has the highest logit in the vocabulary. No
prompt of a test split occurs in the training text, nor, in arithmetic, its ordered pair
of operands. Since the reversed pair may occur, accuracy on sums that are new in both
orders is lower than in the table. The smallest and the largest operand occur in the
training text only.

## Training

Trained by `train_model` for {steps} steps ({seconds:.0f} s on one core) with this
`train:` entry under `models:`. `training.json` contains the learning curve.

```yaml
{settings}```
"""
NUMBERS = {
    "llama": "A number is one token as well.",
    "qwen2": "Numbers are split into digits, one token each.",
}


def model_card(model: str, record: dict[str, Any]) -> str:
    """Return the model card of a trained model, in Markdown.

    Args:
        model: name of the model.
        record: see `training.train`.
    """
    accuracies = "\n".join(
        f"| {task} | {accuracy:.3f} |" for task, accuracy in record["accuracy"].items()
    )
    settings, lineage = record["settings"], record.get("lineage") or {}
    about = MADE if lineage.get("parent") else SCRATCH
    return CARD.format(
        model=model,
        about=(SHAPE + about).format(
            layers=settings["layers"],
            heads=settings["heads"],
            numbers=NUMBERS.get(settings["architecture"]),
            origin=origin(lineage) if lineage else None,
        ),
        accuracies=accuracies,
        steps=record["steps"],
        seconds=record["seconds"],
        settings=yaml.safe_dump(settings, sort_keys=False),
    )
