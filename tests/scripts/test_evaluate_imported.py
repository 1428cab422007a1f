import polars as pl
import pytest
from evaluate_gold import evaluate_gold
from evaluate_imported import evaluate_imported
from export_mib import export_mib
from polars.testing import assert_frame_equal

from circuit_transfer.artifacts.frames import read_frame
from circuit_transfer.artifacts.text import read_json, write_json


def exported(study, folder, task="a", model="target"):
    path = folder / "importances.json"
    tensors = folder / "importances.safetensors"
    export_mib(study.model(model), study.scores(model, task), path, tensors)
    return path


def evaluate(study, importances_path, path, evaluation, task="a"):
    evaluate_imported(
        study.model("target"),
        study.pairs("target", task),
        importances_path,
        path,
        path.with_suffix(".json"),
        target="target",
        task=task,
        circuit="theirs",
        settings=evaluation,
    )
    return read_frame(path)


def gold(study, path, evaluation, task="a"):
    evaluate_gold(
        study.model("target"),
        study.pairs("target", task),
        study.scores("target", task),
        path,
        path.with_suffix(".json"),
        target="target",
        task=task,
        method="nap",
        settings=evaluation,
    )
    return read_frame(path)


def test_our_own_scores_come_back_as_the_gold_circuits(study, tmp_path, evaluation):
    importances = exported(study, tmp_path)
    imported = evaluate(study, importances, tmp_path / "imported", evaluation)
    expected = gold(study, tmp_path / "gold", evaluation)
    assert set(imported["method"]) == {"theirs"}
    assert imported.drop("method").equals(expected.drop("method"))
    assert imported.columns == expected.columns


def test_a_circuit_is_measured_whole_at_its_own_size(study, tmp_path, evaluation):
    importances = read_json(exported(study, tmp_path))
    names = read_json(study.model("target"))["nodes"]
    ranked = sorted(names, key=lambda name: -importances["nodes"][name]["score"])
    for name in names:
        importances["nodes"][name] = {"in_graph": name in ranked[:3]}
    write_json(importances, tmp_path / "circuit.json")
    frame = evaluate(study, tmp_path / "circuit.json", tmp_path / "f", evaluation)
    expected = gold(study, tmp_path / "gold", evaluation)
    same = pl.col("n_nodes").is_in([0, 3, 10])
    # Other circuits beside them in a pass may change the rounding.
    assert_frame_equal(
        frame.filter(same).drop("method"), expected.filter(same).drop("method")
    )


@pytest.mark.parametrize(("task", "scores_of"), [("none", "none"), ("a", "none")])
def test_without_pairs_or_scores_there_are_columns_and_no_rows(
    study, tmp_path, evaluation, caplog, task, scores_of
):
    importances = exported(study, tmp_path, task=scores_of)
    empty = evaluate(study, importances, tmp_path / "empty", evaluation, task=task)
    assert empty.is_empty()
    assert empty.schema == gold(study, tmp_path / "gold", evaluation).schema
    assert "importances.json: the scores are not known" in caplog.text


def test_importances_of_another_model_are_named(study, tmp_path, evaluation):
    importances = exported(study, tmp_path, model="source")
    message = r"importances\.json: cfg\.n_layers is 1, expected 2"
    with pytest.raises(ValueError, match=message):
        evaluate(study, importances, tmp_path / "imported", evaluation)
    assert not (tmp_path / "imported").exists()
