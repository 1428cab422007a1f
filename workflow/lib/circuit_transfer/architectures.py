"""Where the nodes of each model family sit: one row per `model_type`.

The only place that knows model families. A family is added by adding its row here and
its plain forward pass to the parity tests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # Not at run time: a configuration is checked without torch.
    from torch import nn


@dataclass(frozen=True)
class Architecture:
    """Module names of one family, as its Hugging Face implementation has them.

    What a node's output is, in every family (as `hook_z` and `hook_mlp_out` are in
    TransformerLens):

    - An attention head: its slice of `z`, the input of the output projection. A norm
      after the projection (Gemma, OLMo 2) is no part of a head: it reads the sum of
      all heads, whatever they write.
    - An MLP: what the block adds to the residual stream. Where a norm follows the MLP,
      that is the norm's output, so the row names the norm.

    Attributes:
        layers: the list of layers, from the model.
        attention_projection: the output projection, from a layer. Takes `z`, the heads'
            outputs side by side, as its first argument.
        mlp: the module that returns the MLP's output, from a layer.
    """

    layers: str
    attention_projection: str
    mlp: str


_LLAMA_LIKE = Architecture("model.layers", "self_attn.o_proj", "mlp")
_NORM_AFTER_MLP = Architecture(
    "model.layers", "self_attn.o_proj", "post_feedforward_layernorm"
)

ARCHITECTURES = {
    "gemma2": _NORM_AFTER_MLP,
    "gemma3_text": _NORM_AFTER_MLP,
    "gpt2": Architecture("transformer.h", "attn.c_proj", "mlp"),
    "gpt_neox": Architecture("gpt_neox.layers", "attention.dense", "mlp"),
    "llama": _LLAMA_LIKE,
    "mistral": _LLAMA_LIKE,
    "olmo2": _NORM_AFTER_MLP,
    "phi3": _LLAMA_LIKE,
    "qwen2": _LLAMA_LIKE,
    "qwen3": _LLAMA_LIKE,
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


def has_parallel_mlp(config) -> bool:
    """Tell whether a layer's MLP reads what its heads read, not what they write."""
    return bool(getattr(config, "use_parallel_residual", False))


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
