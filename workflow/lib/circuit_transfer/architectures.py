"""Where the nodes of each model family sit: one row per `model_type`.

The only place that knows model families. A family is added by adding its row here and
its name to the parity tests.
"""

from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Architecture:
    """Module names of one family, as its Hugging Face implementation has them.

    Attributes:
        layers: the list of layers, from the model.
        attention_projection: the output projection, from a layer. Its input is `z`, the
            heads' outputs side by side, in which every head's contribution to the
            residual stream is linear.
        mlp: the MLP block, from a layer. Its output is what it adds to the residual.
    """

    layers: str
    attention_projection: str
    mlp: str


_LLAMA_LIKE = Architecture("model.layers", "self_attn.o_proj", "mlp")

ARCHITECTURES = {
    "gpt2": Architecture("transformer.h", "attn.c_proj", "mlp"),
    "llama": _LLAMA_LIKE,
    "qwen2": _LLAMA_LIKE,
}


def architecture_of(model_type: str) -> Architecture:
    """Return the row of a model family.

    Raises:
        ValueError: the family is not in the table; names those that are.
    """
    if model_type not in ARCHITECTURES:
        known = ", ".join(sorted(ARCHITECTURES))
        raise ValueError(f"model_type {model_type!r} is not supported; known: {known}")
    return ARCHITECTURES[model_type]


def node_sites(model: nn.Module) -> list[tuple[nn.Module, bool, int]]:
    """Return the sites of a model in the order of the nodes.

    Each is the module to hook, whether the nodes are its input (the heads) or its
    output (an MLP), and the number of nodes there.
    """
    row = architecture_of(model.config.model_type)
    heads = model.config.num_attention_heads
    return [
        site
        for layer in model.get_submodule(row.layers)
        for site in (
            (layer.get_submodule(row.attention_projection), True, heads),
            (layer.get_submodule(row.mlp), False, 1),
        )
    ]
