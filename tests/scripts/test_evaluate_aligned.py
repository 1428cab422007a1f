import numpy as np
import polars as pl
import pytest
from evaluate_aligned import evaluate_aligned
from evaluate_gold import evaluate_gold
from fit_alignment import fit_alignment
from fit_free_mask import fit_free_mask

from circuit_transfer.artifacts import read_frame, read_json, write_alignment
from circuit_transfer.controls import CONTROLS, trained_controls, training_tasks
from circuit_transfer.faithfulness import MEASURES

SETTINGS = {"intervention": "circuit", "epochs": 1, "learning_rate": 0.1}
SETTINGS |= {"sparsity": 0.1}
FIT = {"settings": SETTINGS, "batch_size": 4, "examples": 4}
TASKS = ("a", "b", "none")
LABELS = {"source": "source", "target": "target", "method": "nap"}
COLUMNS = ["source", "target", "task", "method", "ablation"]
COLUMNS += ["training_set", "control", "seed", *MEASURES]
TRAINED_ON_THE_TASK_OR_NOT = {
    "scrambled-source": "without-{task}",
    "permuted-alignment": "without-{task}",
    "source-free": "without-{task}",
    "random-source": "without-{task}",
    "free-mask": "only-{task}",
    "random-alignment": None,
    "depth-heuristic": None,
}


@pytest.fixture(scope="module")
def evaluated(study, evaluation, tmp_path_factory):
    """The chain from scores to frames: what is written for every task."""
    folder = tmp_path_factory.mktemp("aligned")

    def trained(training_set):
        tasks = training_tasks(training_set, TASKS)
        paths = {s: folder / training_set / f"{s}.safetensors" for s in (0, 1)}
        if not paths[0].exists():
            fit_alignment(
                study.model("source"),
                study.model("target"),
                {task: study.scores("source", task) for task in tasks},
                {task: study.pairs("target", task) for task in tasks},
                paths,
                controls=trained_controls(training_set, CONTROLS),
                training_set=training_set,
                **LABELS,
                **FIT,
            )
        return list(paths.values())

    def evaluate(task):
        sets = [*(f"only-{each}" for each in TASKS), f"without-{task}", "all"]
        masks = {s: folder / "masks" / task / f"{s}.safetensors" for s in (0, 1)}
        model, pairs = study.model("target"), study.pairs("target", task)
        fit_free_mask(model, pairs, masks, target="target", task=task, **FIT)
        evaluate_aligned(
            model,
            pairs,
            study.scores("source", task),
            [path for training_set in sets for path in trained(training_set)],
            list(masks.values()),
            folder / f"{task}.parquet",
            controls=CONTROLS,
            **dict(zip(COLUMNS, ("source", "target", task, "nap"), strict=False)),
            **evaluation,
        )
        return read_frame(folder / f"{task}.parquet")

    return {task: evaluate(task) for task in TASKS}


def test_the_frame_has_the_labels_and_every_size(evaluated, evaluation):
    frame = evaluated["a"]
    assert frame.columns == COLUMNS
    keys = frame.select(COLUMNS[:5]).unique().rows()
    assert keys == [("source", "target", "a", "nap", "counterfactual")]
    sizes = frame.group_by("training_set", "control", "seed").agg("proportion")
    assert sizes["proportion"].to_list() == [evaluation["proportions"]] * len(sizes)


def test_circuits_come_from_every_training_set_that_has_pairs(evaluated):
    found = evaluated["b"].filter(control="none").select("training_set", "seed")
    known = ("only-a", "only-b", "without-b", "all")
    # `only-none` was trained on nothing: its matrix is unknown and has no rows.
    expected = {(name, seed) for name in known for seed in (0, 1)}
    assert set(found.rows()) == expected


@pytest.mark.parametrize("task", ["a", "b"])
def test_every_control_is_there_with_its_training_set(evaluated, task):
    frame = evaluated[task].filter(pl.col("control") != "none")
    found = set(frame.select("control", "training_set", "seed").rows())
    expected = {
        (control, name and name.format(task=task), seed)
        for control, name in TRAINED_ON_THE_TASK_OR_NOT.items()
        for seed in ((None,) if control == "depth-heuristic" else (0, 1))
    }
    assert found == expected


def test_a_task_without_usable_pairs_has_columns_and_no_rows(evaluated):
    assert evaluated["none"].is_empty()
    assert evaluated["none"].schema == evaluated["a"].schema


def test_a_model_aligned_with_itself_by_identity_gives_the_gold_circuit(
    study, tmp_path, evaluation
):
    nodes = read_json(study.model("target"))["nodes"]
    metadata = {"source_nodes": nodes, "target_nodes": nodes}
    metadata |= {"training_set": "all", "seed": 0}
    identity = {"alignment": np.eye(10, dtype=np.float32)}
    write_alignment(tmp_path / "identity", identity, metadata)
    paths = study.model("target"), study.pairs("target", "a")
    labels = {"target": "target", "task": "a", "method": "nap"}
    scores = study.scores("target", "a")
    evaluate_gold(*paths, scores, tmp_path / "gold", **labels, **evaluation)
    evaluate_aligned(
        *paths,
        scores,
        [tmp_path / "identity"],
        [],
        tmp_path / "aligned",
        controls=[],
        source="target",
        **labels,
        **evaluation,
    )
    gold, aligned = (read_frame(tmp_path / each) for each in ("gold", "aligned"))
    assert aligned.select(gold.columns).equals(gold)
    assert aligned["control"].unique().to_list() == ["none"]


def test_a_missing_alignment_is_named(study, tmp_path, evaluation):
    with pytest.raises(FileNotFoundError, match="absent"):
        evaluate_aligned(
            study.model("target"),
            study.pairs("target", "a"),
            study.scores("source", "a"),
            [tmp_path / "absent"],
            [],
            tmp_path / "frame",
            controls=[],
            task="a",
            **LABELS,
            **evaluation,
        )
