"""From a source model to a target: maps of node scores, their controls, and rankings.

- `training_sets`, `maps`: the tasks that an alignment learns from, and its kinds;
- `objectives`, `trained_maps`, `training`, `alignment`: trained maps and their fits;
- `shared_prompts`, `cka`: the prompts of both models, and the similarity of outputs;
- `changes`, `regression`, `stitching`, `carried_gradients`: maps made from both
  models' residual streams on a task's own prompts;
- `controls`, `gradient_controls`: what a transfer has to beat;
- `projection`, `correlation`: rankings of the target's nodes, and how similar their
  scores are to the target's own.
"""
