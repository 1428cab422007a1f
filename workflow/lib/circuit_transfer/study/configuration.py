"""A configuration before it is used: put together, checked, and in one order."""

from collections.abc import Iterable, Mapping
from copy import deepcopy
from functools import reduce
from pathlib import Path
from typing import Any

from circuit_transfer.study.checks import check_config
from circuit_transfer.study.validation import check_repeated_keys, validate_config

SCHEMA = "workflow/schemas/config.schema.yaml"


def overlaid(layers: Iterable[Mapping]) -> dict[str, Any]:
    """Return a configuration of several layers, such as `config.yaml` and an overlay.

    A list replaces the list of the layers before it, a mapping adds to theirs, and an
    empty mapping clears it. A layer that names `study.models` without
    `study.transfers` has no transfer of those before it, and a task that it puts into a
    family leaves the family that it was in.

    Args:
        layers: what each file says, the last of them the strongest.
    """
    return reduce(_overlaid, filter(None, layers), {})


def _overlaid(config: Mapping, layer: Mapping) -> dict[str, Any]:
    study = _mapping(layer, "study")
    if study.get("models") and "transfers" not in study:
        layer = {**layer, "study": {**study, "transfers": []}}
    return _merged(_without_tasks_of(_mapping(study, "families"), config), layer)


def _merged(config: Any, layer: Any) -> Any:
    if not isinstance(layer, Mapping) or not layer:
        return deepcopy(layer)
    config = config if isinstance(config, Mapping) else {}
    added = {key: _merged(config.get(key), value) for key, value in layer.items()}
    return {**config, **added}


def _without_tasks_of(families: Mapping, config: Mapping) -> Mapping:
    """Return a configuration without the tasks of these families in its own ones."""
    study = _mapping(config, "study")
    earlier = _mapping(study, "families")
    if not families or not earlier:
        return config
    lists = [tasks for tasks in families.values() if isinstance(tasks, list)]
    kept = {}
    for family, tasks in earlier.items():
        if isinstance(tasks, list):
            tasks = [each for each in tasks if not any(each in new for new in lists)]
        if tasks:
            kept[family] = tasks
    return {**config, "study": {**study, "families": kept}}


def _mapping(config: Mapping, key: str) -> Mapping:
    """Return a mapping of a layer; anything else is left to the schema's check."""
    value = config.get(key)
    return value if isinstance(value, Mapping) else {}


def check_configuration(config: dict, files: Iterable[Path | str], home: Path) -> None:
    """Check a configuration and fill in its defaults.

    Args:
        config: what the files say together.
        files: where it was read from.
        home: the folder of the Snakefile; paths start in the working directory or here.

    Raises:
        ValueError: the configuration is wrong; it says where, and what was expected.
        OSError: a file cannot be read.
    """
    for file in files:
        check_repeated_keys(file)
    validate_config(config, home / SCHEMA)
    check_config(config, ".", home)


def sorted_keys(value: Any) -> Any:
    """Return a value with all keys sorted: the order of a mapping means nothing."""
    if isinstance(value, Mapping):
        return {key: sorted_keys(value[key]) for key in sorted(value)}
    return [sorted_keys(each) for each in value] if isinstance(value, list) else value
