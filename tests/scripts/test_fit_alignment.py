import numpy as np
import polars as pl
import pytest
from fit_alignment import fit_alignment

from circuit_transfer.artifacts.alignments import read_alignment
from circuit_transfer.artifacts.frames import read_frame, write_frame
from circuit_transfer.artifacts.scores import read_scores
from circuit_transfer.artifacts.text import read_json
from circuit_transfer.circuits.prepared import prepare
from circuit_transfer.models.loading import load_model
from circuit_transfer.prompts.batches import pair_batches
from circuit_transfer.transfer.correspondences import node_prior
from circuit_transfer.transfer.maps import transformed
from circuit_transfer.transfer.node_training import fit
from circuit_transfer.transfer.objectives import FitSettings
from circuit_transfer.transfer.trained_maps import Start

SETTINGS = {"intervention": "circuit", "epochs": 2, "learning_rate": 0.1}
SETTINGS |= {"sparsity": 0.1}
PRIOR = {"depth_width": 0.25, "temperature": 0.3}
PRIOR |= {"correspondence": "cka", "threshold": None}
MAPS = ("free", "depth-prior", "cka-prior", "prior-residual")
LABELS = {"source": "source", "target": "target", "method": "nap"}


def fit_tasks(
    study, folder, tasks, *, training_set, controls=(), maps=("free",), **changes
):
    """Fit the seeds 0 and 1 and return what was written, by seed."""
    paths = {seed: folder / f"seed-{seed}.safetensors" for seed in (0, 1)}
    fit_alignment(
        study.model("source"),
        study.model("target"),
        [study.scores("source", task) for task in tasks],
        [study.pairs("target", task) for task in tasks],
        [study.pairs("source", task) for task in tasks],
        paths.values(),
        folder / "cost.json",
        tasks=tasks,
        seeds=list(paths),
        maps=list(maps),
        transform="max",
        prior=PRIOR,
        controls=list(controls),
        settings=SETTINGS | changes,
        batch_size=2,
        examples=5,
        training_set=training_set,
        **LABELS,
    )
    return {seed: read_alignment(path) for seed, path in paths.items()}


def test_a_fit_has_its_matrix_curves_and_settings(study, tmp_path):
    made = fit_tasks(study, tmp_path, ["a", "b"], training_set="all")
    assert not np.array_equal(made[0].alignment, made[1].alignment)
    for seed, found in made.items():
        assert found.alignment.shape == (5, 10)
        assert found.alignment.dtype == np.float32
        assert set(found.tensors) == {
            "alignment",
            "initial",
            "loss",
            "kl",
            "open_share",
        }
        # 5 examples are 3 for each task, so 2 batches of 2 at most, for 2 epochs.
        assert found.tensors["loss"].shape == found.tensors["kl"].shape == (8,)
        assert found.metadata == {
            **LABELS,
            **SETTINGS,
            "training_set": "all",
            "tasks": ["a", "b"],
            "maps": ["free"],
            "transform": "max",
            "prior": PRIOR,
            "examples": 5,
            "seed": seed,
            "source_nodes": read_json(study.model("source"))["nodes"],
            "target_nodes": read_json(study.model("target"))["nodes"],
        }


def test_the_matrix_is_the_library_s(study, tmp_path):
    made = fit_tasks(study, tmp_path, ["a", "b"], training_set="all")
    model = load_model(read_json(study.model("target"))["path"])
    tasks = ("a", "b")
    pairs = {task: read_frame(study.pairs("target", task))[:3] for task in tasks}
    prepared = prepare(model, {t: pair_batches(pairs[t], 2) for t in tasks})
    scores = {t: read_scores(study.scores("source", t)).scores for t in tasks}
    sources = {task: transformed(each, "max") for task, each in scores.items()}
    assert {np.abs(each).max() for each in sources.values()} == {1.0}
    settings = FitSettings(**SETTINGS)
    (expected,) = fit(model, prepared, [Start(sources)], settings, n_target=10, seed=1)
    assert np.array_equal(made[1].alignment, expected.alignment.numpy())


def test_trained_controls_lie_beside_the_matrix(study, tmp_path):
    controls = ["source-free", "random-source"]
    made = fit_tasks(
        study, tmp_path, ["a"], training_set="without-b", controls=controls
    )
    for control in controls:
        for name in ("alignment", "loss", "kl", "open_share"):
            found = made[0].tensors[f"{name}/{control}"]
            assert found.shape == made[0].tensors[name].shape
            assert np.isfinite(found).all()


def test_every_map_lies_beside_the_first_with_its_controls(study, tmp_path):
    controls = ["source-free", "random-source"]
    made = fit_tasks(
        study,
        tmp_path,
        ["a", "b"],
        training_set="without-family-x",
        controls=controls,
        maps=MAPS,
    )
    tensors = made[0].tensors
    untrained = {"depth-prior/alignment", "cka-prior/alignment"}
    trained = {
        f"{before}{kind}{after}"
        for before in ("", "prior-residual/")
        for kind in ("alignment", "loss", "kl", "open_share")
        for after in ("", "/source-free", "/random-source")
    } | {"initial", "prior-residual/initial"}
    biases = {
        f"prior-residual/bias{after}"
        for after in ("", "/source-free", "/random-source")
    }
    assert set(tensors) == untrained | trained | biases
    nodes = made[0].metadata["source_nodes"], made[0].metadata["target_nodes"]
    expected = node_prior(*nodes, depth_width=0.25)
    assert np.array_equal(tensors["depth-prior/alignment"], expected)
    # The prior by similarity depends on the prompts alone, not on the seed.
    alike = tensors["cka-prior/alignment"]
    assert np.array_equal(alike, made[1].tensors["cka-prior/alignment"])
    assert not np.allclose(alike, expected)
    moved = tensors["prior-residual/initial"] - tensors["initial"]
    ratio = moved[alike > 0] / alike[alike > 0]
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-3)
    # The first map is the one that it is alone, but for the rounding of longer passes.
    alone = fit_tasks(study, tmp_path / "alone", ["a", "b"], training_set="all")
    np.testing.assert_allclose(tensors["alignment"], alone[0].alignment, atol=1e-5)


def test_models_without_a_prompt_in_common_have_no_map_by_similarity(study, tmp_path):
    other = read_frame(study.pairs("source", "a")).with_columns(pl.col("row") + 1000)
    write_frame(other, tmp_path / "other.parquet")
    fit_alignment(
        study.model("source"),
        study.model("target"),
        [study.scores("source", "a")],
        [study.pairs("target", "a")],
        [tmp_path / "other.parquet"],
        [tmp_path / "fit.safetensors"],
        tmp_path / "cost.json",
        tasks=["a"],
        seeds=[0],
        maps=list(MAPS),
        transform="max",
        prior=PRIOR,
        controls=[],
        settings=SETTINGS,
        batch_size=2,
        examples=4,
        training_set="without-b",
        **LABELS,
    )
    tensors = read_alignment(tmp_path / "fit.safetensors").tensors
    for name in ("cka-prior", "prior-residual"):
        assert np.isnan(tensors[f"{name}/alignment"]).all()
    for name in ("alignment", "depth-prior/alignment"):
        assert np.isfinite(tensors[name]).all()


def test_the_cost_tells_what_every_map_took(study, tmp_path):
    fit_tasks(
        study,
        tmp_path,
        ["a", "b"],
        training_set="without-x",
        controls=["source-free"],
        maps=MAPS,
    )
    rows = read_json(tmp_path / "cost.json")
    columns = ("part", "model", "seed", "forwards", "forward_backwards")
    found = [tuple(row.get(column) for column in columns) for row in rows]
    # 3 pairs of each task: clean and corrupted once, the clean ones compared in both
    # models, and 2 epochs of every map that is trained.
    beforehand = [
        ("prepare", "target", None, 12, 0),
        ("similarity", "source", None, 6, 0),
        ("similarity", "target", None, 6, 0),
    ]
    of_seed = [
        ("free", 12),
        ("free/source-free", 12),
        ("prior-residual", 12),
        ("prior-residual/source-free", 12),
    ]
    fits = [(p, "target", seed, 0, n) for seed in (0, 1) for p, n in of_seed]
    assert found == beforehand + fits
    assert all(row["seconds"] >= 0 for row in rows)


def test_the_files_are_the_same_again_byte_by_byte(study, tmp_path):
    for folder in ("one", "two"):
        fit_tasks(study, tmp_path / folder, ["b"], training_set="only-b")
    first, second = (tmp_path / each / "seed-0.safetensors" for each in ("one", "two"))
    assert first.read_bytes() == second.read_bytes()


def test_a_task_without_usable_pairs_is_left_out(study, tmp_path):
    made = fit_tasks(study, tmp_path, ["a", "none"], training_set="without-b")
    assert made[0].metadata["tasks"] == ["a"]
    assert np.isfinite(made[0].alignment).all()


def test_without_any_usable_task_the_matrix_is_unknown(study, tmp_path):
    made = fit_tasks(study, tmp_path, ["none"], training_set="only-none")
    assert made[0].alignment.shape == (5, 10)
    assert np.isnan(made[0].alignment).all()
    assert made[0].metadata["tasks"] == []


def test_an_unknown_intervention_is_named(study, tmp_path):
    with pytest.raises(ValueError, match="intervention 'noise' is not one of"):
        fit_tasks(study, tmp_path, ["a"], training_set="only-a", intervention="noise")
    assert not list(tmp_path.iterdir())
