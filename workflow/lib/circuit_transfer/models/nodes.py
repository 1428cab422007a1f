"""The nodes of a model: their names and their order.

A node is an attention head or an MLP block. The order is the order of computation:
the heads of layer 0, the MLP of layer 0, the heads of layer 1, and so on. The token
embedding (`input`) and the unembedding (`logits`) are not nodes, but part of every
circuit.
"""


def node_names(layers: int, heads: int) -> tuple[str, ...]:
    """Return the names of all nodes in order, `a{layer}.h{head}` and `m{layer}`."""
    return tuple(
        name
        for layer in range(layers)
        for name in (*(f"a{layer}.h{head}" for head in range(heads)), f"m{layer}")
    )


def node_layers(names: tuple[str, ...]) -> list[int]:
    """Return the layer of every node."""
    return [int(name.split(".")[0][1:]) for name in names]


def is_mlp(name: str) -> bool:
    """Return whether a node is an MLP block (otherwise it is an attention head)."""
    return name.startswith("m")


def circuit_size(proportion: float, n_nodes: int) -> int:
    """Return the number of nodes in a circuit of a given proportion, rounded down."""
    # In floating point 0.29 * 100 is 28.999..., but 29 is meant.
    return int(round(proportion * n_nodes, 9))
