"""From a source model to a target: maps of scores, their controls, and rankings.

- `training_sets`, `maps`: the tasks that an alignment learns from, and its kinds;
- `objectives`, `training`: what maps are trained for, and the loop that trains them;
- `trained_maps`, `node_training`, `alignment`: trained maps of nodes and their fits;
- `edge_maps`, `trained_edge_maps`, `edge_training`, `edge_alignment`: those of edges,
  with `edge_sources` and `edge_controls`, what their controls are trained on;
- `shared_prompts`, `cka`: the prompts of both models, and the similarity of outputs;
- `changes`, `regression`, `stitching`, `carried_gradients`: maps made from both
  models' residual streams on a task's own prompts;
- `controls`, `gradient_controls`: what a transfer has to beat;
- `projection`, `correlation`: rankings of the target's nodes, and how similar their
  scores are to the target's own.
"""
