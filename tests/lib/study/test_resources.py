import json
from functools import cache
from itertools import product
from pathlib import Path

import pytest
import yaml
from transformers import AutoConfig

from circuit_transfer.models.description import describe_configuration
from circuit_transfer.models.shape import described_shape, model_shape
from circuit_transfer.study.costs import (
    BYTES_PER_SECOND,
    PEAK_FLOPS,
    STARTING_SECONDS,
    UTILISATION,
    nodes_of,
    work_flops,
    work_memory,
)
from circuit_transfer.study.resources import (
    STARTING_MINUTES,
    requested,
    requested_by_conversion,
    requested_by_training,
)
from circuit_transfer.study.validation import validate_config
from circuit_transfer.study.work import prompt_tokens
from circuit_transfer.study.workload import study_work

ROOT = Path(__file__).parents[3]
PUBLISHED = ("llama-3", "qwen-2.5", "gpt2")
OF_TWO_MODELS = ("stitch_alignment", "carry_gradients", "fit_alignment")


@cache
def study(name):
    """Return the config of a ready study, which needs nothing of the default one."""
    config = yaml.safe_load((ROOT / f"workflow/studies/{name}.yaml").read_text())
    validate_config(config, ROOT / "workflow/schemas/config.schema.yaml")
    return config


@cache
def configuration(repository):
    return AutoConfig.from_pretrained(ROOT / f"data/configurations/{repository}.json")


@cache
def configured(repository):
    return describe_configuration(configuration(repository))


@cache
def shape_of(repository, dtype):
    return model_shape(configuration(repository), dtype=dtype)


def described(name, entry, **more):
    found = configured(entry["hub"])
    return {"model": name, "dtype": entry["dtype"], "device_map": None, **found, **more}


def needed(config, work):
    """Return by stage and model what the estimate says of its largest job."""
    tokens = prompt_tokens(config["tasks"])
    needs = {}
    for each in work:
        entry = config["models"][each.model]
        shape = shape_of(entry["hub"], entry["dtype"])
        reached = UTILISATION * PEAK_FLOPS[shape.dtype]
        seconds = work_flops(each, shape, tokens) / reached
        seconds += shape.stored_bytes / BYTES_PER_SECOND
        key = (each.stage, each.model, each.beside)
        memory, longest = needs.get(key, (0, 0))
        size = work_memory(each, shape, tokens)
        needs[key] = max(memory, size), max(longest, seconds)
    return needs


def work_of(config):
    shapes = {
        name: shape_of(entry["hub"], entry["dtype"])
        for name, entry in config["models"].items()
    }
    return study_work(config, nodes_of(config, shapes))


@pytest.mark.parametrize("name", PUBLISHED)
def test_no_job_asks_for_less_than_the_estimate(name):
    config = study(name)
    needs = needed(config, work_of(config))
    pairs = [(pair["source"], pair["target"]) for pair in config["study"]["transfers"]]
    stages = {stage for stage, _, _ in needs}
    assert len(stages) == 9 + 4  # of edges
    for stage, (source, target) in product(stages, pairs):
        models = (source, target) if stage in OF_TWO_MODELS else (target,)
        entries = [described(each, config["models"][each]) for each in models]
        asked = requested(stage, entries, config)
        memory, seconds = needs[stage, target, False]
        if stage in OF_TWO_MODELS:
            beside = needs[stage, source, True]
            memory, seconds = memory + beside[0], seconds + beside[1]
        assert asked["gpu"] == 1
        assert memory / 1e6 < asked["mem_mb"] < 1.5 * memory / 1e6 + 5000
        assert asked["runtime"] * 60 > STARTING_SECONDS + seconds


@pytest.mark.parametrize("stage", ["attribute_nodes", "fit_alignment", "vary_setting"])
def test_a_larger_model_and_a_further_attempt_ask_for_more(stage):
    config = study("llama-3")
    small, middle, large = (
        described(name, config["models"][name])
        for name in ("llama-3.2-1b", "llama-3.2-3b", "llama-3.1-8b")
    )
    once = requested(stage, [small, middle], config)
    larger = requested(stage, [small, large], config)
    again = requested(stage, [small, middle], config, attempt=2)
    for resource in ("mem_mb", "runtime"):
        assert once[resource] < larger[resource]
        # Rounded up, once.
        assert 0 <= 2 * once[resource] - again[resource] <= 1
    assert once["gpu"] == larger["gpu"] == again["gpu"] == 1


def test_more_values_of_a_setting_take_longer():
    config = study("llama-3")
    names = ("llama-3.2-1b", "llama-3.2-3b")
    models = [described(name, config["models"][name]) for name in names]
    one, three = (
        requested(
            "vary_setting", models, config | {"sensitivity": {"sparsity": values}}
        )
        for values in ([1.0], [1.0, 2.0, 3.0])
    )
    # Twice and four times the same computing, beside a constant.
    assert three["runtime"] > one["runtime"] > 15
    assert three["runtime"] - 15 == pytest.approx(2 * (one["runtime"] - 15), abs=2)


def test_edges_ask_for_memory_of_their_own_and_vary_with_no_setting():
    config = study("llama-3")
    without = config | {"study": config["study"] | {"edge_methods": []}}
    models = [described(n, config["models"][n]) for n in ("llama-3.2-1b",) * 2]
    asked = {
        stage: requested(stage, models[:1], config)["mem_mb"]
        for stage in ("attribute_nodes", "attribute_edges", "evaluate_edges")
    }
    # The gradients at all readers in five steps, and all writers as wide as the model.
    assert asked["attribute_edges"] > 1.2 * asked["attribute_nodes"]
    writers = 25 * 100 * (1 + 16 * 33) * 2048 * 2 / 1e6
    assert asked["evaluate_edges"] > 4000 + 2500 + writers
    varying = requested("vary_setting", models, config)
    assert varying == requested("vary_setting", models, without)


def test_more_numbers_of_steps_ask_for_more_and_others_for_as_much_as_before():
    config = study("llama-3")
    models = [described("llama-3.2-3b", config["models"]["llama-3.2-3b"])]

    def asked(stage, *counts):
        compared = config | {"sensitivity": {"ig_steps": counts} if counts else {}}
        return requested(stage, models, compared)

    few, many = asked("compare_steps", 10), asked("compare_steps", 10, 20, 40)
    assert asked("attribute_nodes")["mem_mb"] < few["mem_mb"] < many["mem_mb"]
    # 5 and 10 are among the 40: four times the steps of few.
    assert many["runtime"] - 15 == pytest.approx(4 * (few["runtime"] - 15), abs=5)
    assert asked("attribute_nodes") == asked("attribute_nodes", 10, 20)
    # It scores with other numbers of steps, but compares none.
    assert asked("vary_setting", 10) == requested(
        "vary_setting", models, config | {"sensitivity": {"epochs": [10]}}
    )


# Llama-3 70B: 80 layers of 8192, 64 heads of 128, MLPs of 28672; 141 GB in bfloat16.
SEVENTY = {
    "layers": 80,
    "heads": 64,
    "d_model": 8192,
    "d_head": 128,
    "d_mlp": 28672,
    "vocabulary": 128256,
    "parameters": 70_553_706_496,
    "nodes": ["a node"] * 80 * 65,
}


@pytest.mark.parametrize(
    ("device_map", "gpus", "nodes"), [(None, 1, None), ("auto", 3, 1)]
)
def test_a_model_that_may_be_spread_gets_gpus_that_hold_it(device_map, gpus, nodes):
    config = study("llama-3")
    entry = config["models"]["llama-3.1-8b"]
    large = described("llama-3.1-8b", entry, **SEVENTY, device_map=device_map)
    asked = requested("evaluate_gold", [large], config)
    # Weights of 141 GB and a quarter more, and a few GB: between two and three of 80.
    assert 2 * 80_000 < asked["mem_mb"] - 4000 < 3 * 80_000
    assert (asked["gpu"], asked["nodes"]) == (gpus, nodes)


def test_a_model_beside_the_study_asks_for_its_weights_at_least():
    config = study("llama-3") | {"models": study("llama-3")["models"] | {"x": {}}}
    entry = config["models"]["llama-3.1-8b"]
    asked = requested("attribute_nodes", [described("x", entry)], config)
    assert asked["mem_mb"] > 16_060


@pytest.mark.parametrize("repository", ["meta-llama/Llama-3.2-3B", "Qwen/Qwen2.5-0.5B"])
def test_a_description_tells_the_sizes_that_the_skeleton_has(repository):
    entry = {"hub": repository, "dtype": "bfloat16"}
    shape = model_shape(configuration(repository))
    told = described_shape(described("x", entry))
    for size in ("parameters", "weight_bytes", "node_bytes", "saved_bytes", "n_nodes"):
        assert getattr(told, size) == getattr(shape, size)
    assert told.forward_flops(10) >= shape.forward_flops(10)


def test_an_older_description_gets_the_usual_widths():
    entry = {"hub": "openai-community/gpt2", "dtype": "float32"}
    description = described("x", entry)
    told = described_shape(description)
    for width in ("d_head", "d_mlp"):
        del description[width]
    assert described_shape(description) == told


@pytest.mark.parametrize(
    "record",
    sorted((ROOT / "data/models").glob("*/training.json")),
    ids=lambda path: path.parent.name,
)
def test_a_training_asks_for_longer_than_the_shipped_models_took(record):
    training = json.loads(record.read_text())
    asked = requested_by_training(training["settings"])
    again = requested_by_training(training["settings"], attempt=2)
    assert training["seconds"] < 60 * asked["runtime"] < 24 * 3600
    assert again["mem_mb"] == 2 * asked["mem_mb"]
    assert 0 <= 2 * asked["runtime"] - again["runtime"] <= 1


def test_what_is_made_from_other_models_asks_for_their_passes_and_memory():
    sizes = {"layers": 4, "heads": 4, "kv_heads": 2, "d_model": 64, "d_mlp": 128}
    steps = {"batch_size": 64, "max_steps": 1_000_000}
    plain = requested_by_training(sizes | steps)
    init = {"prune": "other", "fade_steps": 1_000_000}
    pruned = requested_by_training(sizes | steps | {"init": init}, parent=sizes)
    taught = requested_by_training(sizes | steps, teacher=sizes)
    minutes = plain["runtime"] - STARTING_MINUTES
    assert pruned["runtime"] == pytest.approx(STARTING_MINUTES + 2 * minutes, abs=2)
    expected = STARTING_MINUTES + 4 / 3 * minutes
    assert taught["runtime"] == pytest.approx(expected, abs=2)
    # Layers with 108 million parameters: 10 numbers of 4 bytes for each.
    large = {"layers": 30, "heads": 9, "kv_heads": 3, "d_model": 576, "d_mlp": 1536}
    further = requested_by_training(large | steps, parent=large)
    assert 4000 + 4200 < further["mem_mb"] < 4000 + 4500


def test_a_conversion_asks_for_two_models_in_float32():
    # SmolLM2 with 135 million parameters: 0.54 GB each, and the libraries.
    asked = requested_by_conversion(134_515_008)
    assert 4000 + 1076 < asked["mem_mb"] < 4000 + 2000
    again = requested_by_conversion(134_515_008, attempt=2)
    assert again["mem_mb"] == pytest.approx(2 * asked["mem_mb"], abs=1)
    assert 15 < asked["runtime"] < 30
