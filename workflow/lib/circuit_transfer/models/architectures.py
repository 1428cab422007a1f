"""The modules that hold the nodes of each model family: one entry per `model_type`.

The only module that knows model families. To add a family, add its entry here and its
plain forward pass to the parity tests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # For type checkers only: a configuration is checked without importing torch.
    from torch import Tensor, nn


@dataclass(frozen=True)
class Architecture:
    """Module names of one family in its Hugging Face implementation.

    The output of a node in every family (`hook_z` and `hook_mlp_out` in
    TransformerLens):

    - Attention head: its slice of `z`, the input of the output projection. A norm
      after the projection (Gemma, OLMo 2) is not part of a head, since it is applied
      to the sum over all heads.
    - MLP: what the block adds to the residual stream. If a norm follows the MLP, this
      is the output of the norm, so `mlp` names the norm.

    Attributes:
        layers: the list of layers, relative to the model. All other names are relative
            to a layer.
        attention_projection: the output projection. Its first argument is `z`, the
            concatenated outputs of the heads.
        mlp: the module whose output is that of the MLP node.
        after_heads: a module whose first argument is the residual stream after the
            heads' outputs were added.
        attention: the attention module, which returns a tuple that starts with the
            output of the projection.
        feed_forward: the module that computes the MLP, without a norm after it.
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
    # There is no norm before the MLP: the MLP reads the residual stream directly.
    "olmo2": Architecture(
        "model.layers", "self_attn.o_proj", "post_feedforward_layernorm", "mlp"
    ),
    "phi3": _LLAMA_LIKE,
    "qwen2": _LLAMA_LIKE,
    "qwen3": _LLAMA_LIKE,
}

# The name in GGUF files of the families that transformers reads from them. Mistral is
# written as a llama there.
GGUF_NAMES = ("gemma2", "gemma3", "gpt2", "llama", "phi3", "qwen2", "qwen3")


def architecture_of(model_type: str) -> Architecture:
    """Return the module names of a model family.

    Raises:
        ValueError: the family is not supported; the message lists those that are.
    """
    if model_type not in ARCHITECTURES:
        known = ", ".join(sorted(ARCHITECTURES))
        raise ValueError(f"model_type {model_type!r} is not supported; known: {known}")
    return ARCHITECTURES[model_type]


def has_parallel_mlp(config) -> bool:
    """Return whether MLP and heads of a layer read the same input (run in parallel)."""
    return bool(getattr(config, "use_parallel_residual", False))


def node_sites(model: nn.Module) -> list[tuple[nn.Module, bool, int]]:
    """Return the sites of a model in the order of the nodes.

    Each is a tuple: the module to hook, whether the nodes' outputs are the input of the
    module (heads) rather than its output (MLP), and the number of nodes.
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
    """Return for every site the first point in the residual stream after it.

    Each is a tuple: the module to hook, and whether the residual stream is the input of
    the module rather than its output. If heads and MLP run in parallel, the point of
    both is after the layer.
    """
    row = architecture_of(model.config.model_type)
    parallel = has_parallel_mlp(model.config)
    return [
        point
        for layer in model.get_submodule(row.layers)
        for point in (
            (layer, False)
            if parallel
            else (layer.get_submodule(row.after_heads), True),
            (layer, False),
        )
    ]


def layer_modules(model: nn.Module) -> list[tuple[nn.Module, nn.Module, nn.Module]]:
    """Return the layer, attention and feed-forward modules of every layer.

    The first argument and the output of a layer are the residual stream; the attention
    returns a tuple that starts with the summed contribution of the heads.
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
    """Return the weight of an output projection as `(d_model, width of z)`.

    GPT-2 stores it transposed.
    """
    return module.weight if hasattr(module, "in_features") else module.weight.T
