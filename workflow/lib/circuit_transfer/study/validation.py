"""A configuration against its schema: its mistake in one line, its defaults filled."""

from collections.abc import Iterable
from copy import deepcopy
from datetime import date
from difflib import get_close_matches
from functools import cache
from math import isfinite, nan
from pathlib import Path
from re import fullmatch
from reprlib import Repr
from typing import Any

import yaml
from jsonschema import Draft202012Validator, ValidationError
from jsonschema.exceptions import best_match
from jsonschema.validators import extend

from circuit_transfer.circuits.methods import (
    METHODS,
    edge_methods,
    learned_methods,
    node_methods,
)
from circuit_transfer.distillation.frames import EFFECT, PATHS
from circuit_transfer.distillation.matchings import MATCHINGS
from circuit_transfer.distillation.variants import VARIANTS
from circuit_transfer.messages import quoted
from circuit_transfer.transfer.edge_controls import EDGE_CONTROLS
from circuit_transfer.transfer.maps import CARRIED, MAPS, STITCHED

# Every start of a run reads the schema. libyaml does so forty times as fast.
_SAFE_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def validate_config(config: dict, schema_path: Path | str) -> None:
    """Check a config against its schema and fill in the defaults, in place.

    As `snakemake.utils.validate`, but with the mistake in one line: Snakemake prints
    the schema around it.

    Raises:
        ValueError: for the first wrong value, with its key and what was expected.
    """
    methods = node_methods(), edge_methods(), learned_methods()
    validator = _FillingValidator(_read_schema(Path(schema_path), *methods))
    error = best_match(validator.iter_errors(config))
    if error is not None:
        raise ValueError(_explain(error))


@cache
def _read_schema(
    path: Path,
    methods: tuple[str, ...],
    attributing: tuple[str, ...],
    learned: tuple[str, ...],
) -> dict[str, Any]:
    """Read a schema, and fill in the methods that a configuration may name."""
    schema = _SAFE_LOADER(path.read_text()).get_single_data()
    definitions = schema["$defs"]
    definitions["node_method"]["enum"] = [*methods]
    definitions["attributing_method"]["enum"] = [*attributing]
    # Exact scores take longer than what they would save.
    filters = [each for each in attributing if METHODS[each].gradients != "none"]
    definitions["filter_method"]["enum"] = filters
    definitions["edge_method"]["enum"] = [*attributing, *learned]
    definitions["head_criterion"]["enum"] = [
        *(EFFECT, PATHS, *methods, *attributing, *learned)
    ]
    definitions["map"]["enum"] = [*MAPS]
    definitions["compared_map"]["enum"] = [*MAPS, STITCHED, CARRIED]
    definitions["edge_control"]["enum"] = [*EDGE_CONTROLS]
    definitions["matching"]["enum"] = [*MATCHINGS]
    definitions["variant"]["enum"] = [*VARIANTS]
    distillation = schema["properties"]["distillation"]["properties"]
    distillation["objectives"]["default"] = [*VARIANTS]
    # All of them are measured, unless others are named.
    definitions["benchmark"]["properties"]["methods"]["default"] = [*methods]
    return schema


def check_repeated_keys(path: Path | str) -> None:
    """Check that no key is twice in a mapping of a YAML file: the last alone counts.

    Raises:
        ValueError: naming the file, the key and both lines.
    """
    try:
        root = yaml.compose(Path(path).read_text(encoding="utf-8"), yaml.SafeLoader)
    except yaml.YAMLError:
        return  # JSON, which Snakemake has read as such
    seen, nodes = set(), [root]
    while nodes:
        node = nodes.pop()
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            _check_keys(path, node)
            nodes.extend(value for _, value in node.value)
        elif isinstance(node, yaml.SequenceNode):
            nodes.extend(node.value)


def _check_keys(path: Path | str, mapping: yaml.MappingNode) -> None:
    lines = {}
    for key in (key for key, _ in mapping.value if isinstance(key, yaml.ScalarNode)):
        line = key.start_mark.line + 1
        if key.value in lines:
            raise ValueError(
                f"{path}: line {line}: the key {key.value!r} is already in line "
                f"{lines[key.value]}; expected every key once"
            )
        lines[key.value] = line


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint for a message: the known name most like `name`, or all of them."""
    known = list(known)
    close = get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"


def _fill_and_validate(validator, properties, instance, schema):
    for name, subschema in properties.items():
        if "default" in subschema and isinstance(instance, dict):
            instance.setdefault(name, deepcopy(subschema["default"]))
    validate_properties = Draft202012Validator.VALIDATORS["properties"]
    yield from validate_properties(validator, properties, instance, schema)


def _matches(validator, pattern, instance, schema):
    # The standard's `$` lets a line feed follow.
    if isinstance(instance, str) and not fullmatch(pattern, instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


def _is_whole(checker, value) -> bool:
    # The standard's 5.0 is an integer too, but Python's `range` expects 5.
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(checker, value) -> bool:
    return _is_whole(checker, value) or (isinstance(value, float) and isfinite(value))


_FillingValidator = extend(
    Draft202012Validator,
    {"properties": _fill_and_validate, "pattern": _matches},
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine_many(
        {"integer": _is_whole, "number": _is_number}
    ),
)

_short = Repr()
_short.maxstring = _short.maxother = 80


def _explain(error: ValidationError) -> str:
    """Say in one line where a value is wrong, what it is, and what was expected."""
    where = quoted(".".join(map(str, error.absolute_path))) or "config"
    value = error.instance
    if error.validator == "additionalProperties":
        known = error.schema["properties"]
        unknown = next(name for name in value if name not in known)
        shown = quoted(repr(unknown))
        return f"{where}: unknown key {shown}; {nearest(str(unknown), known)}"
    if error.validator == "pattern":
        problem = f"{_short.repr(value)}; expected {error.schema['description']}"
    else:
        problem = error.message.replace(repr(value), _short.repr(value))
    return f"{where}: {quoted(problem, 1000)}{_hint(error)}"


def _hint(error: ValidationError) -> str:
    """Say what was probably meant, or nothing."""
    value, expected = error.instance, error.validator_value
    if error.validator == "enum" and isinstance(value, str):
        if value in METHODS:
            method = METHODS[value]
            does = "learns circuits of" if method.learned else "scores"
            key = "methods" if method.scores == "nodes" else "edge_methods"
            return f"; it {does} {method.scores}, which `{key}` is for"
        close = get_close_matches(value, map(str, expected), n=1)
        return f"; did you mean {close[0]!r}?" if close else ""
    if error.validator != "type":
        return ""
    if expected == "string" and isinstance(value, bool | int | float | date):
        return "; YAML does not read it as text: put it in quotes"
    if "integer" in expected or "number" in expected:
        return _as_number(value, "integer" in expected)
    return ""


def _as_number(value: Any, whole: bool) -> str:
    """Say how to write a number that was not read as one (1e-3 is text to YAML)."""
    try:
        number = float(value) if isinstance(value, str | float) else nan
    except ValueError:
        return ""
    if not isfinite(number) or (whole and not number.is_integer()):
        return ""
    return f"; write {int(number) if whole else number}"
