import polars as pl
import pytest
from evaluate_gold import evaluate_gold

from circuit_transfer.artifacts import read_frame
from circuit_transfer.faithfulness import MEASURES

LABELS = {"target": "target", "task": "a", "method": "nap"}
COLUMNS = ["target", "task", "method", "ablation", *MEASURES]


def evaluate(study, path, evaluation, task="a", scores_of="target"):
    evaluate_gold(
        study.model("target"),
        study.pairs("target", task),
        study.scores(scores_of, task),
        path,
        **LABELS | {"task": task},
        **evaluation,
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


def test_a_task_without_usable_pairs_has_columns_and_no_rows(
    study, tmp_path, evaluation
):
    empty = evaluate(study, tmp_path / "empty", evaluation, task="none")
    whole = evaluate(study, tmp_path / "whole", evaluation)
    assert empty.is_empty()
    assert empty.schema == whole.schema
    assert pl.concat([empty, whole]).equals(whole)


def test_scores_of_another_model_are_an_error(study, tmp_path, evaluation):
    with pytest.raises(ValueError, match=r"mask \(5,\) for a model of 10 nodes"):
        evaluate(study, tmp_path / "gold", evaluation, scores_of="source")
    assert not (tmp_path / "gold").exists()
