"""The modules that hold the nodes of each model family: one entry per `model_type`.

The only module that knows model families. To add a family, add its entry here and its
plain forward pass to the parity tests.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
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
        projections: the modules whose outputs are queries, keys and values: one of
            each, or one that computes them all.
        fused: how the output of such a one is divided: `blocks` of all queries, then
            all keys, then all values, or by `heads`, each with its query, key and
            value; empty if there is one module of each.
        attention_norm: the norm before the projections; None if they read the residual
            stream itself.
        mlp_norm: the norm before the MLP, likewise; what the MLP reads from the
            residual stream is the input of `after_heads`.
        heads_norm: a norm over the sum of all heads, None if there is none.
        query_norms: norms over queries and keys.
        joint_norms: those over the keys of all heads at once, whose weights have one
            entry for each of their numbers.
        final_norm: the norm before the unembedding, relative to the model.
        norm_offset: what norms add to their weights.
        activation: of the MLP, relative to `feed_forward`.
        mlp_projection: the output projection of the MLP, likewise.
        gated: whether what that projection reads is a product of the activation and a
            linear map (`up`), not the activation itself.
    """

    layers: str
    attention_projection: str
    mlp: str
    after_heads: str
    attention: str = "self_attn"
    feed_forward: str = "mlp"
    projections: tuple[str, ...] = tuple(f"self_attn.{each}_proj" for each in "qkv")
    fused: str = ""
    attention_norm: str | None = "input_layernorm"
    mlp_norm: str | None = "post_attention_layernorm"
    heads_norm: str | None = None
    query_norms: tuple[str, ...] = ()
    joint_norms: tuple[str, ...] = ()
    final_norm: str = "model.norm"
    norm_offset: float = 0.0
    activation: str = "act_fn"
    mlp_projection: str = "down_proj"
    gated: bool = True


_QUERY_NORMS = ("self_attn.q_norm", "self_attn.k_norm")


_LLAMA_LIKE = Architecture(
    "model.layers", "self_attn.o_proj", "mlp", "post_attention_layernorm"
)
_GEMMA_LIKE = Architecture(
    "model.layers",
    "self_attn.o_proj",
    "post_feedforward_layernorm",
    "pre_feedforward_layernorm",
    mlp_norm="pre_feedforward_layernorm",
    heads_norm="post_attention_layernorm",
    norm_offset=1.0,
)

ARCHITECTURES = {
    "gemma2": _GEMMA_LIKE,
    "gemma3_text": replace(_GEMMA_LIKE, query_norms=_QUERY_NORMS),
    "gpt2": Architecture(
        "transformer.h",
        "attn.c_proj",
        "mlp",
        "ln_2",
        "attn",
        projections=("attn.c_attn",),
        fused="blocks",
        attention_norm="ln_1",
        mlp_norm="ln_2",
        final_norm="transformer.ln_f",
        activation="act",
        mlp_projection="c_proj",
        gated=False,
    ),
    "gpt_neox": Architecture(
        "gpt_neox.layers",
        "attention.dense",
        "mlp",
        "post_attention_layernorm",
        "attention",
        projections=("attention.query_key_value",),
        fused="heads",
        final_norm="gpt_neox.final_layer_norm",
        activation="act",
        mlp_projection="dense_4h_to_h",
        gated=False,
    ),
    "llama": _LLAMA_LIKE,
    "mistral": _LLAMA_LIKE,
    # There is no norm before heads and MLP: they read the residual stream directly.
    "olmo2": Architecture(
        "model.layers",
        "self_attn.o_proj",
        "post_feedforward_layernorm",
        "mlp",
        attention_norm=None,
        mlp_norm=None,
        heads_norm="post_attention_layernorm",
        query_norms=_QUERY_NORMS,
        joint_norms=("self_attn.k_norm",),
    ),
    "phi3": replace(
        _LLAMA_LIKE,
        projections=("self_attn.qkv_proj",),
        fused="blocks",
        activation="activation_fn",
    ),
    "qwen2": _LLAMA_LIKE,
    "qwen3": replace(_LLAMA_LIKE, query_norms=_QUERY_NORMS),
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


def couples_heads(model_type: str) -> bool:
    """Return whether a head depends on the queries and keys of all heads of its layer.

    So it is where a norm is applied to those of all heads at once.
    """
    return bool(architecture_of(model_type).joint_norms)


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


@dataclass(frozen=True)
class Norm:
    """A norm of the residual stream: `weight * x / root of the mean square`, and so on.

    Attributes:
        weight: `(d_model,)`, with the family's offset.
        bias: `(d_model,)`, None where there is none.
        eps: added to the mean square.
        centred: whether the mean of `x` is subtracted before (LayerNorm).
    """

    weight: Tensor
    bias: Tensor | None
    eps: float
    centred: bool


@dataclass(frozen=True)
class LayerReaders:
    """The modules by which a layer reads the residual stream.

    Attributes:
        attention: the attention module.
        projections: of queries, keys and values, see `Architecture`.
        fused: how the output of a single one is divided, see `Architecture`.
        mlp_input: the module whose first argument is what the MLP reads.
        attention_norm: before the projections, None where there is none.
        mlp_norm: before the MLP, likewise.
        heads_norm: over the sum of the heads, likewise.
        joint_norms: over the keys of all heads at once.
    """

    attention: nn.Module
    projections: tuple[nn.Module, ...]
    fused: str
    mlp_input: nn.Module
    attention_norm: nn.Module | None
    mlp_norm: nn.Module | None
    heads_norm: nn.Module | None
    joint_norms: tuple[nn.Module, ...]


def layer_readers(model: nn.Module) -> list[LayerReaders]:
    """Return by layer the modules that read the residual stream."""
    row = architecture_of(model.config.model_type)

    def named(layer: nn.Module, name: str | None) -> nn.Module | None:
        return name and layer.get_submodule(name)

    return [
        LayerReaders(
            layer.get_submodule(row.attention),
            tuple(layer.get_submodule(each) for each in row.projections),
            row.fused,
            layer.get_submodule(row.after_heads),
            named(layer, row.attention_norm),
            named(layer, row.mlp_norm),
            named(layer, row.heads_norm),
            tuple(layer.get_submodule(each) for each in row.joint_norms),
        )
        for layer in model.get_submodule(row.layers)
    ]


def final_norm(model: nn.Module) -> nn.Module:
    """Return the norm before the unembedding: what reads the stream for the logits."""
    return model.get_submodule(architecture_of(model.config.model_type).final_norm)


def norm_of(model: nn.Module, module: nn.Module) -> Norm:
    """Return what a norm of a model computes."""
    eps = getattr(module, "eps", None)
    return Norm(
        module.weight + architecture_of(model.config.model_type).norm_offset,
        getattr(module, "bias", None),
        module.variance_epsilon if eps is None else eps,
        # By its name: a subclass of another library may compute it faster.
        centred="LayerNorm" in type(module).__name__,
    )


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
    """Return the weight of a projection as `(outputs, inputs)`."""
    return outputs_first(module, module.weight)


def outputs_first(module: nn.Module, weight: Tensor) -> Tensor:
    """Return what has a number for each weight of a projection as `(outputs, inputs)`.

    GPT-2 stores weights transposed.

    Args:
        module: the projection.
        weight: of the shape of its weight; the result is a view.
    """
    return weight if hasattr(module, "in_features") else weight.T


def layer_matrices(model: nn.Module) -> dict[str, nn.Module]:
    """Return by name the modules of the layers that apply a matrix to every token.

    These are the projections of attention and MLP, whatever a family calls them; norms,
    embeddings and the unembedding have none or are in no layer.
    """
    names = {module: name for name, module in model.named_modules()}
    return {
        names[module]: module
        for layer, _, _ in layer_modules(model)
        for module in layer.modules()
        if getattr(getattr(module, "weight", None), "ndim", 0) == 2
    }
