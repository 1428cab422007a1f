import polars as pl
import pytest
from evaluate_gold import evaluate_gold

from circuit_transfer.artifacts.frames import read_frame
from circuit_transfer.artifacts.text import read_json
from circuit_transfer.circuits.ablations import ABLATIONS
from circuit_transfer.circuits.faithfulness import MEASURES

LABELS = {"target": "target", "task": "a", "method": "nap"}
COLUMNS = ["target", "task", "method", "ablation", *MEASURES]


def evaluate(study, path, evaluation, task="a", scores_of="target"):
    evaluate_gold(
        study.model("target"),
        study.pairs("target", task),
        study.scores(scores_of, task),
        path,
        path.with_suffix(".json"),
        **LABELS | {"task": task},
        settings=evaluation,
    )
    return read_frame(path)


def test_every_size_has_a_row(study, tmp_path, evaluation, full_logit_diff):
    frame = evaluate(study, tmp_path / "gold.parquet", evaluation)
    assert frame.columns == COLUMNS
    keys = frame.select("target", "task", "method", "ablation").unique()
    assert keys.rows() == [("target", "a", "nap", "counterfactual")]
    assert frame["proportion"].to_list() == evaluation["proportions"]
    assert frame["n_nodes"].to_list() == [0, 3, 6, 10]
    assert frame["faithfulness"][0] == 0.0
    assert frame["faithfulness"][-1] == 1.0
    assert frame["logit_diff"][-1] == pytest.approx(full_logit_diff, rel=1e-4)
    assert frame["kl"][-1] == 0.0
    assert frame["kl"][0] > 0
    assert frame["complement_faithfulness"][0] == 1.0
    assert frame["complement_faithfulness"][-1] == 0.0
    assert frame["logit_diffs"].list.len().to_list() == [3] * 4


def test_every_ablation_is_measured_and_its_cost_written(study, tmp_path, evaluation):
    settings = evaluation | {"ablations": list(ABLATIONS)}
    frame = evaluate(study, tmp_path / "gold.parquet", settings)
    alone = evaluate(study, tmp_path / "alone.parquet", evaluation)
    parts = frame.partition_by("ablation", maintain_order=True)
    assert [part["ablation"][0] for part in parts] == list(ABLATIONS)
    assert parts[0].equals(alone)
    # The whole model is the same whatever would be left out.
    assert frame.filter(n_nodes=10)["logit_diff"].n_unique() == 1
    assert frame.filter(n_nodes=0)["logit_diff"].n_unique() == 3
    costs = read_json(tmp_path / "gold.json")
    assert [cost["part"] for cost in costs] == list(ABLATIONS)
    assert {cost["model"] for cost in costs} == {"target"}
    # Three pairs; full run, empty circuit, two sizes and their complements, and what
    # the ablation needs.
    circuits = 2 + 2 * 2
    expected = [3 * (circuits + each) for each in (1, 0, 1)]
    assert [cost["forwards"] for cost in costs] == expected


def test_a_task_without_usable_pairs_has_columns_and_no_rows(
    study, tmp_path, evaluation
):
    empty = evaluate(study, tmp_path / "empty", evaluation, task="none")
    whole = evaluate(study, tmp_path / "whole", evaluation)
    assert empty.is_empty()
    assert empty.schema == whole.schema
    assert pl.concat([empty, whole]).equals(whole)


def test_scores_of_another_model_are_an_error(study, tmp_path, evaluation):
    with pytest.raises(ValueError, match=r"mask \(\d, 5\) for a model of 10 nodes"):
        evaluate(study, tmp_path / "gold", evaluation, scores_of="source")
    assert not (tmp_path / "gold").exists()
