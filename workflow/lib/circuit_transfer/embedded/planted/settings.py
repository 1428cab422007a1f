"""Settings of the constructions, and which there are.

Nothing here needs torch, so that a configuration is checked without it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from circuit_transfer.messages import quoted
from circuit_transfer.models.architectures import architecture_of


@dataclass(frozen=True)
class Subspaces:
    """Settings of the construction.

    Attributes:
        family: a `model_type` of `transformers`.
        layers: number of layers.
        heads: attention heads per layer.
        kv_heads: keys and values per layer; None for half as many as heads, or as many
            in families without grouped queries.
        density: probability of an edge.
        seed: of edges, weights and rotation.
        constant: size of the component that makes norms linear, see `basis`.
    """

    family: str = "llama"
    layers: int = 2
    heads: int = 4
    kv_heads: int | None = None
    density: float = 0.3
    seed: int = 0
    constant: float = 2e3

    def __post_init__(self) -> None:
        """Check family and heads.

        Raises:
            ValueError: the family is not supported, or the heads do not share the keys
                evenly.
        """
        architecture_of(self.family)
        if self.kv_heads is not None and self.heads % self.kv_heads:
            raise ValueError(
                f"kv_heads: {self.kv_heads} does not divide the number of heads, "
                f"{self.heads}"
            )


@dataclass(frozen=True)
class Induction:
    """Settings of the construction.

    Attributes:
        layers: number of layers, the same in all.
        heads: attention heads per layer, likewise.
        sharpness: scale of the queries. At 1.5 the head attends to several positions;
            at 6 to one, where the gradient of its softmax vanishes.
        seed: of the rotation, and of what nothing reads.
        constant: size of the component that makes norms linear, see `basis`.
    """

    layers: ClassVar[int] = 2
    heads: ClassVar[int] = 2
    sharpness: float = 1.5
    seed: int = 0
    constant: float = 2e3


@dataclass(frozen=True)
class Relays:
    """Settings of the construction.

    Attributes:
        layers: number of layers.
        heads: attention heads per layer, each with a key of its own.
        density: probability of an edge to the value of a head, an MLP or the logits.
        seed: of edges, weights and rotation.
        constant: size of the component that makes norms linear, see `basis`.
    """

    layers: int = 3
    heads: int = 4
    density: float = 0.5
    seed: int = 0
    constant: float = 2e3


@dataclass(frozen=True)
class Gates:
    """Settings of the construction.

    Attributes:
        layers: number of layers, the same in all.
        heads: attention heads per layer, likewise.
        seed: of the rotation, and of what nothing reads.
        constant: size of the component that makes norms linear, see `basis`.
    """

    layers: ClassVar[int] = 3
    heads: ClassVar[int] = 4
    seed: int = 0
    constant: float = 2e3


@dataclass(frozen=True)
class Backup:
    """Settings of the construction.

    Attributes:
        layers: number of layers, at least 2.
        heads: attention heads per layer, each with a key of its own: at least 4 in all
            layers but the last one, and 2 in that one.
        seed: of the places of the heads, of the rotation, and of what nothing reads.
        constant: size of the component that makes norms linear, see `basis`.
    """

    layers: int = 3
    heads: int = 4
    seed: int = 0
    constant: float = 2e3

    def __post_init__(self) -> None:
        """Check that there are enough heads.

        Raises:
            ValueError: there are not.
        """
        if self.heads < 2 or (self.layers - 1) * self.heads < 4:
            raise ValueError(
                f"layers: {self.layers} with {self.heads} heads are too few; expected "
                "at least 2 heads, and 4 in all layers but the last one"
            )


Settings = Subspaces | Induction | Relays | Gates | Backup
CONSTRUCTIONS: Mapping[str, type[Settings]] = {
    "subspaces": Subspaces,
    "induction": Induction,
    "relays": Relays,
    "gates": Gates,
    "backup": Backup,
}
# The generator of the prompts that the models of a construction answer.
GENERATORS = {
    "subspaces": "planted-classes",
    "induction": "planted-induction",
    "relays": "planted-classes",
    "gates": "planted-classes",
    "backup": "planted-classes",
}


def planted_settings(entry: Mapping[str, Any]) -> Settings:
    """Return the settings of a `planted:` entry of the configuration.

    Args:
        entry: `construction`, and settings of the construction.

    Raises:
        ValueError: there is no such construction, it has no such setting, or there is
            no such model.
    """
    name = entry["construction"]
    if name not in CONSTRUCTIONS:
        known = ", ".join(CONSTRUCTIONS)
        raise ValueError(f"construction {quoted(repr(name))}: expected one of {known}")
    own = {key: each for key, each in entry.items() if key != "construction"}
    known = [field.name for field in fields(CONSTRUCTIONS[name])]
    for key in own:
        if key not in known:
            raise ValueError(
                f"{key}: {name} has no such setting; it has {', '.join(known)}"
            )
    return CONSTRUCTIONS[name](**own)
