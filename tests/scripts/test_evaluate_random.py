import pytest
from evaluate_random import evaluate_random
from polars.testing import assert_frame_equal

from circuit_transfer.artifacts.frames import read_frame
from circuit_transfer.artifacts.text import read_json, write_json
from circuit_transfer.circuits.faithfulness import MEASURES

COLUMNS = ["target", "task", "method", "seed", "ablation", *MEASURES]


def evaluate(study, path, evaluation, *, task="a", rankings=3, model=None):
    evaluate_random(
        model or study.model("target"),
        study.pairs("target", task),
        path,
        path.with_suffix(".json"),
        target="target",
        task=task,
        rankings=rankings,
        settings=evaluation,
    )
    return read_frame(path)


def test_every_ranking_has_a_row_for_every_size(
    study, tmp_path, evaluation, full_logit_diff
):
    frame = evaluate(study, tmp_path / "random.parquet", evaluation)
    assert frame.columns == COLUMNS
    assert set(frame["method"]) == {"random"}
    assert frame["complement_faithfulness"].is_null().all()
    assert [cost["part"] for cost in read_json(tmp_path / "random.json")] == (
        evaluation["ablations"]
    )
    assert frame["seed"].to_list() == [seed for seed in range(3) for _ in range(4)]
    assert frame["n_nodes"].to_list() == [0, 3, 6, 10] * 3
    by_seed = frame.filter(n_nodes=3)["faithfulness"]
    assert by_seed.n_unique() == 3
    full = frame.filter(n_nodes=10)
    assert set(full["faithfulness"]) == {1.0}
    assert full["logit_diff"].to_list() == pytest.approx(
        [full_logit_diff] * 3, rel=1e-4
    )


def test_more_rankings_begin_with_the_same(study, tmp_path, evaluation):
    few = evaluate(study, tmp_path / "few", evaluation, rankings=2)
    many = evaluate(study, tmp_path / "many", evaluation, rankings=4)
    # Other circuits beside them in a pass may change the rounding.
    assert_frame_equal(many[: len(few)], few, rel_tol=1e-4, abs_tol=1e-6)


def test_no_rankings_have_columns_and_no_rows(study, tmp_path, evaluation):
    frame = evaluate(study, tmp_path / "none.parquet", evaluation, rankings=0)
    assert frame.is_empty()
    assert frame.columns == COLUMNS


def test_a_task_without_usable_pairs_has_columns_and_no_rows(
    study, tmp_path, evaluation
):
    empty = evaluate(study, tmp_path / "empty", evaluation, task="none")
    assert empty.columns == COLUMNS
    assert empty.is_empty()


def test_a_checkpoint_that_is_gone_is_named(study, tmp_path, evaluation):
    description = read_json(study.model("target"))
    moved = tmp_path / "model.json"
    write_json({**description, "path": str(tmp_path / "gone")}, moved)
    with pytest.raises(FileNotFoundError, match="gone: no such checkpoint folder"):
        evaluate(study, tmp_path / "random", evaluation, model=moved)
