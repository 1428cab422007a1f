"""From a teacher model to a student: critical heads, their matching, and training.

- `critical_heads`: the heads that a task depends on, by ablation (`head_effects`), by
  attribution, by edges, or in groups that read one another (`path_patching`);
- `activations`: outputs of heads, a row per sample;
- `cka`: how similar such outputs are, biased and debiased;
- `matchings`, `distances`, `matching`: from the student's critical heads to heads of
  the teacher;
- `settings`, `variants`: how a student is trained, its baselines and its controls;
- `pairing`: the pairs of heads that a variant works with;
- `updates`: which parameters are trained, and nothing else;
- `targets`, `loss`: the terms of the loss;
- `training`: the training itself;
- `measures`: what is measured of a student before and after.

Source: Wadhwa et al. 2025, arXiv 2509.25002, circuit distillation.
"""
