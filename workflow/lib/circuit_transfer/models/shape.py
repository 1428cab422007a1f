"""The sizes of a model that determine its memory, operations and number of nodes."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING

from circuit_transfer.models.architectures import (
    architecture_of,
    has_parallel_mlp,
    node_sites,
)
from circuit_transfer.models.edges import Graph, edge_graph

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

FLOAT32_BYTES = 4
BYTES = {"bfloat16": 2, "float16": 2, "float32": FLOAT32_BYTES}


@dataclass(frozen=True)
class ModelShape:
    """The sizes of a model that its costs depend on.

    Attributes:
        dtype: data type of the computation, `float32`, `bfloat16` or `float16`.
        stored_dtype: data type of the published weights.
        parameters: number of parameters, tied ones counted once.
        matrices: parameters of the layers' matrices, applied at every position.
        unembedding: parameters of the unembedding, applied at the last position only.
        vocabulary: number of tokens.
        layers: number of layers.
        heads: attention heads per layer.
        d_head: width of a head.
        d_model: width of the residual stream.
        d_mlp: neurons of an MLP block.
        n_nodes: attention heads and MLP blocks of all layers.
        kv_heads: keys and values per layer.
        parallel_mlp: whether the MLP of a layer reads what its heads read.
    """

    dtype: str
    stored_dtype: str
    parameters: int
    matrices: int
    unembedding: int
    vocabulary: int
    layers: int
    heads: int
    d_head: int
    d_model: int
    d_mlp: int
    n_nodes: int
    kv_heads: int
    parallel_mlp: bool

    def graph(self, kv: str) -> Graph:
        """Return the edges, see `edges.edge_graph`."""
        sizes = self.layers, self.heads, self.kv_heads
        return edge_graph(*sizes, kv=kv, parallel_mlp=self.parallel_mlp)

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weights in memory."""
        return self.parameters * BYTES[self.dtype]

    @property
    def stored_bytes(self) -> int:
        """Bytes of the published weights."""
        return self.parameters * BYTES[self.stored_dtype]

    @property
    def float32_bytes(self) -> int:
        """Bytes of the weights of a student that was trained."""
        return self.parameters * FLOAT32_BYTES

    @property
    def node_bytes(self) -> int:
        """Bytes of all node outputs at one position: every `z` and MLP output."""
        width = self.heads * self.d_head + self.d_model
        return self.layers * width * BYTES[self.dtype]

    @property
    def saved_bytes(self) -> int:
        """Upper bound on the bytes saved for the backward pass, per position.

        In every layer, without parameter gradients: four times the width of the MLP (a
        gated MLP saves three), queries, keys, values and attention outputs (with one
        key and value per query head), the outputs of the nodes, since they are
        intervened on, and the inputs of two norms in float32.
        """
        d_attention = self.heads * self.d_head
        numbers = 4 * self.d_mlp + 5 * d_attention + self.d_model
        norms = 2 * self.d_model * FLOAT32_BYTES
        return self.layers * (numbers * BYTES[self.dtype] + norms)

    def edge_bytes(self, kv: str, positions: int, buffers: int = 1) -> int:
        """Bytes that edges take in a pass, beside what the model takes.

        Of all readers what they compute, and buffers as wide as the model, of all
        writers and of the readers of the layer that is at work.

        Args:
            kv: which readers there are, see `edges.edge_graph`.
            positions: of all prompts in the pass.
            buffers: how many there are.
        """
        graph = self.graph(kv)
        of_heads = graph.heads + 2 * graph.kv_readers
        wide = buffers * (len(graph.writers) + of_heads) * self.d_model
        of_layer = of_heads * self.d_head + self.d_model
        values = wide + (graph.layers + 1) * of_layer
        return positions * values * BYTES[self.dtype]

    def forward_flops(self, tokens: int) -> int:
        """FLOPs of the forward pass of a prompt, without norms and activations."""
        products = self.matrices * tokens + self.unembedding
        return 2 * products + self._attention_flops(tokens)

    def backward_flops(self, tokens: int) -> int:
        """FLOPs of the backward pass of a prompt, from the logits to the embeddings.

        As many as in the forward pass for a weight matrix, whose own gradient is not
        needed, and twice as many for a product of two activations. An upper bound for
        passes that stop at a site.
        """
        return self.forward_flops(tokens) + self._attention_flops(tokens)

    @property
    def head_share(self) -> float:
        """The share of the heads' weights in the matrices of the layers."""
        of_layer = 2 * self.d_model * self.d_head * (self.heads + self.kv_heads)
        return self.layers * of_layer / self.matrices

    def weight_flops(self, tokens: int) -> int:
        """FLOPs of the gradients of all matrices of the layers, for a prompt.

        In addition to the backward pass, where weights are trained. The gradients of
        the embeddings and of the unembedding, which has one position, are left out.
        """
        return 2 * self.matrices * tokens

    def _attention_flops(self, tokens: int) -> int:
        # Queries times keys, weights times values: all pairs of positions are computed,
        # although half of them are masked.
        return 4 * self.layers * self.heads * self.d_head * tokens**2


def model_shape(config: "PreTrainedConfig", *, dtype: str | None = None) -> ModelShape:
    """Return the sizes of a model by its configuration, without loading weights.

    Args:
        config: the configuration of the model.
        dtype: data type of the computation; by default that of the published weights.

    Raises:
        ValueError: the family is not supported.
    """
    row = architecture_of(config.model_type)
    model = skeleton(config)
    layers = model.get_submodule(row.layers)
    stored = str(getattr(config, "dtype", None) or "float32").removeprefix("torch.")
    return ModelShape(
        dtype=dtype or stored,
        stored_dtype=stored,
        parameters=sum(each.numel() for each in model.parameters()),
        matrices=sum(each.numel() for each in layers.parameters() if each.dim() > 1),
        unembedding=model.get_output_embeddings().weight.numel(),
        vocabulary=config.vocab_size,
        layers=len(layers),
        heads=config.num_attention_heads,
        d_head=head_width(config),
        d_model=config.hidden_size,
        d_mlp=mlp_width(config),
        n_nodes=sum(n_nodes for _, _, n_nodes in node_sites(model)),
        kv_heads=getattr(config, "num_key_value_heads", None)
        or config.num_attention_heads,
        parallel_mlp=has_parallel_mlp(config),
    )


def described_shape(description: Mapping) -> ModelShape:
    """Return the sizes in the description of a model, as upper bounds.

    All parameters are counted as matrices. Descriptions written by older versions lack
    `d_head` and `d_mlp`, for which the usual values are taken.

    Args:
        description: see `models.describe_model`.
    """
    d_model, heads = description["d_model"], description["heads"]
    return ModelShape(
        dtype=description["dtype"],
        stored_dtype=description["dtype"],
        parameters=description["parameters"],
        matrices=description["parameters"],
        unembedding=description["vocabulary"] * d_model,
        vocabulary=description["vocabulary"],
        layers=description["layers"],
        heads=heads,
        d_head=description.get("d_head", d_model // heads),
        d_model=d_model,
        d_mlp=description.get("d_mlp", 4 * d_model),
        n_nodes=len(description["nodes"]),
        kv_heads=description["kv_heads"],
        parallel_mlp=description["parallel_mlp"],
    )


def skeleton(config: "PreTrainedConfig"):
    """Build the model of a configuration on the meta device, without its weights.

    Attention is eager, since the other implementations read the values of the mask.
    """
    # Imported here, since planning the jobs needs neither.
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        # A copy, since the kind of attention is set in the configuration itself.
        return AutoModelForCausalLM.from_config(
            deepcopy(config), attn_implementation="eager"
        )


def context_length(config) -> int:
    """Return the longest prompt that a model takes, in tokens.

    Dynamic NTK extends the context by a factor; its `max_position_embeddings` is the
    context before that.
    """
    rope = getattr(config, "rope_parameters", None) or {}
    # One entry, or one for each kind of layer.
    entries = [each for each in (rope, *rope.values()) if isinstance(each, Mapping)]
    dynamic = [each for each in entries if each.get("rope_type") == "dynamic"]
    factor = max((each["factor"] for each in dynamic), default=1)
    return int(factor * config.max_position_embeddings)


def head_width(config) -> int:
    """Return the width of the output of an attention head."""
    head_dim = getattr(config, "head_dim", None)
    return head_dim or config.hidden_size // config.num_attention_heads


def mlp_width(config) -> int:
    """Return the number of neurons of an MLP block."""
    # GPT-2 has another key, whose default is defined in its modules only.
    names = ("intermediate_size", "n_inner")
    widths = (getattr(config, name, None) for name in names)
    return next(filter(None, widths), 4 * config.hidden_size)
