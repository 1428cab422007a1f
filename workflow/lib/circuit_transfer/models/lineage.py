"""The lineage of a model that was made from another one, as its description has it.

Its keys: `relation` (`finetuned`, `pruned` or `distilled`), `parent` (None if it began
with random weights), `teacher` (None without one), `nodes` (by node of the model the
node of its parent) and `parent_lineage`, the same of the parent, None if it was made
from no other model.
"""

from collections.abc import Iterator, Mapping
from typing import Any

Lineage = dict[str, Any]
RELATIONS = {"finetuned": "trained further from", "pruned": "pruned from"}
APART = "apart"
# How two models can be related, the closest first.
CLOSENESS = (*RELATIONS, "distilled", APART)


def origin(lineage: Mapping[str, Any]) -> str:
    """Return in a few words which models a model was made from."""
    parts = []
    if lineage["parent"] is not None:
        parts.append(f"{RELATIONS[lineage['relation']]} {lineage['parent']}")
    if lineage["teacher"] is not None:
        parts.append(f"distilled from {lineage['teacher']}")
    return ", ".join(parts)


def lineages(lineage: Mapping[str, Any] | None) -> Iterator[Mapping[str, Any]]:
    """Yield a model's lineage, then that of its parent, and so on."""
    while lineage is not None:
        yield lineage
        lineage = lineage["parent_lineage"]


def nodes_in_ancestors(
    nodes: Mapping[str, str] | list[str], lineage: Mapping[str, Any] | None
) -> dict[str, dict[str, str]]:
    """Return by ancestor, the parent first, what the nodes of a model are there.

    Args:
        nodes: of the model.
        lineage: its lineage; None if it has none.

    Returns:
        By name of the ancestor: by node of the model, the ancestor's node.
    """
    found, current = {}, {name: name for name in nodes}
    for each in lineages(lineage):
        if each["parent"] is None:
            break
        current = {name: each["nodes"][node] for name, node in current.items()}
        found[each["parent"]] = current
    return found


def relation(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """Return how two models are related, which of them is the source being the same.

    Models are linked to their parents and teachers, and theirs. The relation is the
    least close link on the closest way between the two, which may lead through a model
    that both were made from: a model is `pruned` to its parent though it was distilled
    from it as well, and two students of one teacher are `distilled`.

    Args:
        one: the description of a model: its name, `model`, and `lineage` if it has one.
        other: that of the other.

    Returns:
        One of `CLOSENESS`; `apart` where no way leads from one to the other.
    """
    left, right = _links(one), _links(other)
    ways = [max(left[name], right[name]) for name in left.keys() & right.keys()]
    return CLOSENESS[min(ways)] if ways else APART


def _links(model: Mapping[str, Any]) -> dict[str, int]:
    """Return by model that one was made from the least close link on the way there."""
    found, way = {model["model"]: 0}, 0
    for each in lineages(model.get("lineage")):
        if each["teacher"] is not None:
            found.setdefault(each["teacher"], CLOSENESS.index("distilled"))
        if each["parent"] is not None:
            way = max(way, CLOSENESS.index(each["relation"]))
            found[each["parent"]] = way
    return found
