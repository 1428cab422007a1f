"""Alignments of fewer families: what they are trained on, and what is measured."""

from dataclasses import replace
from itertools import product
from math import ceil

import numpy as np
import polars as pl
import pytest
import torch
from polars.testing import assert_frame_equal

from circuit_transfer.models.nodes import node_names
from circuit_transfer.study.sensitivity import Settings, Study, Subject, run
from circuit_transfer.study.sensitivity.alignments import fitted_alignments
from circuit_transfer.study.sensitivity.curves import node_rankings
from circuit_transfer.study.sensitivity.scores import node_scores
from circuit_transfer.study.sensitivity.settings import (
    COMPARED,
    COMPARED_BY_SETTING,
)
from circuit_transfer.tables.training_families import GIVEN
from circuit_transfer.transfer.controls import permuted, ridge
from circuit_transfer.transfer.family_draws import drawn_tasks
from circuit_transfer.transfer.maps import transformed
from circuit_transfer.transfer.objectives import FitSettings
from circuit_transfer.transfer.training_sets import family_sets

TASKS = ("a", "b", "c", "d", "e")
FAMILIES = {"x": ["a", "b"], "c": ["c"], "d": ["d"], "e": ["e"]}
SETS = {"a": "without-family-x", "d": "without-d"}
SETTINGS = Settings(
    fit=FitSettings("circuit", epochs=1, learning_rate=0.1, sparsity=0.1),
    map="free",
    prior={"depth_width": 0.25, "temperature": 0.3, "correspondence": "cka"},
    transform="max",
    seeds=(0, 1),
    ig_steps=1,
    scored_examples=3,
    scoring_batch_size=2,
    examples=6,
    batch_size=1,
    proportions=(0.1, 0.5, 1.0),
    measured_examples=3,
    measuring_batch_size=2,
    random_rankings=1,
)
CONTROLS = COMPARED_BY_SETTING["training_families"].controls


@pytest.fixture(scope="module")
def study(tiny_model, tiny_pairs):
    def subject(name, layers):
        model = tiny_model("llama", layers=layers, seed=layers).requires_grad_(False)
        pairs = {
            task: pl.concat(
                tiny_pairs(6, split, seed=10 * seed + place)
                for place, split in enumerate(("train", "test"))
            )
            for seed, task in enumerate(TASKS)
        }
        return Subject(name, model, node_names(layers, 4), pairs)

    torch.set_num_threads(1)
    pair = {"source": subject("small", 1), "target": subject("large", 2)}
    return Study(**pair, method="nap", siblings=[], families=FAMILIES)


@pytest.fixture(scope="module")
def scores(study):
    return {
        each.name: node_scores(each, study.method, {"any": SETTINGS})["any"]
        for each in (study.source, study.target)
    }


def changed(n_families):
    return SETTINGS.changed("training_families", n_families)


def fitted(study, scores, n_families):
    compared = COMPARED_BY_SETTING["training_families"]
    variants = {"one": changed(n_families)}
    found = fitted_alignments(study, variants, {"one": scores["small"]}, compared)
    return found["one"]


@pytest.mark.parametrize("n_families", [1, 2, 3])
def test_alignments_are_trained_on_the_drawn_families(study, scores, n_families):
    found = fitted(study, scores, n_families)
    places = [(each.metadata["training_set"], each.metadata["seed"]) for each in found]
    sets = family_sets(TASKS, FAMILIES)
    assert set(places) == {*product(sets, SETTINGS.seeds)}
    assert len(places) == len(sets) * len(SETTINGS.seeds)
    for each, (name, seed) in zip(found, places, strict=True):
        drawn = drawn_tasks(name, TASKS, FAMILIES, n_families, seed=seed)
        assert each.metadata["tasks"] == drawn
        # A pair a step: as many pairs for all numbers of families, but for rounding.
        share = ceil(SETTINGS.examples / len(drawn))
        assert len(each.tensors["loss"]) == share * len(drawn)
        assert "alignment/source-free" in each.tensors
    one_seed = [
        [each.metadata["tasks"] for each in found if each.metadata["seed"] == seed]
        for seed in SETTINGS.seeds
    ]
    # There are three other families: all of them are the same for every seed.
    assert (one_seed[0] == one_seed[1]) == (n_families == 3)


def test_fewer_families_take_as_many_steps(study, scores):
    # Pairs of five and seven tokens alternate, so a task of n has n / 2 of each.
    settings = replace(SETTINGS, batch_size=6, seeds=(0,))
    compared = COMPARED_BY_SETTING["training_families"]
    variants = {str(n): settings.changed("training_families", n) for n in (1, 3)}
    sources = dict.fromkeys(variants, scores["small"])
    found = fitted_alignments(study, variants, sources, compared)
    for one, of_all in zip(found["1"], found["3"], strict=True):
        assert len(one.metadata["tasks"]) in (1, 2)
        # Two pairs of each of three tasks, or of four: one of each length.
        n_tasks = len(of_all.metadata["tasks"])
        assert len(of_all.tensors["loss"]) == 2 * n_tasks
        # Six pairs of one task, or of two: pair by pair. Batches of six are 2 or 4.
        assert len(one.tensors["loss"]) == 6


def test_all_other_families_give_the_fit_that_leaves_one_out(study, scores):
    today = fitted_alignments(
        study, {"one": SETTINGS}, {"one": scores["small"]}, COMPARED
    )
    today = {
        (each.metadata["training_set"], each.metadata["seed"]): each
        for each in today["one"]
    }
    for each in fitted(study, scores, 3):
        expected = today[each.metadata["training_set"], each.metadata["seed"]]
        assert each.metadata == expected.metadata
        assert each.tensors.keys() == expected.tensors.keys()
        for name, tensor in each.tensors.items():
            np.testing.assert_array_equal(tensor, expected.tensors[name])


def test_what_all_families_give_is_what_another_setting_gives(study):
    varied, _ = run(study, SETTINGS, "training_families", {"3": 3})
    other, _ = run(study, SETTINGS, "sparsity", {"0.1": 0.1})
    circuits = ["zero-shot-family", "source-free", "gold", "random-rankings"]
    columns = ["task", "circuit", "training_set", "control", "seed", "cpr", "cmd"]
    expected = other.filter(
        pl.col("circuit").is_in(circuits),
        pl.col("protocol").is_null() | (pl.col("protocol") == "family"),
    )
    expected = expected.select(columns).sort(columns)
    for value in ("3", "all"):
        found = varied.filter(pl.col("circuit").is_in(circuits), value=value)
        assert_frame_equal(found.select(columns).sort(columns), expected, abs_tol=0)
    assert dict(varied.select("value", "configured").unique().rows()) == {
        "3": False,
        "all": True,
    }


def test_every_map_has_its_controls_for_every_seed(study):
    areas, _ = run(study, SETTINGS, "training_families", {"1": 1})
    assert set(areas["protocol"].unique()) == {None, "family"}
    kinds = areas["circuit"].unique().to_list()
    known = {"gold", "random-rankings", "zero-shot-family", *CONTROLS}
    assert set(kinds) == known and set(GIVEN) == {"none", *CONTROLS}
    aligned = areas.filter(kind="aligned", value="1")
    for task, training_set in SETS.items():
        rows = aligned.filter(task=task)
        assert set(rows["training_set"]) == {training_set}
        found = rows.select("control", "seed").rows()
        assert sorted(found) == sorted(product(("none", *CONTROLS), SETTINGS.seeds))
    assert areas["cpr"].is_not_null().all()


def test_ridge_is_the_closed_form_on_the_drawn_tasks(study, scores):
    rankings = node_rankings(
        study,
        changed(2),
        scores["small"],
        scores["large"],
        fitted(study, scores, 2),
        CONTROLS,
    )
    scaled, gold = (
        {task: transformed(each, "max") for task, each in scores[name].items()}
        for name in ("small", "large")
    )
    for (task, name), seed in product(SETS.items(), SETTINGS.seeds):
        tasks = drawn_tasks(name, TASKS, FAMILIES, 2, seed=seed)
        seen, found = (np.stack([of[t] for t in tasks]) for of in (scaled, gold))
        shuffled = permuted(scaled[task], task=task, seed=seed, what="scrambled-source")
        expected = {
            "ridge": ridge(seen, found, scaled[task]),
            "ridge-scrambled-source": ridge(seen, found, shuffled),
            "mean-gold": found.mean(0),
        }
        for control, values in expected.items():
            (row,) = rankings[task].filter(control=control, seed=seed)["scores"]
            np.testing.assert_allclose(row.to_numpy(), values, rtol=1e-4, atol=1e-6)


def test_one_family_of_one_task_leaves_ridge_nothing_of_the_source(study):
    alone = replace(study, families={task: [task] for task in TASKS})
    areas, _ = run(alone, SETTINGS, "training_families", {"1": 1})
    aligned = areas.filter(value="1", kind="aligned")
    of_mean, *given = (
        aligned.filter(control=name).sort("task", "seed")["cpr"].to_list()
        for name in ("mean-gold", *(each for each in CONTROLS if "ridge" in each))
    )
    assert len(given) == 3 and len(of_mean) == len(TASKS) * len(SETTINGS.seeds)
    assert all(each == of_mean for each in given)
