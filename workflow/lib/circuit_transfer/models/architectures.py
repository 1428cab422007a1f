"""Where the nodes of each model family sit: one row per `model_type`.

The only place that knows model families. A family is added by adding its row here and
its plain forward pass to the parity tests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # Not at run time: a configuration is checked without torch.
    from torch import Tensor, nn


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
        after_heads: a module that reads the residual stream once the heads have
            written, from a layer, as its first argument.
        attention: the module that returns what the projection gives, first of a tuple.
        feed_forward: the module that computes the MLP, whatever follows it.
    """

    layers: str
    attention_projection: str
    mlp: str
    after_heads: str
    attention: str = "self_attn"
    feed_forward: str = "mlp"


_LLAMA_LIKE = Architecture(
    "model.layers", "self_attn.o_proj", "mlp", "post_attention_layernorm"
)
_GEMMA_LIKE = Architecture(
    "model.layers",
    "self_attn.o_proj",
    "post_feedforward_layernorm",
    "pre_feedforward_layernorm",
)

ARCHITECTURES = {
    "gemma2": _GEMMA_LIKE,
    "gemma3_text": _GEMMA_LIKE,
    "gpt2": Architecture("transformer.h", "attn.c_proj", "mlp", "ln_2", "attn"),
    "gpt_neox": Architecture(
        "gpt_neox.layers",
        "attention.dense",
        "mlp",
        "post_attention_layernorm",
        "attention",
    ),
    "llama": _LLAMA_LIKE,
    "mistral": _LLAMA_LIKE,
    # No norm reads the stream here: the MLP itself does.
    "olmo2": Architecture(
        "model.layers", "self_attn.o_proj", "post_feedforward_layernorm", "mlp"
    ),
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


def stream_points(model: nn.Module) -> list[tuple[nn.Module, bool]]:
    """Return for every site where the residual stream first carries what it wrote.

    Each is the module to hook and whether the stream is its input, or its output.
    Where heads and MLP write at once, both are there after the layer.
    """
    row = architecture_of(model.config.model_type)
    at_once = has_parallel_mlp(model.config)
    return [
        point
        for layer in model.get_submodule(row.layers)
        for point in (
            (layer, False) if at_once else (layer.get_submodule(row.after_heads), True),
            (layer, False),
        )
    ]


def layer_modules(model: nn.Module) -> list[tuple[nn.Module, nn.Module, nn.Module]]:
    """Return of every layer the layer itself, its attention and its feed-forward part.

    The layer takes the residual stream as its first argument and returns it; the
    attention returns a tuple, what the heads write together first.
    """
    row = architecture_of(model.config.model_type)
    return [
        (
            layer,
            layer.get_submodule(row.attention),
            layer.get_submodule(row.feed_forward),
        )
        for layer in model.get_submodule(row.layers)
    ]


def projection_weight(module: nn.Module) -> Tensor:
    """Return an output projection's weight as `(d_model, width of z)`.

    GPT-2 keeps it the other way round.
    """
    return module.weight if hasattr(module, "in_features") else module.weight.T
