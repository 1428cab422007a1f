"""The nodes of a model: their names and their order.

A node is an attention head or an MLP block. The order is the order of computation:
the heads of layer 0, the MLP of layer 0, the heads of layer 1, and so on. The token
embedding (`input`) and the unembedding (`logits`) are not nodes, but part of every
circuit.
"""

import re

from circuit_transfer.messages import quoted


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


def head_place(name: str) -> tuple[int, int]:
    """Return layer and number of an attention head, of `a{layer}.h{head}`.

    Raises:
        ValueError: the name is not that of a head.
    """
    found = re.fullmatch(r"a(\d+)\.h(\d+)", name)
    if found is None:
        raise ValueError(f"node {quoted(name)}: expected a head, such as a0.h1")
    return int(found[1]), int(found[2])


def is_mlp(name: str) -> bool:
    """Return whether a node is an MLP block (otherwise it is an attention head)."""
    return name.startswith("m")


def circuit_size(proportion: float, n_nodes: int) -> int:
    """Return the number of nodes in a circuit of a given proportion, rounded down."""
    # In floating point 0.29 * 100 is 28.999..., but 29 is meant.
    return int(round(proportion * n_nodes, 9))
