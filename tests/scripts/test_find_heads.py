"""The heads of a model and task are written with their effects and their cost."""

import pytest
from find_heads import find_heads

from circuit_transfer.artifacts.descriptions import read_description
from circuit_transfer.artifacts.frames import read_frame
from circuit_transfer.artifacts.text import read_json
from circuit_transfer.circuits.attribution import attribute
from circuit_transfer.circuits.head_roles import HEAD_COLUMNS
from circuit_transfer.models.loading import load_described
from circuit_transfer.prompts.batches import fitting_batches
from circuit_transfer.prompts.pairs import select_pairs
from circuit_transfer.tables.head_survival import HEADS, ROLES


def found(study, folder, *, task="a", **changes):
    """Run the stage; return the heads and the costs."""
    paths = folder / "heads.parquet", folder / "cost.json"
    how = {"named": [], "examples": 4, "batch_size": 2, "ablation": "counterfactual"}
    model, pairs = study.model("target"), study.pairs("target", task)
    find_heads(model, pairs, *paths, **how | changes)
    return read_frame(paths[0]), read_json(paths[1])


def test_effects_are_of_the_test_pairs_and_the_table_reads_them(study, tmp_path):
    frame, (cost,) = found(study, tmp_path)
    assert {*HEADS} <= {*frame.columns} and {*frame["role"]} <= {*ROLES}
    assert cost["forwards"] > 0 and cost["forward_backwards"] > 0
    description = read_description(study.model("target"))
    model = load_described(description)
    pairs = select_pairs(read_frame(study.pairs("target", "a")), "test", 4)
    batches = fitting_batches(model, pairs, 2)
    exact = attribute(model, batches, method="exact").mean()
    effects = dict(zip(description["nodes"], exact.tolist(), strict=True))
    assert len(frame)
    for head, effect in frame.select("head", "effect").rows():
        assert effect == pytest.approx(effects[head], abs=1e-6)


def test_a_head_that_the_model_lacks_is_refused_with_its_place(study, tmp_path):
    message = "evaluation.heads.target: 'a7.h0' is not a head of the model; expected"
    with pytest.raises(ValueError, match=message):
        found(study, tmp_path, named=["a0.h0", "a7.h0"])
    assert not (tmp_path / "heads.parquet").exists()


def test_a_task_without_usable_pairs_has_no_heads(study, tmp_path):
    frame, costs = found(study, tmp_path, task="none")
    assert frame.is_empty() and dict(frame.schema) == HEAD_COLUMNS and costs == []
