"""Learn circuits of edges by training masks: gates, or a ranking.

- `settings`: the settings of every method, with their presets;
- `gates`: hard concrete gates;
- `constraints`: how many gates may be open, by multipliers that are trained too;
- `training`: the training loop, for masks of any kind, several side by side;
- `memory`, `side_by_side`: how many circuits fit into a pass;
- `learned_masks`: from a method's masks, trained, to circuits of exact sizes;
- `gated`: gates of edges or of nodes, and `node_circuits`: circuits of nodes as edges;
- `edge_pruning`: a gate for every edge, or one for all edges from a node;
- `hap`: the same on what the filter of another method leaves;
- `soft_top_k`: one ranking, trained through soft circuits of drawn sizes;
- `restoring`: the last edges of circuits, chosen by one attribution pass on these;
- `outcomes`: what is learned, and checks that it is a circuit;
- `learned`: the methods by name.
"""
