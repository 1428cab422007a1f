import re
from copy import deepcopy
from pathlib import Path

import pytest
import yaml

from circuit_transfer.importers import FORMATS, MIB_TASKS
from circuit_transfer.study.checks import check_config
from circuit_transfer.study.validation import check_repeated_keys, validate_config

ROOT = Path(__file__).parents[3]
SCHEMA = ROOT / "workflow/schemas/config.schema.yaml"

TRAIN = {
    "architecture": "llama",
    "layers": 2,
    "heads": 4,
    "kv_heads": 2,
    "d_model": 32,
    "d_mlp": 64,
    "learning_rate": 0.004,
}
CONFIG = {
    "study": {
        "tasks": ["ioi"],
        "methods": ["nap"],
        "transfers": [{"source": "small", "target": "large"}],
    },
    "models": {"small": {"train": TRAIN}, "large": {"path": "models/large"}},
    "tasks": {
        "ioi": {"generator": "ioi"},
        "mine": {"file": "mine.csv"},
        "theirs": {"mib": "ioi", "hub": "mib-bench/ioi", "revision": "main"},
    },
    "attribution": {},
    "alignment": {
        "epochs": 3,
        "learning_rate": 0.1,
        "sparsity": 0.1,
        "batch_size": 8,
        "examples": 100,
    },
    "evaluation": {},
}


def change(keys, value):
    """Return the config above with one value put where the dotted keys lead."""
    config = deepcopy(CONFIG)
    *path, last = keys.split(".")
    entry = config
    for key in path:
        entry = entry[int(key) if isinstance(entry, list) else key]
    entry[last] = value
    return config


def read(path):
    return yaml.safe_load(path.read_text())


def test_the_default_config_is_valid():
    config = read(ROOT / "config.yaml")
    validate_config(config, SCHEMA)
    check_config(config, ROOT)


def test_defaults_are_filled_in_at_every_level():
    config = deepcopy(CONFIG)
    validate_config(config, SCHEMA)
    assert config["study"]["seeds"] == [0]
    assert config["models"]["small"]["train"]["max_steps"] == 12000
    assert config["models"]["large"] == {"path": "models/large", "dtype": "float32"}
    assert config["tasks"]["ioi"]["train"] == 200
    assert config["tasks"]["mine"] == {"file": "mine.csv"}
    assert config["evaluation"]["circuits"] == {}
    assert config["attribution"]["ig_steps"] == 10
    assert config["evaluation"]["proportions"][-1] == 1


@pytest.mark.parametrize(
    "level",
    [
        "",
        "study.",
        "study.transfers.0.",
        "models.small.",
        "models.small.train.",
        "tasks.ioi.",
        "tasks.mine.",
        "tasks.theirs.",
        "attribution.",
        "alignment.",
        "evaluation.",
    ],
)
def test_unknown_key_is_named_with_its_place(level):
    where = level.removesuffix(".") or "config"
    with pytest.raises(ValueError, match=f"^{where}: unknown key 'colour'; known: "):
        validate_config(change(f"{level}colour", 1), SCHEMA)


def levels(schema, place=()):
    """Yield every object of the schema that names its keys, and where it may stand."""
    definitions = read(SCHEMA)["$defs"]
    while "$ref" in schema:
        schema = definitions[schema["$ref"].rsplit("/", 1)[1]]
    if "properties" in schema:
        yield place, schema["properties"]
    for key, value in schema.get("properties", {}).items():
        yield from levels(value, (*place, key))
    if "items" in schema:
        yield from levels(schema["items"], (*place, 0))
    further = schema.get("additionalProperties") or {}
    yield from levels(further, (*place, "one")) if further else ()
    for branch in ("then", "else"):
        if branch in schema:
            yield from levels(schema[branch], place)


LEVELS = [*levels(read(SCHEMA))]


def test_the_levels_of_the_schema_are_all_there():
    places = {".".join(map(str, place)) for place, _ in LEVELS}
    assert len(LEVELS) == 33
    assert places >= {"", "study.transfers.0", "models.one.train", "tasks.one"}
    assert places >= {"evaluation.circuits.one", "benchmark.one.scaling"}


def misspelt():
    for place, keys in LEVELS:
        for key in keys:
            # The key that tells the kind of a task stays as it is.
            kinds = [kind for kind in ("generator", "file", "mib") if kind in keys]
            kind = kinds[0] if len(kinds) == 1 and key not in kinds else None
            yield pytest.param(place, key, kind, id=".".join(map(str, (*place, key))))


@pytest.mark.parametrize(("place", "key", "kind"), [*misspelt()])
def test_a_misspelt_key_of_any_level_comes_with_the_right_one(place, key, kind):
    """A letter twice; only keys are looked at, so that values may be anything."""
    level = {f"{key[:2]}{key[1:]}": None} | ({kind: "x"} if kind else {})
    for step in reversed(place):
        level = [level] if step == 0 else {step: level}
    config = deepcopy(CONFIG)
    if place[2:3] == ("train",) and len(place) > 3:
        # What an entry must have would be asked for before.
        merge(config, {"models": {"one": {"train": deepcopy(TRAIN)}}})
    merge(config, level)
    where = re.escape(".".join(map(str, place)) or "config")
    wrong = f"{key[:2]}{key[1:]}"
    message = f"^{where}: unknown key '{wrong}'; did you mean '{key}'\\?$"
    with pytest.raises(ValueError, match=message):
        validate_config(config, SCHEMA)


def merge(config, change):
    for key, value in change.items():
        if isinstance(value, dict) and isinstance(config.get(key), dict):
            merge(config[key], value)
        else:
            config[key] = value


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        ("models", None, "^models: None is not of type 'object'"),
        ("tasks.ioi", None, "^tasks.ioi: None is not of type 'object'"),
        ("study.tasks", [], "^study.tasks: "),
        (
            "attribution.batch_size",
            "all",
            "^attribution.batch_size: 'all'; expected a whole",
        ),
        ("evaluation.batch_size", 0, "^evaluation.batch_size: 0 is less than"),
        ("alignment.batch_size", "auto", "^alignment.batch_size: 'auto' is not of"),
        ("study.tasks", ["ioi", "ioi"], "^study.tasks: .* non-unique"),
        ("study.methods", ["nip"], "^study.methods.0: 'nip' is not one of"),
        ("study.seeds", [0, -1], "^study.seeds.1: -1 is less than"),
        ("study.siblings", [["ioi"]], "^study.siblings.0: "),
        (
            "evaluation.heads",
            {"small": ["a0.h1", "m0"]},
            "^evaluation.heads.small.1: 'm0'; expected a head by layer and number",
        ),
        ("models.Small", {"path": "x"}, "^models: 'Small'; expected a name of lower"),
        ("models.small.dtype", "int8", "^models.small.dtype: 'int8' is not one of"),
        ("tasks.ioi.train", 0, "^tasks.ioi.train: 0 is less than"),
        ("tasks.mine.format", "mib", "^tasks.mine.format: 'mib' is not one of"),
        ("tasks.theirs.mib", "mcqa", "^tasks.theirs.mib: 'mcqa' is not one of"),
        ("tasks.theirs.leading_space", "yes", "^tasks.theirs.leading_space: 'yes' is"),
        ("tasks.theirs.hub", "ioi", "^tasks.theirs.hub: 'ioi'; expected a rep"),
        ("models.large.device_map", "cuda", "^models.large.device_map: 'cuda' is not"),
        ("tasks.mine.generator", "ioi", "^tasks.mine: unknown key 'generator'"),
        (
            "attribution.ablation",
            "noise",
            "^attribution.ablation: 'noise' is not one of",
        ),
        ("alignment.learning_rate", "1e-3", "^alignment.learning_rate: '1e-3' is not"),
        ("alignment.controls", ["none"], "^alignment.controls.0: 'none' is not one of"),
        ("evaluation.proportions", [0, 1], "^evaluation.proportions.0: 0 is less"),
        ("evaluation.proportions", [1.0], "^evaluation.proportions: "),
        ("study.methods", ["napp"], "^study.methods.0: .*; did you mean 'nap'\\?$"),
        ("study.methods", ["eap"], "; it scores edges, which `edge_methods` is for$"),
        ("study.edge_methods", ["nap"], "; it scores nodes, which `methods` is for$"),
        ("study.methods", "nap", "^study.methods: 'nap' is not of type 'array'$"),
        ("study.seeds", [], r"^study.seeds: \[\] should be non-empty$"),
        ("study.seeds", [2**32], "^study.seeds.0: 4294967296 is greater than"),
        ("study.tasks", [2024], "^study.tasks.0: 2024 .* put it in quotes$"),
        (
            "study.tasks",
            ["ioi\n"],
            r"^study.tasks.0: 'ioi\\n'; expected a name of lower",
        ),
        ("tasks", {True: {}}, "^tasks: True is not of .* put it in quotes$"),
        ("tasks", {}, "^tasks: {} should be non-empty$"),
        ("tasks", {"a" * 101: {"file": "x.csv"}}, "^tasks: 'aaa.*aaa' is too long$"),
        ("alignment.learning_rate", "1e-3", "not of type 'number'; write 0.001$"),
        ("alignment.learning_rate", "fast", "'fast' is not of type 'number'$"),
        ("alignment.learning_rate", 0, "^alignment.learning_rate: 0 is less than"),
        ("alignment.sparsity", float("nan"), "^alignment.sparsity: nan is not of type"),
        ("alignment.sparsity", float("inf"), "^alignment.sparsity: inf is not of type"),
        ("alignment.epochs", 3.0, "^alignment.epochs: 3.0 is not .*; write 3$"),
        ("alignment.epochs", True, "^alignment.epochs: True is not of type 'integer'$"),
        (
            "alignment.epochs",
            10**12,
            "^alignment.epochs: 1000000000000 is greater than",
        ),
        ("alignment", [{"epochs": 1}] * 99, r"^alignment: \[.{1,150}\] is not of type"),
    ],
)
def test_wrong_value_is_named_with_its_key(keys, value, message):
    with pytest.raises(ValueError, match=message):
        validate_config(change(keys, value), SCHEMA)


def test_missing_key_is_named():
    config = deepcopy(CONFIG)
    del config["alignment"]["epochs"]
    with pytest.raises(ValueError, match="^alignment: 'epochs' is a required"):
        validate_config(config, SCHEMA)


def objects(schema):
    if isinstance(schema, dict):
        if "properties" in schema:
            yield schema
        for value in schema.values():
            yield from objects(value)


def test_every_key_is_described_and_no_object_takes_unknown_keys():
    found = list(objects(read(SCHEMA)))
    assert len(found) == 31
    for schema in found:
        assert schema["additionalProperties"] is False
        for key, value in schema["properties"].items():
            assert value.get("description"), key


def test_the_schema_offers_what_the_importers_read():
    definitions = read(SCHEMA)["$defs"]
    formats = definitions["file_task"]["properties"]["format"]["enum"]
    assert formats == [*FORMATS]
    assert set(definitions["mib_task"]["properties"]["mib"]["enum"]) == {*MIB_TASKS}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: {c: 1, d: 2, c: 3}\n", "x.yaml: line 2: the key 'c' .* line 2; exp"),
        ("a: 1\nb: 1\n\na: 2\n", "x.yaml: line 4: the key 'a' is already in line 1;"),
        ("a: [{b: 1}, {c: 1,\n c: 1}]", "x.yaml: line 2: the key 'c' .* line 1"),
    ],
)
def test_a_key_that_is_there_twice_is_named(text, message, tmp_path):
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        check_repeated_keys(tmp_path / "x.yaml")


def test_equal_keys_of_different_mappings_are_no_repetition(tmp_path):
    path = tmp_path / "x.yaml"
    for text in ("a: &x {c: 1}\nb: {c: *x, d: *x}\n", '{"a": {\t"b": 1}}', ""):
        path.write_text(text)
        check_repeated_keys(path)
    # A mapping that holds itself ends too.
    path.write_text("a: &x {b: *x}\n")
    check_repeated_keys(path)
