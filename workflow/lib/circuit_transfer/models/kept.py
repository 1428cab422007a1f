"""Which parts of a model are kept when it is pruned, and which models can be.

Nothing here needs torch, so that a configuration is checked without it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from circuit_transfer.models.architectures import ARCHITECTURES, Architecture
from circuit_transfer.models.nodes import node_names


@dataclass(frozen=True)
class Kept:
    """The parts of a model that are kept, each by its number in the model, in order.

    Attributes:
        layers: the layers.
        heads: by kept layer, the query heads, as many in each.
        kv_heads: by kept layer, the heads of their keys and values.
        neurons: by kept layer, the neurons of the MLP.
        dimensions: those of the residual stream.
    """

    layers: tuple[int, ...]
    heads: tuple[tuple[int, ...], ...]
    kv_heads: tuple[tuple[int, ...], ...]
    neurons: tuple[tuple[int, ...], ...]
    dimensions: tuple[int, ...]

    @classmethod
    def read(cls, notes: Mapping[str, Any]) -> Self:
        """Return what `noted` has written as JSON."""
        return cls(**{name: _frozen(value) for name, value in notes.items()})

    def noted(self) -> dict[str, Any]:
        """Return the parts in what JSON can hold."""
        return asdict(self)

    def shape(self) -> dict[str, int]:
        """Return the sizes of a model that has these parts alone."""
        return {
            "layers": len(self.layers),
            "heads": len(self.heads[0]),
            "kv_heads": len(self.kv_heads[0]),
            "d_model": len(self.dimensions),
            "d_mlp": len(self.neurons[0]),
        }

    def nodes(self) -> dict[str, str]:
        """Return by node of the pruned model its name in the whole one."""
        parents = [
            name
            for layer, heads in zip(self.layers, self.heads, strict=True)
            for name in (*(f"a{layer}.h{head}" for head in heads), f"m{layer}")
        ]
        own = node_names(len(self.layers), len(self.heads[0]))
        return dict(zip(own, parents, strict=True))


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, Sequence) else value


def check_prunable(model_type: str) -> None:
    """Check that models of a family can be pruned.

    Their queries, keys and values have a matrix each, and all that is between the nodes
    is a residual stream whose norms divide by the root mean square of their input: a
    dimension that is zero can be left out.

    Raises:
        ValueError: they cannot; the message lists those that can.
    """
    known = [name for name, row in ARCHITECTURES.items() if _is_prunable(row)]
    if model_type not in known:
        raise ValueError(
            f"models of the family {model_type!r} cannot be pruned; expected one of "
            f"{', '.join(known)}"
        )


def _is_prunable(row: Architecture) -> bool:
    follows = row.heads_norm or row.joint_norms or row.mlp != row.feed_forward
    return row.attention_norm is not None and not row.fused and not follows
