"""Circuits of a model: found by attribution, run, and measured.

- `ablations`: what replaces the output of a node outside a circuit;
- `attribution`: score every node;
- `prepared`, `masks`: circuits as masks over the nodes, hard and soft, and the cached
  runs that training a mask needs;
- `runs`, `metrics`, `faithfulness`: run circuits, measure them, tabulate rankings;
- `similarity`: compare scores, and the circuits that they give;
- `passes`: what a computation costs;
- `mib`: the exchange format of the MIB benchmark.
"""
