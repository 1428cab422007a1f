"""A configuration before it is used: checked, and in one order."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from circuit_transfer.study.checks import check_config
from circuit_transfer.study.validation import check_repeated_keys, validate_config

SCHEMA = "workflow/schemas/config.schema.yaml"


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
