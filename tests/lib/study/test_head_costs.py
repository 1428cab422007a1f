"""What finding heads costs, estimated before a study runs, beside what runs."""

from copy import deepcopy
from pathlib import Path

import polars as pl
import pytest
import yaml

from circuit_transfer.circuits.ablations import ABLATIONS
from circuit_transfer.circuits.heads import find_heads
from circuit_transfer.circuits.passes import measured
from circuit_transfer.models.nodes import node_names
from circuit_transfer.models.shape import model_shape
from circuit_transfer.prompts.batches import pair_batches
from circuit_transfer.study.costs import nodes_of
from circuit_transfer.study.validation import validate_config
from circuit_transfer.study.workload import study_work

ROOT = Path(__file__).parents[3]
CONFIG = {
    "study": {"tasks": ["a"], "methods": [], "edge_methods": ["edge-pruning"]},
    "models": {"m": {"path": "m"}},
    "tasks": {"a": {"generator": "ioi"}},
    "attribution": {},
    "alignment": yaml.safe_load((ROOT / "config.yaml").read_text())["alignment"],
    "evaluation": {},
}
validate_config(CONFIG, ROOT / "workflow/schemas/config.schema.yaml")


@pytest.mark.parametrize("ablation", ABLATIONS)
@pytest.mark.parametrize("named", [[], ["a0.h1", "a2.h3"]])
def test_passes_that_find_heads_are_no_more_than_estimated(
    tiny_model, tiny_pairs, ablation, named
):
    model = tiny_model("llama", layers=4).requires_grad_(False)
    shapes, examples = {"m": model_shape(model.config)}, 6
    evaluation = {"ablations": [ablation], "examples": examples}
    evaluation |= {"heads": {"m": named} if named else {}}
    config = deepcopy(CONFIG)
    config["evaluation"] |= evaluation
    works = study_work(config, nodes_of(config, shapes))
    (work,) = [each for each in works if each.stage == "find_heads"]
    pairs = tiny_pairs(2 * examples).filter(pl.col("clean_ids").list.len() == 5)
    nodes = node_names(4, 4)
    with measured("heads", "m", model) as cost:
        batches = pair_batches(pairs, examples)
        find_heads(model, batches, nodes, named=named, ablation=ablation)
    # Fewer heads may be strong than there may be.
    limits = work.forwards, work.forward_backwards
    for name, limit in zip(("forwards", "forward_backwards"), limits, strict=True):
        assert 0.2 * examples * limit < cost[name] <= examples * limit
