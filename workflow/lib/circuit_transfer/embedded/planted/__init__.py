"""Models with a planted circuit: which edges matter is known, since they were written.

- `subspaces` (construction A): random nonlinear nodes, any family;
- `induction` (B): an induction head, whose softmax may be saturated;
- `relays` and `gates` (C): linear nodes with known effects; AND, OR and inhibition;
- `backup`: two pairs of heads of which either one suffices, and a chain without backup;
- `basis`, `blank`, `heads`, `wires`: what they are written with;
- `model`: the result; `constructions`: all of them by name.
"""
