from copy import deepcopy
from pathlib import Path

import pytest
import yaml

from circuit_transfer.checks import check_config, validate_config
from circuit_transfer.importers import FORMATS, MIB_TASKS

ROOT = Path(__file__).parents[2]
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
    assert config["tasks"]["mine"] == {"file": "mine.csv", "format": "pairs"}
    assert config["evaluation"]["circuits"] == {}
    assert config["attribution"]["ig_steps"] == 5
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


def test_mistyped_key_comes_with_the_right_one():
    with pytest.raises(ValueError, match="did you mean 'ig_steps'?"):
        validate_config(change("attribution.ig_step", 5), SCHEMA)


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        ("models", None, "^models: None is not of type 'object'"),
        ("tasks.ioi", None, "^tasks.ioi: None is not of type 'object'"),
        ("study.tasks", [], "^study.tasks: "),
        ("attribution.batch_size", "all", "^attribution.batch_size: 'all' does not"),
        ("evaluation.batch_size", 0, "^evaluation.batch_size: 0 is less than"),
        ("alignment.batch_size", "auto", "^alignment.batch_size: 'auto' is not of"),
        ("study.tasks", ["ioi", "ioi"], "^study.tasks: .* non-unique"),
        ("study.methods", ["nip"], "^study.methods.0: 'nip' is not one of"),
        ("study.seeds", [0, -1], "^study.seeds.1: -1 is less than"),
        ("study.siblings", [["ioi"]], "^study.siblings.0: "),
        ("models.Small", {"path": "x"}, "'Small' does not match"),
        ("models.small.dtype", "int8", "^models.small.dtype: 'int8' is not one of"),
        ("tasks.ioi.train", 0, "^tasks.ioi.train: 0 is less than"),
        ("tasks.mine.format", "mib", "^tasks.mine.format: 'mib' is not one of"),
        ("tasks.theirs.mib", "mcqa", "^tasks.theirs.mib: 'mcqa' is not one of"),
        ("tasks.theirs.leading_space", "yes", "^tasks.theirs.leading_space: 'yes' is"),
        ("tasks.theirs.hub", "ioi", "^tasks.theirs.hub: 'ioi' does not match"),
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
    assert len(found) == 17
    for schema in found:
        assert schema["additionalProperties"] is False
        for key, value in schema["properties"].items():
            assert value.get("description"), key


def test_the_schema_offers_what_the_importers_read():
    definitions = read(SCHEMA)["$defs"]
    formats = definitions["file_task"]["properties"]["format"]["enum"]
    assert formats == [*FORMATS]
    assert set(definitions["mib_task"]["properties"]["mib"]["enum"]) == {*MIB_TASKS}
