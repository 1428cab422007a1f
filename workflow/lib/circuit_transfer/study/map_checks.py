"""Maps that need a recorded correspondence: which pairs of models have one.

Known before any job runs: by the configuration of models that the study trains, and by
what is recorded beside a checkpoint. Models of which one was only taught by the other
have none: they share no weights.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from circuit_transfer.artifacts.text import read_json
from circuit_transfer.models.lineage import lineages
from circuit_transfer.study.edge_transfers import edge_maps, edge_transfers
from circuit_transfer.study.relatives import Models, parent_of
from circuit_transfer.transfer.lifted import LIFTED
from circuit_transfer.transfer.maps import FILLED, LINEAGE, MAPS, STITCHED

Ancestors = Mapping[str, Sequence[str]]
RECORD = "training.json"


def maps_by_lineage(config: Mapping) -> list[str]:
    """Return the maps of a study that need a recorded correspondence.

    Args:
        config: a valid configuration, defaults filled in.
    """
    settings = config["alignment"]
    return _by_lineage(config, [settings["map"], *settings["compare"]])


def edge_maps_by_lineage(config: Mapping) -> list[str]:
    """Return the maps of edges that need one, themselves or for their scores of nodes.

    Args:
        config: a valid configuration, defaults filled in.
    """
    return _by_lineage(config, edge_maps(config)) if edge_transfers(config) else []


def _by_lineage(config: Mapping, names: Sequence[str]) -> list[str]:
    chosen = config["alignment"]["prior"]["correspondence"]
    forms = {name: MAPS.get(name.removeprefix(LIFTED)) for name in names}
    known = {name: each.known_by(chosen) for name, each in forms.items() if each}
    return [name for name, correspondence in known.items() if correspondence == LINEAGE]


def recorded_ancestors(
    config: Mapping, directories: Sequence[Path]
) -> dict[str, list[str]]:
    """Return the ancestors that checkpoints record, by model that has some.

    Nothing is read where no map of nodes or edges needs it.

    Args:
        config: a valid configuration, defaults filled in.
        directories: where relative paths may start.
    """
    found = {}
    needed = [*maps_by_lineage(config), *edge_maps_by_lineage(config)]
    for name, entry in config["models"].items() if needed else ():
        folders = (each / entry["path"] for each in directories if "path" in entry)
        folder = next((each for each in folders if each.exists()), None)
        record = folder / RECORD if folder else None
        if record is None or not record.is_file():
            continue
        names = [each["parent"] for each in lineages(read_json(record).get("lineage"))]
        if names and names[0] is not None:
            found[name] = [each for each in names if each is not None]
    return found


def are_related(models: Models, recorded: Ancestors, *pair: str) -> bool:
    """Return whether one of two models was made from the other, or both from a third.

    Args:
        models: the entries of all models.
        recorded: see `recorded_ancestors`.
        pair: names of both.
    """
    one, other = ({*_lines(models, recorded, name)} for name in pair)
    return not one.isdisjoint(other)


def _lines(models: Models, recorded: Ancestors, name: str) -> list[str]:
    """Return a model and all that it was made from."""
    parent = parent_of(models.get(name, {}))
    if parent is None:
        return [name, *recorded.get(name, ())]
    return [name, *_lines(models, recorded, parent)]


def check_maps(config: Mapping, directories: Sequence[Path]) -> None:
    """Check that the maps of a study can be made for its pairs.

    Args:
        config: a valid configuration, defaults filled in.
        directories: where relative paths may start.

    Raises:
        ValueError: saying where and what was expected.
    """
    settings, pairs = config["alignment"], config["study"]["transfers"]
    if not pairs:
        return
    _check_filled(settings, config["sensitivity"])
    levels = {
        "alignment": (settings, maps_by_lineage(config)),
        "alignment.edges": (settings["edges"], edge_maps_by_lineage(config)),
    }
    if not any(names for _, names in levels.values()):
        return
    recorded = recorded_ancestors(config, directories)
    unrelated = [
        f"{pair['source']} → {pair['target']}"
        for pair in pairs
        if not are_related(config["models"], recorded, pair["source"], pair["target"])
    ]
    for level, (own, names) in levels.items():
        _check_related(level, own, names, unrelated, len(pairs))


def _check_related(
    level: str,
    settings: Mapping,
    by_lineage: Sequence[str],
    unrelated: Sequence[str],
    pairs: int,
) -> None:
    """Check that some pair has the maps by lineage of a level, and all a main one."""
    if not by_lineage:
        return
    name = by_lineage[0]
    key = "map" if name == settings["map"] else "compare"
    if len(unrelated) == pairs or (unrelated and key == "map"):
        raise ValueError(
            f"{level}.{key}: {name!r} needs models of which one was made from the "
            f"other, or both from a third one; {', '.join(unrelated)} "
            f"{'is' if len(unrelated) == 1 else 'are'} not related by any record; "
            "expected another map, or a pair under `study.transfers` whose models are "
            "trained with `init`, or recorded as relatives in their training.json"
        )


def _check_filled(settings: Mapping, sensitivity: Mapping) -> None:
    """Check that there is what the maps that are filled up are filled up with."""
    asked = [settings["map"], *settings["compare"]]
    names = [each for each in asked if each in MAPS and MAPS[each].completed == FILLED]
    if names and STITCHED not in settings["compare"]:
        raise ValueError(
            f"alignment.compare: {names[0]!r} takes how much the target's nodes change "
            f"from the runs that {STITCHED!r} makes; expected {STITCHED!r} there too"
        )
    if settings["map"] in names and sensitivity:
        raise ValueError(
            f"sensitivity: settings are varied of {settings['map']!r}, which is filled "
            "up with changes that are known only beside stitched maps; expected "
            "another `alignment.map`, or no setting to vary"
        )
