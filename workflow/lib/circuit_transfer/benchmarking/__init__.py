"""Measure speed and memory of the library relative to bare passes of the model.

- `entries`: models and loads as configured, without torch;
- `case`: a computation with its ideal cost;
- `cases`, `edge_cases`: the computations that are measured, and their ideal cost;
- `measure`: time and memory of computations;
- `runs`: whole benchmarks, of one model and of growing models and loads.
"""
