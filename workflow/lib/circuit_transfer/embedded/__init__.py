"""The embedded models: small language models trained on text of the generators.

- `vocabulary`: the tokenizer;
- `model`: settings and random initialisation;
- `curriculum`: the training texts, by level of difficulty;
- `objective`: training loss and accuracy;
- `training`: the training loop;
- `card`: the model card.
"""
