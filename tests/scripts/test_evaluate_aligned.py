import numpy as np
import polars as pl
import pytest
from carry_gradients import carry_gradients
from evaluate_aligned import evaluate_aligned
from evaluate_gold import evaluate_gold
from fit_alignment import fit_alignment
from fit_free_mask import fit_free_mask
from stitch_alignment import stitch_alignment

from circuit_transfer.artifacts.alignments import read_alignment, write_alignment
from circuit_transfer.artifacts.frames import read_frame
from circuit_transfer.artifacts.scores import read_scores
from circuit_transfer.artifacts.tensors import read_tensors
from circuit_transfer.artifacts.text import read_json
from circuit_transfer.circuits.faithfulness import MEASURES
from circuit_transfer.models.loading import load_model
from circuit_transfer.prompts.batches import pair_batches
from circuit_transfer.transfer.carried_gradients import carried_scores, stream_gradients
from circuit_transfer.transfer.changes import change_scores, run_both
from circuit_transfer.transfer.controls import CONTROLS, trained_controls
from circuit_transfer.transfer.gradient_controls import other_gradients, shuffled
from circuit_transfer.transfer.maps import fitted_maps, transformed
from circuit_transfer.transfer.shared_prompts import shared_batches, shorten_both
from circuit_transfer.transfer.stitching import stitched_alignment
from circuit_transfer.transfer.training_sets import (
    evaluated_training_sets,
    training_tasks,
)

SETTINGS = {"intervention": "circuit", "epochs": 1, "learning_rate": 0.1}
SETTINGS |= {"sparsity": 0.1}
FIT = {"settings": SETTINGS, "batch_size": 4, "examples": 4}
PRIOR = {"depth_width": 0.25, "temperature": 0.3}
PRIOR |= {"correspondence": "cka", "threshold": None}
TASKS = ("a", "b", "none")
FAMILIES = {"first": ["a"], "second": ["b", "none"]}
FAMILY = {"a": "first", "b": "second", "none": "second"}
# The task `a` is a family by itself, and so it is left out once.
WITHOUT_FAMILY = {"a": "without-a", "b": "without-family-second"}
LABELS = {"source": "source", "target": "target", "method": "nap"}
KEYS = ["source", "target", "task", "method", "training_set", "map", "control", "seed"]
# Of controls, the training sets; of maps: once for all seeds, or once for each.
ZERO_SHOT = ("without-{task}", "{without_family}")
EXPECTED = {
    ("free", "none"): ("only-a", "only-b", *ZERO_SHOT, "all"),
    ("free", "scrambled-source"): ZERO_SHOT,
    ("free", "permuted-alignment"): ZERO_SHOT,
    ("free", "source-free"): ZERO_SHOT,
    ("free", "random-source"): ZERO_SHOT,
    ("free", "other-family"): ZERO_SHOT,
    ("free", "random-alignment"): (None,),
    ("depth-prior", "random-source"): ZERO_SHOT,
    ("depth-prior", "other-family"): ZERO_SHOT,
    ("stitched", "random-source"): ZERO_SHOT,
    ("stitched", "other-family"): ZERO_SHOT,
    ("carried-gradients", "random-source"): ZERO_SHOT,
    ("carried-gradients", "other-family"): ZERO_SHOT,
    (None, "free-mask"): ("only-{task}",),
}
EXPECTED_ONCE = {
    ("depth-prior", "none"): ZERO_SHOT,
    ("depth-prior", "source-free"): ZERO_SHOT,
    ("stitched", "none"): ZERO_SHOT,
    ("stitched", "source-free"): ZERO_SHOT,
    ("carried-gradients", "none"): ZERO_SHOT,
    ("carried-gradients", "source-free"): ZERO_SHOT,
    (None, "mean-gold"): ZERO_SHOT,
    (None, "ridge"): ZERO_SHOT,
    (None, "node-changes"): ZERO_SHOT,
    (None, "self-stitched"): ZERO_SHOT,
    (None, "depth-heuristic"): (None,),
    (None, "mlps-first"): (None,),
}


@pytest.fixture(scope="module")
def evaluated(study, evaluation, tmp_path_factory):
    """The chain from scores to frames: what is written for every task."""
    folder = tmp_path_factory.mktemp("aligned")

    def trained(training_set):
        tasks = training_tasks(training_set, TASKS, FAMILIES)
        paths = {s: folder / training_set / f"{s}.safetensors" for s in (0, 1)}
        if not paths[0].exists():
            fit_alignment(
                study.model("source"),
                study.model("target"),
                [study.scores("source", task) for task in tasks],
                [study.pairs("target", task) for task in tasks],
                [],
                paths.values(),
                folder / training_set / "cost.json",
                tasks=tasks,
                seeds=list(paths),
                maps=fitted_maps(training_set, "free", ["depth-prior"]),
                transform="max",
                prior=PRIOR,
                controls=trained_controls(training_set, CONTROLS),
                training_set=training_set,
                **LABELS,
                **FIT,
            )
        return list(paths.values())

    def stitched(task):
        """Stitch both ways; return the two paths."""
        models = study.model("source"), study.model("target")
        pairs = study.pairs("source", task), study.pairs("target", task)
        made = {"examples": 4, "batch_size": 3, "task": task}
        paths = [folder / f"{task}.{each}" for each in ("stitched", "carried")]
        costs = [path.with_name(f"{path.name}.json") for path in paths]
        pair = {"source": "source", "target": "target"}
        stitch_alignment(*models, *pairs, paths[0], costs[0], **made, **pair)
        others = [each for each in TASKS if FAMILY[each] != FAMILY[task]]
        made |= {"steps": 2, "seeds": (0, 1), "others": others}
        others = [study.pairs("source", each) for each in others]
        carry_gradients(*models, *pairs, others, paths[1], costs[1], **made, **LABELS)
        return paths

    def evaluate(task):
        sets = evaluated_training_sets(task, TASKS, FAMILIES)
        masks = {s: folder / "masks" / task / f"{s}.safetensors" for s in (0, 1)}
        model, pairs = study.model("target"), study.pairs("target", task)
        cost = folder / "masks" / f"{task}.json"
        names = {"target": "target", "task": task, "seeds": list(masks)}
        fit_free_mask(model, pairs, masks.values(), cost, **names, **FIT)
        beside = dict(
            zip(("stitched_path", "carried_path"), stitched(task), strict=True)
        )
        evaluate_aligned(
            model,
            pairs,
            [study.scores("source", each) for each in TASKS],
            [study.scores("target", each) for each in TASKS],
            [path for training_set in sets for path in trained(training_set)],
            list(masks.values()),
            folder / f"{task}.parquet",
            folder / f"{task}.projections.parquet",
            folder / f"{task}.json",
            controls=CONTROLS,
            families=FAMILIES,
            task=task,
            tasks=TASKS,
            **LABELS,
            **beside,
            settings=evaluation,
        )
        return read_frame(folder / f"{task}.parquet")

    frames = {task: evaluate(task) for task in TASKS}
    return frames, folder


def test_the_frame_has_the_labels_and_every_size(evaluated, evaluation):
    frame = evaluated[0]["a"]
    assert frame.columns == [*KEYS, "collapsed", "ablation", *MEASURES]
    keys = frame.select(*KEYS[:4], "ablation").unique().rows()
    assert keys == [("source", "target", "a", "nap", "counterfactual")]
    sizes = frame.group_by(KEYS[4:]).agg("proportion")
    assert sizes["proportion"].to_list() == [evaluation["proportions"]] * len(sizes)


def test_complements_are_measured_of_aligned_circuits_alone(evaluated):
    frame = evaluated[0]["a"]
    aligned = pl.col("control") == "none"
    complements = frame.select(aligned, known=pl.col("complement_faithfulness"))
    assert complements.filter("control")["known"].is_not_null().all()
    assert complements.filter(~pl.col("control"))["known"].is_null().all()


def test_every_map_and_control_is_there_with_its_training_sets(evaluated):
    for task in ("a", "b"):
        names = {"task": task, "without_family": WITHOUT_FAMILY[task]}

        def expected(labels, seeds, names=names):
            return {
                (each and each.format(**names), *map_and_control, seed)
                for map_and_control, training_sets in labels.items()
                for each in training_sets
                for seed in seeds
            }

        found = evaluated[0][task].select("training_set", "map", "control", "seed")
        wanted = expected(EXPECTED, (0, 1)) | expected(EXPECTED_ONCE, (None,))
        assert set(found.rows()) == wanted


@pytest.fixture
def both(study):
    """Both models, and the prompts of task `a` that they are stitched on."""
    names = ("source", "target")
    models = [load_model(read_json(study.model(x))["path"]) for x in names]
    pairs = [read_frame(study.pairs(x, "a"))[:4] for x in names]
    return models, shorten_both(*models, shared_batches(*pairs, 3, "cpu"))


def scores_of(evaluated, name, control):
    """Return the scores of task `a` by a map and control, seed by seed."""
    projections = read_frame(evaluated[1] / "a.projections.parquet")
    same_map = pl.col("map").eq_missing(pl.lit(name, pl.String))
    rows = projections.filter(same_map, control=control).sort("training_set", "seed")
    assert rows["training_set"].unique().to_list() == ["without-a"]
    return np.array(rows["scores"].to_list(), np.float32)


def test_stitched_scores_are_the_source_s_through_the_task_s_matrix(
    evaluated, study, both
):
    models, prompts = both
    matrix = stitched_alignment(*models, *run_both(*models, prompts)).numpy()
    found = read_alignment(evaluated[1] / "a.stitched").alignment
    assert np.array_equal(found, matrix)

    def vector(task):
        scores = read_scores(study.scores("source", task)).scores
        return transformed(scores, "max")

    (scores,) = scores_of(evaluated, "stitched", "none")
    np.testing.assert_allclose(scores, vector("a") @ matrix, rtol=1e-5)
    (constant,) = scores_of(evaluated, "stitched", "source-free")
    ratio = constant / matrix.sum(0)
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-4)
    for other in scores_of(evaluated, "stitched", "other-family"):
        np.testing.assert_allclose(other, vector("b") @ matrix, rtol=1e-4, atol=1e-6)
    changes = run_both(*models, prompts)[1]
    (own,) = scores_of(evaluated, None, "node-changes")
    assert own.tolist() == change_scores(models[1], changes).tolist()
    (own,) = scores_of(evaluated, None, "self-stitched")
    itself = stitched_alignment(models[1], models[1], changes, changes)
    assert own.tolist() == itself.sum(0).tolist()
    costs = read_json(evaluated[1] / "a.stitched.json")
    assert [(row["model"], row["forwards"]) for row in costs] == [
        ("source", 8),
        ("target", 8),
    ]


def test_carried_scores_come_from_the_gradients_of_the_source(evaluated, study, both):
    models, prompts = both
    changes = run_both(*models, prompts)
    gradients = [stream_gradients(models[0], batch, 2) for batch, _ in prompts]
    others = pair_batches(read_frame(study.pairs("source", "b"))[:4], 3)
    others = other_gradients(models[0], gradients, others, 2)
    sets = {
        "none": [gradients],
        "random-source": [shuffled(gradients, seed) for seed in (0, 1)],
        # Of another family there is but one task with pairs.
        "other-family": [others, others],
    }
    batches = [batch for _, batch in prompts]
    for control, given in sets.items():
        expected = carried_scores(models[1], batches, *changes, given)
        found = scores_of(evaluated, "carried-gradients", control)
        assert found.tolist() == expected.tolist()
    (free,) = scores_of(evaluated, "carried-gradients", "source-free")
    assert free.tolist() == change_scores(models[1], changes[1]).tolist()
    costs = read_json(evaluated[1] / "a.carried.json")
    columns = ("model", "forwards", "forward_backwards")
    # Two runs of both; two steps of the source, one more run of the target.
    assert [tuple(row[x] for x in columns) for row in costs] == [
        ("source", 8, 8),
        ("target", 12, 0),
    ]


def test_a_fitting_batch_size_changes_no_scores(evaluated, study, tmp_path):
    models = study.model("source"), study.model("target")
    pairs = study.pairs("source", "a"), study.pairs("target", "a")
    made = {"examples": 4, "batch_size": "auto", "task": "a"}
    pair = {"source": "source", "target": "target"}
    paths = tmp_path / "a.stitched", tmp_path / "a.carried"
    cost = tmp_path / "cost.json"
    stitch_alignment(*models, *pairs, paths[0], cost, **made, **pair)
    made |= {"steps": 2, "seeds": (0, 1), "others": []}
    carry_gradients(*models, *pairs, [], paths[1], cost, **made, **LABELS)
    for path, name in zip(paths, ("alignment", "none"), strict=True):
        found, expected = (
            read_tensors(each)[0] for each in (path, evaluated[1] / path.name)
        )
        size = np.abs(expected[name]).max()
        np.testing.assert_allclose(found[name], expected[name], atol=1e-5 * size)


def test_projections_hold_the_scores_of_every_ranking(evaluated):
    frames, folder = evaluated
    projections = read_frame(folder / "a.projections.parquet")
    assert projections.columns == [*KEYS, "scores", "collapsed"]
    assert set(projections["scores"].list.len()) == {10}
    measured = frames["a"].select(KEYS).unique()
    # `only-none` was trained on nothing: its matrix is unknown and has no circuits.
    unknown = projections.join(measured, on=KEYS, how="anti", nulls_equal=True)
    assert set(unknown["training_set"]) == {"only-none"}


def test_a_task_without_usable_pairs_has_columns_and_no_rows(evaluated):
    frames, folder = evaluated
    assert frames["none"].is_empty()
    assert frames["none"].schema == frames["a"].schema
    (cost,) = read_json(folder / "none.json")
    assert cost["forwards"] == 0


def test_without_shared_pairs_nothing_is_carried_over(evaluated):
    folder = evaluated[1]
    assert np.isnan(read_alignment(folder / "none.stitched").alignment).all()
    carried = read_tensors(folder / "none.carried")[0]
    assert all(np.isnan(each).all() for each in carried.values())
    for name in ("stitched", "carried"):
        assert read_json(folder / f"none.{name}.json") == []


def test_a_model_aligned_with_itself_by_identity_gives_the_gold_circuit(
    study, tmp_path, evaluation
):
    nodes = read_json(study.model("target"))["nodes"]
    metadata = {"source_nodes": nodes, "target_nodes": nodes}
    metadata |= {"training_set": "all", "seed": 0, "tasks": ["a"]}
    metadata |= {"maps": ["free"], "transform": "max"}
    identity = {"alignment": np.eye(10, dtype=np.float32)}
    write_alignment(tmp_path / "identity", identity, metadata)
    paths = study.model("target"), study.pairs("target", "a")
    labels = {"target": "target", "task": "a", "method": "nap"}
    scores = study.scores("target", "a")
    gold_path, gold_cost = tmp_path / "gold", tmp_path / "gold.json"
    evaluate_gold(*paths, scores, gold_path, gold_cost, **labels, settings=evaluation)
    evaluate_aligned(
        *paths,
        [scores],
        [scores],
        [tmp_path / "identity"],
        [],
        tmp_path / "aligned",
        tmp_path / "projections",
        tmp_path / "aligned.json",
        controls=[],
        families={},
        source="target",
        tasks=["a"],
        **labels,
        settings=evaluation,
    )
    gold, aligned = (read_frame(tmp_path / each) for each in ("gold", "aligned"))
    assert aligned.select(gold.columns).equals(gold)
    assert aligned["control"].unique().to_list() == ["none"]
    costs = [read_json(tmp_path / f"{each}.json") for each in ("gold", "aligned")]
    assert costs[0][0]["forwards"] == costs[1][0]["forwards"] > 0


def test_a_missing_alignment_is_named(study, tmp_path, evaluation):
    with pytest.raises(FileNotFoundError, match="absent"):
        evaluate_aligned(
            study.model("target"),
            study.pairs("target", "a"),
            [study.scores("source", "a")],
            [study.scores("target", "a")],
            [tmp_path / "absent"],
            [],
            *(tmp_path / name for name in ("frame", "projections", "cost")),
            controls=[],
            families={},
            task="a",
            tasks=["a"],
            **LABELS,
            settings=evaluation,
        )
