"""The sizes of a model that memory, operations and its nodes follow from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from circuit_transfer.models.architectures import architecture_of, node_sites

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

FLOAT32_BYTES = 4
BYTES = {"bfloat16": 2, "float16": 2, "float32": FLOAT32_BYTES}


@dataclass(frozen=True)
class ModelShape:
    """The sizes of a model that its costs depend on.

    Attributes:
        dtype: the format it computes in, `float32`, `bfloat16` or `float16`.
        stored_dtype: the format of its published weights.
        parameters: all of them, tied ones once.
        matrices: parameters of the layers' matrices, which multiply every position.
        unembedding: parameters of the matrix that multiplies the last position alone.
        n_nodes: attention heads and MLP blocks.
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

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weights in memory."""
        return self.parameters * BYTES[self.dtype]

    @property
    def stored_bytes(self) -> int:
        """Bytes of the published weights."""
        return self.parameters * BYTES[self.stored_dtype]

    @property
    def node_bytes(self) -> int:
        """Bytes of what all nodes write at one position: every `z` and MLP output."""
        width = self.heads * self.d_head + self.d_model
        return self.layers * width * BYTES[self.dtype]

    @property
    def kept_bytes(self) -> int:
        """Bytes that a pass keeps of one position until its backward pass, at most.

        In every layer, without gradients of parameters: four times the MLP's width (a
        gated one keeps three), queries, keys, values and their mixture (keys and values
        as if there were one a query head), what the nodes write, since they are
        intervened on, and the input of two norms in float32.
        """
        d_attention = self.heads * self.d_head
        numbers = 4 * self.d_mlp + 5 * d_attention + self.d_model
        norms = 2 * self.d_model * FLOAT32_BYTES
        return self.layers * (numbers * BYTES[self.dtype] + norms)

    def forward_flops(self, tokens: int) -> int:
        """FLOPs of a prompt's forward pass; norms and activations are not counted."""
        products = self.matrices * tokens + self.unembedding
        return 2 * products + self._attention_flops(tokens)

    def backward_flops(self, tokens: int) -> int:
        """FLOPs of the gradients of a prompt's activations, down to its embeddings.

        As many again for a matrix, whose own gradient is not needed, and twice as many
        for a product of two activations. Passes that stop at a site do less.
        """
        return self.forward_flops(tokens) + self._attention_flops(tokens)

    def _attention_flops(self, tokens: int) -> int:
        # Queries with keys, weights with values: all pairs of positions, as computed,
        # though half of them are masked.
        return 4 * self.layers * self.heads * self.d_head * tokens**2


def model_shape(config: "PreTrainedConfig", *, dtype: str | None = None) -> ModelShape:
    """Read a model's sizes off its skeleton, which is built without weights.

    Args:
        config: the model's configuration.
        dtype: the format to compute in; by default that of the published weights.

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
    )


def described_shape(description: Mapping) -> ModelShape:
    """Return the sizes that the description of a model tells, none of them too small.

    All parameters are taken to be in matrices. A description that is older than its
    widths gets the usual ones.

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
    )


def skeleton(config: "PreTrainedConfig"):
    """Build a model of a configuration on the meta device, without memory for weights.

    Attention is eager: the other implementations look at the mask, which has no values.
    """
    # Imported here: to plan jobs, whose models are described, takes neither.
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config, attn_implementation="eager")


def head_width(config) -> int:
    """Return how many numbers one attention head writes at a position."""
    own = getattr(config, "head_dim", None)
    return own or config.hidden_size // config.num_attention_heads


def mlp_width(config) -> int:
    """Return how many neurons an MLP block has."""
    # GPT-2 has another name for it, and a default that only its modules know.
    names = ("intermediate_size", "n_inner")
    widths = (getattr(config, name, None) for name in names)
    return next(filter(None, widths), 4 * config.hidden_size)
