"""A model of any family whose matrices are zero, and how a circuit is written into it.

All matrices are given in units of the signal: what a module reads is divided by the
scale that the norm before it gives to the signal, a known number, see `basis`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from circuit_transfer.embedded.planted.basis import Basis
from circuit_transfer.interventions.projections import joined, readers_of_kinds
from circuit_transfer.models.architectures import (
    architecture_of,
    layer_modules,
    layer_readers,
    node_sites,
    projection_weight,
)
from circuit_transfer.models.edges import KINDS
from circuit_transfer.models.shape import head_width

# Where the activations of all families are the identity, up to 1e-9.
LINEAR = 30.0
MOST_POSITIONS = 64


@dataclass(frozen=True)
class Sizes:
    """The sizes of a planted model.

    Attributes:
        layers: number of layers.
        heads: attention heads per layer.
        kv_heads: keys and values per layer; as many as heads in families without
            grouped queries.
        width: of the residual stream.
        d_mlp: neurons of an MLP; not `width`.
    """

    layers: int
    heads: int
    kv_heads: int
    width: int
    d_mlp: int


def has_grouped_queries(family: str) -> bool:
    """Return whether models of a family can have fewer keys than queries."""
    return hasattr(AutoConfig.for_model(family), "num_key_value_heads")


def blank_model(
    family: str, sizes: Sizes, vocabulary: int, **settings: Any
) -> PreTrainedModel:
    """Return a float64 model whose matrices and biases are zero, its norms of weight 1.

    Args:
        family: a `model_type` of `transformers`.
        sizes: of the model.
        vocabulary: number of tokens.
        settings: further settings of the configuration.
    """
    offset = architecture_of(family).norm_offset
    d_head, known = sizes.width // sizes.heads, AutoConfig.for_model(family)
    wanted = {
        "vocab_size": vocabulary,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "num_key_value_heads": sizes.kv_heads,
        "hidden_size": sizes.width,
        "head_dim": d_head,
        "query_pre_attn_scalar": d_head,
        "intermediate_size": sizes.d_mlp,
        "n_inner": sizes.d_mlp,
        "max_position_embeddings": MOST_POSITIONS,
        "tie_word_embeddings": False,
        "use_cache": False,
    }
    # Of the tokenizer's tokens, not of the family's.
    wanted |= dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"))
    own = {key: each for key, each in wanted.items() if hasattr(known, key)}
    config = AutoConfig.for_model(family, **(own | settings))
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float64)
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            scales = "Norm" in type(module).__name__ and name == "weight"
            parameter.data.fill_(1 - offset if scales else 0.0)
    return model.requires_grad_(False).eval()


class Planter:
    """Writes readers and writers of a circuit into a blank model.

    Where a norm follows the sum of the heads or the MLP, a head and a neuron write a
    constant as large as that of the embeddings, along its direction, so that the norm
    is linear too. The first value of the first key-value head is then in use, and the
    first neuron. Likewise for a norm over all queries or keys of a layer.
    """

    def __init__(self, model: PreTrainedModel, basis: Basis, constant: float) -> None:
        """Take a blank model and the size of the constant component."""
        self.model, self.basis, self.constant = model, basis, constant
        self.offset = architecture_of(model.config.model_type).norm_offset
        self.d_head = head_width(model.config)
        self._readers, self._sites = layer_readers(model), node_sites(model)
        self._mlps = [each[2] for each in layer_modules(model)]
        self._norms_follow = self._readers[0].heads_norm is not None

    def embed(self, codes: Tensor) -> None:
        """Set the token embeddings: codes `(vocabulary, width)` and the constant."""
        embedding = self.model.get_input_embeddings()
        scale = getattr(embedding, "embed_scale", 1.0)
        values = codes + self.constant * self.basis.constant
        embedding.weight.copy_(values / scale)

    def unembed(self, matrix: Tensor) -> None:
        """Set what the logits read, `(vocabulary, width)`."""
        scale = self.scale(2 * len(self._readers), normed=True)
        self.model.get_output_embeddings().weight.copy_(matrix / scale)

    def scale(self, constants: int, *, normed: bool) -> float:
        """Return by what a signal is multiplied between stream and reader.

        Args:
            constants: how many were added to that of the embeddings before.
            normed: whether a norm precedes the reader.
        """
        if not normed:
            return 1.0
        return self.model.config.hidden_size**0.5 / self._constant_after(constants)

    def one(self, constants: int) -> Tensor:
        """Return what reads 1 from the constant component, `(width,)`; see `scale`."""
        return self.basis.constant / self._constant_after(constants)

    @property
    def d_mlp(self) -> int:
        """Neurons of an MLP."""
        return projection_weight(self._mlp_modules(0)[-1]).shape[1]

    def _constant_after(self, constants: int) -> float:
        return self.constant * (1 + constants * self._norms_follow)

    def set_attention(self, layer: int, reads: Mapping[str, Tensor]) -> None:
        """Set what a layer's heads read: by kind `(readers, d_head, width)`."""
        own = self._readers[layer]
        sizes = readers_of_kinds(self.model)
        shape = (self.d_head, self.basis.width)
        blank = {kind: torch.zeros(sizes[kind], *shape).double() for kind in KINDS}
        reads = {kind: reads.get(kind, blank[kind]).clone() for kind in KINDS}
        constant = self.one(2 * layer)
        if own.joint_norms:
            self._linearise_queries(layer, reads, constant)
        if self._norms_follow:
            reads["v"][0, 0] = constant
        scale = self.scale(2 * layer, normed=own.attention_norm is not None)
        parts = [(reads[kind] / scale).permute(2, 0, 1) for kind in KINDS]
        for number, module in enumerate(own.projections):
            some = parts if own.fused else [parts[number]]
            projection_weight(module).copy_(joined(some, own.fused).T)

    def _linearise_queries(self, layer: int, reads: dict, constant: Tensor) -> None:
        """Give the norms over all queries and over all keys a constant each.

        The two are in different pairs of rotary positions, which are otherwise zero, so
        that they add nothing to a product of a query and a key.
        """
        half = self.d_head // 2
        attention = self._readers[layer].attention
        for place, kind in enumerate("qk"):
            reads[kind][:, [0, 1, half, half + 1]] = 0.0
            reads[kind][0, place] = constant * self.constant
            norm = getattr(attention, f"{kind}_norm")
            norm.weight.fill_(self.constant / len(norm.weight) ** 0.5)

    def set_heads(self, layer: int, writes: Tensor) -> None:
        """Set what heads write, `(heads, width, d_head)`."""
        writes = writes.clone()
        if self._norms_follow:
            writes[:, :, 0] = 0.0
            writes[0, :, 0] = self.constant * self.basis.constant
            self._linearise(self._readers[layer].heads_norm)
        module = self._sites[2 * layer][0]
        projection_weight(module).copy_(torch.cat(tuple(writes), dim=1))

    @property
    def mlp_reads(self) -> int:
        """How many numbers a neuron reads: two with a gate, which is the first."""
        rows = [len(projection_weight(each)) for each in self._mlp_modules(0)[:-1]]
        return sum(rows) // self.d_mlp

    def set_mlp(self, layer: int, reads: Tensor, writes: Tensor) -> None:
        """Set an MLP.

        Args:
            layer: number of the layer.
            reads: `(mlp_reads, d_mlp, width)`.
            writes: `(width, d_mlp)`.
        """
        reads, writes = reads.clone(), writes.clone()
        seen = 2 * layer + 1
        site, norm = self._mlps[layer], self._sites[2 * layer + 1][0]
        if norm is not site:
            reads[:, 0] = LINEAR * self.one(seen)
            writes[:, 0] = self.constant * self.basis.constant / LINEAR ** len(reads)
            self._linearise(norm)
        normed = self._readers[layer].mlp_norm is not None
        rows = (reads / self.scale(seen, normed=normed)).flatten(0, 1)
        *readers, writer = self._mlp_modules(layer)
        sizes = [len(projection_weight(each)) for each in readers]
        for module, part in zip(readers, rows.split(sizes), strict=True):
            projection_weight(module).copy_(part)
        projection_weight(writer).copy_(writes)

    def _mlp_modules(self, layer: int) -> list[nn.Module]:
        """Return the matrices of an MLP in order of computation, gate first."""
        modules = self._mlps[layer].modules()
        return [each for each in modules if getattr(each, "weight", None) is not None]

    def _linearise(self, norm: nn.Module) -> None:
        """Let a norm return its input, which has the constant component."""
        scale = self.constant / self.basis.width**0.5
        norm.weight.fill_(scale - self.offset)
