"""The embedded models: small language models trained on text of the generators.

- `vocabulary`: the tokenizer;
- `model`: settings and random initialisation;
- `curriculum`: the training texts, by level of difficulty;
- `objective`: training loss, with the divergence from a teacher, and accuracy;
- `learner`: the model and its optimiser;
- `training`: the training loop;
- `inheritance`: models that begin with another one or learn from it, with `selection`
  (what is kept of a model that is pruned), `importance` (by which it is chosen) and
  `fading` (how the rest is faded out and cut off);
- `card`: the model card.
"""
