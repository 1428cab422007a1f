import numpy as np
import pytest
from fit_free_mask import fit_free_mask

from circuit_transfer.artifacts.alignments import read_alignment
from circuit_transfer.artifacts.text import read_json

SETTINGS = {"intervention": "circuit", "epochs": 6, "learning_rate": 0.1}
SETTINGS |= {"sparsity": 0.1}


def fit_task(study, folder, task, **changes):
    paths = {seed: folder / f"seed-{seed}.safetensors" for seed in (0, 1)}
    fit_free_mask(
        study.model("target"),
        study.pairs("target", task),
        paths.values(),
        folder / "cost.json",
        seeds=list(paths),
        target="target",
        task=task,
        settings=SETTINGS | changes,
        batch_size=2,
        examples=4,
    )
    return {seed: read_alignment(path) for seed, path in paths.items()}


def test_a_mask_has_one_row_and_learns(study, tmp_path):
    made = fit_task(study, tmp_path, "a")
    assert not np.array_equal(made[0].alignment, made[1].alignment)
    for seed, found in made.items():
        assert found.alignment.shape == (1, 10)
        loss = found.tensors["loss"]
        assert loss.shape == (12,)
        assert loss[-2:].mean() < loss[:2].mean()
        assert found.metadata == {
            **SETTINGS,
            "target": "target",
            "task": "a",
            "examples": 4,
            "seed": seed,
            "maps": ["free"],
            "target_nodes": read_json(study.model("target"))["nodes"],
        }


def test_the_cost_is_two_passes_of_every_pair_and_those_of_every_seed(study, tmp_path):
    fit_task(study, tmp_path, "a")
    rows = read_json(tmp_path / "cost.json")
    columns = ("part", "forwards", "forward_backwards")
    found = [tuple(row[column] for column in columns) for row in rows]
    # 4 pairs for 6 epochs.
    assert found == [("prepare", 8, 0), ("free-mask", 0, 24), ("free-mask", 0, 24)]
    assert [row.get("seed") for row in rows] == [None, 0, 1]
    assert {row["model"] for row in rows} == {"target"}


def test_a_task_without_usable_pairs_has_an_unknown_mask(study, tmp_path):
    made = fit_task(study, tmp_path, "none")
    assert np.isnan(made[0].alignment).all()
    assert made[0].alignment.shape == (1, 10)


def test_an_unknown_intervention_is_named(study, tmp_path):
    with pytest.raises(ValueError, match="intervention 'noise' is not one of"):
        fit_task(study, tmp_path, "a", intervention="noise")
