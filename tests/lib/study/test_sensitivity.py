from dataclasses import asdict, replace

import numpy as np
import polars as pl
import pytest
import torch
from polars.testing import assert_frame_equal

from circuit_transfer.circuits.attribution import attribute
from circuit_transfer.circuits.faithfulness import evaluate_circuits
from circuit_transfer.models.nodes import node_names
from circuit_transfer.prompts.batches import pair_batches
from circuit_transfer.study.sensitivity import SCHEMA, Settings, Study, Subject, run
from circuit_transfer.tables import curve_areas
from circuit_transfer.transfer.objectives import FitSettings
from circuit_transfer.transfer.training_sets import PROTOCOLS

TASKS = ("a", "b", "c")
FAMILIES = {"x": ["a", "b"], "y": ["c"]}
SETTINGS = Settings(
    fit=FitSettings("circuit", epochs=1, learning_rate=0.1, sparsity=0.1),
    map="free",
    prior={"depth_width": 0.25, "temperature": 0.3, "correspondence": "cka"},
    transform="max",
    seeds=(0, 1),
    ig_steps=2,
    scored_examples=3,
    scoring_batch_size=2,
    examples=5,
    batch_size=2,
    proportions=(0.1, 0.5, 1.0),
    measured_examples=3,
    measuring_batch_size=2,
    random_rankings=2,
)
VALUES = {
    "sparsity": {"0.1": 0.1, "2": 2.0},
    "epochs": {"1": 1, "2": 2},
    "initial_scale": {"0.02": 0.02, "1": 1.0},
    "ig_steps": {"2": 2, "1": 1},
    "examples": {"5": 5, "9": 9},
    "proportions": {"mib": [0.1, 0.5, 1.0], "dense": [0.1, 0.2, 0.4, 0.7, 1.0]},
    "ablation": {"counterfactual": "counterfactual", "zero": "zero", "mean": "mean"},
}


@pytest.fixture(scope="module")
def study(tiny_model, tiny_pairs):
    def subject(name, layers):
        model = tiny_model("llama", layers=layers, seed=layers).requires_grad_(False)
        pairs = {
            task: pl.concat(
                tiny_pairs(4, split, seed=10 * seed + place)
                for place, split in enumerate(("train", "test"))
            )
            for seed, task in enumerate(TASKS)
        }
        return Subject(name, model, node_names(layers, 4), pairs)

    torch.set_num_threads(1)
    pair = {"source": subject("small", 1), "target": subject("large", 2)}
    return Study(
        **pair, method="nap-ig-activations", siblings=[["a", "b"]], families=FAMILIES
    )


def sorted_rows(areas):
    keys = [name for name in SCHEMA if name not in ("configured", "cpr", "cmd")]
    return areas.drop("configured").sort(keys, nulls_last=True)


@pytest.mark.parametrize("setting", VALUES)
def test_a_value_gives_what_it_gives_alone(study, setting):
    # Nothing that depends on the value is taken from another one's study.
    values = VALUES[setting]
    together, _ = run(study, SETTINGS, setting, values)
    for name, value in values.items():
        changed = SETTINGS.changed(setting, value)
        alone, _ = run(study, changed, setting, {name: value})
        assert alone["configured"].all()
        found = together.filter(pl.col("value") == name)
        assert_frame_equal(sorted_rows(found), sorted_rows(alone), abs_tol=1e-4)
    by_value = together.select("value", "configured").unique()
    assert dict(by_value.rows()) == {
        name: SETTINGS.changed(setting, value) == SETTINGS
        for name, value in values.items()
    }
    # And the value matters, so that taking another's would have been seen.
    assert together.group_by("value").agg(pl.mean("cpr"))["cpr"].n_unique() > 1


@pytest.mark.parametrize("ablation", ["zero", "mean"])
def test_gold_is_scored_and_measured_under_the_ablation(study, ablation):
    areas, _ = run(study, SETTINGS, "ablation", {ablation: ablation})
    found = areas.filter(value=ablation, circuit="gold", task="b")
    pairs = study.target.pairs["b"]
    train, test = (pairs.filter(split=split)[:3] for split in ("train", "test"))
    scores = attribute(
        study.target.model,
        pair_batches(train, 3),
        method=study.method,
        ig_steps=2,
        ablation=ablation,
    ).mean()
    curve = evaluate_circuits(
        study.target.model,
        pair_batches(test, 3),
        pl.DataFrame({"scores": [scores.tolist()]}),
        SETTINGS.proportions,
        ablation=ablation,
    )
    cpr, cmd = curve_areas(curve["proportion"], curve["faithfulness"])
    assert found.select("cpr", "cmd").row(0) == pytest.approx((cpr, cmd), abs=1e-4)
    assert found["ablation"].to_list() == [ablation]


def test_every_circuit_is_there_for_every_seed_and_protocol(study):
    areas, _ = run(study, SETTINGS, "sparsity", {"2": 2.0})
    assert areas.schema == pl.Schema(SCHEMA)
    # Of a family of two; and of a task that is one by itself, left out once.
    for task, of_family in (("a", "without-family-x"), ("c", "without-c")):
        rows = areas.filter(value="2", task=task)
        rows = rows.select("circuit", "protocol", "training_set", "seed")
        names = {("in-distribution", None, f"only-{task}")}
        for protocol, name in (("task", f"without-{task}"), ("family", of_family)):
            names |= {(PROTOCOLS[protocol], protocol, name)}
            names |= {("source-free", protocol, name)}
        expected = {("gold", None, None, None)}
        expected |= {("random-rankings", None, None, seed) for seed in range(2)}
        expected |= {(*name, seed) for name in names for seed in SETTINGS.seeds}
        assert len(rows) == len(expected) and set(rows.rows()) == expected
    # The configured value was not asked for, and is there and marked all the same.
    assert areas.filter("configured")["value"].unique().to_list() == ["0.1"]
    names = areas.select("source", "target", "method", "setting").unique().rows()
    assert names == [("small", "large", "nap-ig-activations", "sparsity")]


def test_what_values_share_runs_once(study):
    one, two = (
        run(study, SETTINGS, "sparsity", values)[1]
        for values in ({"0.1": 0.1}, VALUES["sparsity"])
    )
    parts = [(cost["part"], cost["model"]) for cost in two]
    scored = [("attribute", "small"), ("attribute", "large")]
    assert parts == [*scored, ("fit", "large"), ("evaluate", "large")]
    for few, many in zip(one[:2], two[:2], strict=True):
        assert few["forwards"] == many["forwards"] > 0
        assert few["forward_backwards"] == many["forward_backwards"] > 0
    fit_one, fit_two = one[2], two[2]
    # Pairs are prepared once and trained on twice.
    assert fit_one["forwards"] == fit_two["forwards"]
    assert 2 * fit_one["forward_backwards"] == fit_two["forward_backwards"]
    assert one[3]["forwards"] < two[3]["forwards"] < 2 * one[3]["forwards"]


def test_a_value_that_the_method_cannot_have_is_an_empty_cell(study, caplog):
    of_inputs = replace(study, method="nap-ig-inputs")
    areas, _ = run(of_inputs, SETTINGS, "ablation", {"zero": "zero"})
    empty = areas.filter(value="zero")
    assert empty["task"].to_list() == list(TASKS)
    assert empty["cpr"].null_count() == empty["cmd"].null_count() == len(TASKS)
    known = areas.filter(value="counterfactual")
    assert known["cpr"].null_count() == 0 and len(known) > len(TASKS)
    said = "its cells stay empty: ablation 'zero' with nap-ig-inputs"
    assert said in caplog.text


def test_a_task_without_pairs_has_no_rows_and_harms_no_other(study):
    nothing = {"none": study.target.pairs["a"].clear()}
    source, target = (
        replace(each, pairs=each.pairs | nothing)
        for each in (study.source, study.target)
    )
    more = replace(study, source=source, target=target)
    few = replace(SETTINGS, examples=3)
    with_it, _ = run(more, few, "sparsity", {"0.1": 0.1})
    assert "none" not in with_it["task"].to_list()
    without, _ = run(study, few, "sparsity", {"0.1": 0.1})
    trained_on_one = pl.col("training_set").str.starts_with("only-")
    known, expected = (
        each.filter(trained_on_one | pl.col("training_set").is_null())
        for each in (with_it, without)
    )
    assert_frame_equal(sorted_rows(known), sorted_rows(expected), abs_tol=1e-4)


@pytest.mark.parametrize("name", ["cka-prior", "prior-residual"])
def test_maps_with_a_prior_are_varied_too(study, name):
    settings = replace(SETTINGS, map=name)
    areas, costs = run(study, settings, "sparsity", {"2": 2.0})
    assert ("fit", "small") in [(cost["part"], cost["model"]) for cost in costs]
    aligned = areas.filter(map=name, circuit="zero-shot-family")
    assert aligned["cpr"].is_not_null().all() and len(aligned) > 0
    # What is not trained does not depend on how training goes.
    means = aligned.group_by("value").agg(pl.mean("cpr"))["cpr"].to_list()
    assert np.isclose(*means) == (name == "cka-prior")


@pytest.mark.parametrize("setting", VALUES)
def test_a_changed_setting_leaves_all_others(setting):
    def flat(settings):
        values = asdict(settings)
        return values.pop("fit") | values

    value = list(VALUES[setting].values())[-1]
    before, after = flat(SETTINGS), flat(SETTINGS.changed(setting, value))
    different = {name for name in before if before[name] != after[name]}
    kinds = {f"{stage}_ablation" for stage in ("attribution", "training", "evaluation")}
    expected = kinds if setting == "ablation" else {setting}
    assert different == expected


def test_an_alignment_trained_for_the_measured_sizes_is_trained_for_other_ones():
    fit = replace(SETTINGS.fit, objective="area", proportions=SETTINGS.proportions)
    changed = replace(SETTINGS, fit=fit).changed("proportions", [0.2, 1.0])
    assert changed.proportions == changed.fit.proportions == (0.2, 1.0)


def test_an_unknown_setting_is_named():
    with pytest.raises(ValueError, match="setting 'colour' is none that can be varied"):
        SETTINGS.changed("colour", 1)
