"""Choose what is kept of a model that is pruned, by importance or by name.

Nothing here needs torch, so that a configuration is checked without it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from circuit_transfer.models.kept import Kept
from circuit_transfer.models.nodes import node_names

# In which what goes is faded out, if the configuration gives no other number.
FADE_STEPS = 1000
SHAPE = ("layers", "heads", "kv_heads", "d_model", "d_mlp")
Keep = Mapping[str, Any]


@dataclass(frozen=True)
class Importance:
    """How important the parts of a model are.

    Attributes:
        nodes: by node, in order.
        neurons: by layer and neuron of its MLP.
        dimensions: by dimension of the residual stream.
    """

    nodes: Sequence[float]
    neurons: Sequence[Sequence[float]]
    dimensions: Sequence[float]


def equal_importance(shape: Mapping[str, int]) -> Importance:
    """Return the importance of the parts of a model that are all as important.

    Args:
        shape: its sizes, by the names in `SHAPE`.
    """
    layers = shape["layers"]
    return Importance(
        nodes=[0.0] * layers * (shape["heads"] + 1),
        neurons=[[0.0] * shape["d_mlp"]] * layers,
        dimensions=[0.0] * shape["d_model"],
    )


def kept_shape(keep: Keep, shape: Mapping[str, int]) -> dict[str, int]:
    """Return the sizes of a pruned model.

    Args:
        keep: by size, how many are kept, or which ones: numbers of layers, names of
            heads. What it does not name is kept whole.
        shape: sizes of the whole model, by the names in `SHAPE`.

    Raises:
        ValueError: the model lacks what is kept, or what is kept is no model.
    """
    kept = {name: shape[name] for name in SHAPE}
    for name, value in keep.items():
        if not isinstance(value, int):
            continue
        if value > shape[name]:
            raise ValueError(
                f"{name}: {value}, expected at most the {shape[name]} of the model "
                "that is pruned"
            )
        kept[name] = value
    if isinstance(keep.get("layers"), list):
        _check_layers(keep["layers"], shape["layers"])
        kept["layers"] = len(keep["layers"])
    if isinstance(keep.get("heads"), list):
        named = _by_layer(keep["heads"], shape)
        kept["layers"] = _check_named(named, keep, shape)
        kept["heads"], kept["kv_heads"] = _named_sizes(named, shape)
    else:
        groups, size = _groups(kept["heads"], shape)
        kept["heads"], kept["kv_heads"] = groups * size, groups
    return kept


def choose(keep: Keep, shape: Mapping[str, int], importance: Importance) -> Kept:
    """Return what is kept: the most important parts, as many as are requested.

    Layers first, by the sum of their nodes; then in every kept layer as many heads:
    whole groups that share their keys and values if these make up the number, or else
    as many of every group; then neurons of every kept layer and dimensions. Of equally
    important parts, the first ones.

    Args:
        keep: as in `kept_shape`, like the shape and the errors.
        shape: sizes of the whole model.
        importance: of its parts.
    """
    sizes = kept_shape(keep, shape)
    names = node_names(shape["layers"], shape["heads"])
    of_node = dict(zip(names, importance.nodes, strict=True))
    named = keep.get("heads")
    by_layer = _by_layer(named, shape) if isinstance(named, list) else None
    layers = _kept_layers(keep, shape, by_layer, of_node, sizes["layers"])
    group = shape["heads"] // shape["kv_heads"]
    heads = [
        tuple(sorted(by_layer[layer]))
        if by_layer is not None
        else _kept_heads(
            [of_node[f"a{layer}.h{head}"] for head in range(shape["heads"])],
            sizes,
            group,
        )
        for layer in layers
    ]
    return Kept(
        layers=layers,
        heads=tuple(heads),
        kv_heads=tuple(tuple(sorted({h // group for h in each})) for each in heads),
        neurons=tuple(_best(importance.neurons[n], sizes["d_mlp"]) for n in layers),
        dimensions=_best(importance.dimensions, sizes["d_model"]),
    )


def _kept_layers(
    keep: Keep,
    shape: Mapping[str, int],
    by_layer: Mapping[int, Sequence[int]] | None,
    of_node: Mapping[str, float],
    count: int,
) -> tuple[int, ...]:
    if isinstance(keep.get("layers"), list):
        return tuple(sorted(keep["layers"]))
    if by_layer is not None:
        return tuple(sorted(by_layer))
    totals = [0.0] * shape["layers"]
    for name, value in of_node.items():
        totals[int(name.split(".")[0][1:])] += value
    return _best(totals, count)


def _kept_heads(
    scores: Sequence[float], sizes: Mapping[str, int], group: int
) -> tuple[int, ...]:
    """Return the kept heads of a layer by the importance of all."""
    groups = [range(first, first + group) for first in range(0, len(scores), group)]
    totals = [sum(scores[head] for head in heads) for heads in groups]
    size = sizes["heads"] // sizes["kv_heads"]
    return tuple(
        groups[number][place]
        for number in _best(totals, sizes["kv_heads"])
        for place in _best([scores[head] for head in groups[number]], size)
    )


def _groups(heads: int, shape: Mapping[str, int]) -> tuple[int, int]:
    """Return how many groups of heads are kept, and how many heads of each."""
    group = shape["heads"] // shape["kv_heads"]
    if heads % group == 0:
        return heads // group, group
    if heads % shape["kv_heads"] == 0:
        return shape["kv_heads"], heads // shape["kv_heads"]
    known = [
        number
        for number in range(1, shape["heads"] + 1)
        if number % group == 0 or number % shape["kv_heads"] == 0
    ]
    raise ValueError(
        f"heads: {heads}, of {shape['kv_heads']} groups of {group} that share their "
        "keys and values; expected whole groups, or as many heads of every group: one "
        f"of {', '.join(map(str, known))}"
    )


def _check_layers(layers: Iterable[int], count: int) -> None:
    for layer in layers:
        if layer >= count:
            raise ValueError(
                f"layers: no layer {layer} in the model that is pruned; expected "
                f"numbers from 0 to {count - 1}"
            )


def _by_layer(names: Iterable[str], shape: Mapping[str, int]) -> dict[int, list[int]]:
    """Return the numbers of named heads by layer."""
    found: dict[int, list[int]] = {}
    for name in names:
        layer, head = (int(part[1:]) for part in name.split("."))
        if layer >= shape["layers"] or head >= shape["heads"]:
            raise ValueError(
                f"heads: no head {name} in the model that is pruned, which has "
                f"{shape['layers']} layers of {shape['heads']} heads"
            )
        found.setdefault(layer, []).append(head)
    return found


def _check_named(
    named: Mapping[int, Sequence[int]], keep: Keep, shape: Mapping[str, int]
) -> int:
    """Check that named heads are of the kept layers; return the number of layers."""
    layers = keep.get("layers", len(named))
    if isinstance(layers, list) and {*layers} != {*named}:
        raise ValueError(
            f"heads: of the layers {_listed(named)}, but the layers {_listed(layers)} "
            "are kept; expected heads of each kept layer"
        )
    if isinstance(layers, int) and layers != len(named):
        raise ValueError(
            f"heads: of {len(named)} layers, but {layers} are kept; expected heads of "
            "each kept layer"
        )
    return len(named)


def _named_sizes(
    named: Mapping[int, Sequence[int]], shape: Mapping[str, int]
) -> tuple[int, int]:
    """Return how many heads and key-value heads of a layer are named.

    Raises:
        ValueError: not as many of every layer, or of every group that is kept.
    """
    group = shape["heads"] // shape["kv_heads"]
    counts = {}
    for layer, heads in named.items():
        groups = [head // group for head in heads]
        counts[layer] = sorted(map(groups.count, {*groups}))
    (first, expected), *_ = counts.items()
    for layer, found in counts.items():
        if found != expected or len({*found}) > 1:
            raise ValueError(
                f"heads: layer {first} has {expected} by group of {group} that share "
                f"their keys and values, layer {layer} has {found}; expected as many "
                "heads of as many groups in each layer"
            )
    return sum(expected), len(expected)


def _best(scores: Sequence[float], count: int) -> tuple[int, ...]:
    """Return the places of the highest scores, in order; of equal ones the first."""
    order = sorted(range(len(scores)), key=lambda place: (-scores[place], place))
    return tuple(sorted(order[:count]))


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(numbers)))
