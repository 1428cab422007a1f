import pytest
from measure_baseline import measure_baseline

from circuit_transfer.artifacts.text import read_json


def measured(study, folder, model="target", task="a", examples=3):
    paths = folder / "baseline.json", folder / "cost.json"
    settings = {"examples": examples, "batch_size": 2}
    measure_baseline(
        study.model(model), study.pairs(model, task), *paths, task=task, **settings
    )
    return map(read_json, paths)


def test_the_first_test_pairs_are_measured_and_counted(
    study, tmp_path, full_logit_diff, caplog
):
    caplog.set_level("INFO")
    found, (cost,) = measured(study, tmp_path)
    assert (found["model"], found["task"]) == ("target", "a")
    assert (found["pairs"], found["distinct"]) == (3, 3)
    assert found["logit_diff"] == pytest.approx(full_logit_diff, rel=1e-4)
    effect = found["logit_diff"] - found["corrupted_logit_diff"]
    assert found["corruption_effect"] == pytest.approx(effect)
    accuracy, difference = found["accuracy"], found["logit_diff"]
    assert f"3 pairs, 3 distinct: accuracy {accuracy:.2f}, right above" in caplog.text
    assert f"logit difference {difference:.2f}, corrupted " in caplog.text
    # The clean and the corrupted prompt of every pair.
    assert (cost["model"], cost["forwards"], cost["forward_backwards"]) == (
        "target",
        6,
        0,
    )


def test_sources_and_fewer_examples_have_a_baseline_too(study, tmp_path):
    found, _ = measured(study, tmp_path, "source", examples=2)
    assert (found["model"], found["pairs"]) == ("source", 2)


def test_a_task_without_usable_pairs_is_empty_and_runs_nothing(study, tmp_path, caplog):
    found, costs = measured(study, tmp_path, task="none")
    assert costs == []
    assert (found["pairs"], found["distinct"], found["accuracy"]) == (0, 0, None)
    assert "no usable test pair of none for this model" in caplog.text
