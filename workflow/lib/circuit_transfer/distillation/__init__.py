"""From a teacher model to a student: critical heads, their matching, and training.

- `critical_heads`: the heads that a task depends on, by ablation, attribution or edges;
- `activations`: outputs of heads, a row per sample;
- `cka`: how similar such outputs are, biased and debiased;
- `matching`: from the student's critical heads to the teacher's.

Source: Wadhwa et al. 2025, arXiv 2509.25002, circuit distillation.
"""
