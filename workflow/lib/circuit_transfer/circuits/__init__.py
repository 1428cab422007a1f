"""Circuits of a model: found by attribution, run, and measured.

- `ablations`: what replaces the output of a node outside a circuit;
- `attribution`: score every node;
- `edge_attribution`: score every edge, from runs on the way between ablated and clean
  input (`edge_steps`) or with one site moved (`edge_sites`), by gradients at readers
  (`edge_gradients`) times differences of writers (`edge_products`);
- `masks`: from a ranking of the nodes to circuits, hard and soft;
- `runs`, `metrics`, `faithfulness`: run circuits, measure them, tabulate rankings;
- `prepared`, `masked_runs`: run a model under soft masks, as training does in every
  step, with cached clean and ablated runs;
- `similarity`: compare scores, and the circuits that they give;
- `passes`: what a computation costs;
- `mib`, `mib_edges`: nodes and edges in the exchange format of the MIB benchmark;
- `imported`, `auto_circuit`, `edge_pruning`: edges from other projects.
"""
