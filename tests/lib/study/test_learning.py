"""Settings of learned circuits: the schema's and the library's are the same."""

import re
from copy import deepcopy
from dataclasses import fields
from math import ceil
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from circuit_transfer.circuits.methods import learned_methods
from circuit_transfer.models.edges import edge_graph
from circuit_transfer.stages.edge_graphs import check_sizes
from circuit_transfer.study.checks import check_config
from circuit_transfer.study.drawings import drawn_scores
from circuit_transfer.study.learning import (
    circuits_at_once,
    learned_settings,
    pruning_settings,
    training_passes,
    training_steps,
)
from circuit_transfer.study.results import results, results_of
from circuit_transfer.study.study import Study
from circuit_transfer.study.validation import validate_config

ROOT = Path(__file__).parents[3]
SCHEMA = ROOT / "workflow/schemas/config.schema.yaml"


def study_of(*methods, pruning=None, attribution=None, **study):
    """Return the default study with methods that learn, and settings of theirs."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    config["study"] |= {"edge_methods": [*methods], **study}
    config["pruning"] |= pruning or {}
    config["attribution"] |= attribution or {}
    validate_config(config, SCHEMA)
    return config


def checked(*methods, **settings):
    config = study_of(*methods, **settings)
    check_config(config, ROOT)
    return config


@pytest.mark.parametrize("method", learned_methods())
def test_the_schema_has_the_settings_of_the_library(method):
    schema = yaml.safe_load(SCHEMA.read_text())
    own = schema["properties"]["pruning"]["properties"][method]
    named = schema["$defs"][own["$ref"].rsplit("/", 1)[1]]["properties"]
    kind = type(learned_settings(checked(method), method))
    assert set(named) == {"preset"} | {each.name for each in fields(kind)}


@pytest.mark.parametrize("method", learned_methods())
def test_null_takes_the_value_of_the_preset(method):
    config = checked(method)
    names = [each.name for each in fields(learned_settings(config, method))]
    for preset in ("small", "paper"):
        plain = checked(method, pruning={method: {"preset": preset}})
        nulls = {method: {"preset": preset} | dict.fromkeys(names)}
        given = checked(method, pruning=nulls)
        assert pruning_settings(given, method) == pruning_settings(plain, method)


def test_a_job_depends_on_what_is_shared_and_on_its_own_method():
    config = checked("hap", "edge-pruning")
    changed = deepcopy(config)
    changed["pruning"]["hap"]["keep"] = 0.3
    assert pruning_settings(config, "hap") != pruning_settings(changed, "hap")
    same = pruning_settings(config, "edge-pruning")
    assert pruning_settings(changed, "edge-pruning") == same
    changed["pruning"]["sizes"] = [0.1]
    assert pruning_settings(changed, "edge-pruning") != same
    assert "hap" not in same and same["edge-pruning"]["steps"] == 200


def test_settings_of_methods_that_a_study_does_not_have_mean_nothing():
    pruning = {"sizes": [0.5, 0.4, 0.45], "hap": {"keep": 0.01}}
    checked("eap", pruning=pruning)
    checked("edge-pruning", pruning=pruning | {"sizes": [0.5, 0.4]})


@pytest.mark.parametrize(
    ("pruning", "message"),
    [
        ({"sizes": []}, r"^pruning.sizes: \[\] should be non-empty"),
        ({"sizes": [0.1, 1]}, r"^pruning.sizes.1: 1 is greater than or equal to"),
        ({"sizes": [0, 0.1]}, r"^pruning.sizes.0: 0 is less than or equal to"),
        ({"sizes": [0.1, 0.1]}, r"^pruning.sizes: .* non-unique"),
        ({"sizes": [0.1, 0.02, 0.05]}, "^pruning.sizes: .* ascending or descending"),
        ({"steps": 3}, "^pruning: unknown key 'steps'; "),
        ({"objective": "kld"}, "^pruning.objective: 'kld' .* mean 'kl'"),
        ({"ablation": "none"}, "^pruning.ablation: 'none' is not one of"),
        ({"batch_size": "auto"}, "^pruning.batch_size: 'auto' is not of type 'integer"),
        ({"hap": {"keep": 0}}, "^pruning.hap.keep: 0 is less than or equal to"),
        ({"hap": {"keep": 1.2}}, "^pruning.hap.keep: 1.2 is greater than the max"),
        (
            {"hap": {"keep": 0.05}},
            "^pruning.sizes: 0.1 is above pruning.hap.keep, 0.05, .* a larger `keep`",
        ),
        ({"hap": {"filter": "eap-igs"}}, "^pruning.hap.filter: 'eap-igs'"),
        ({"hap": {"filter": "edge-pruning"}}, "^pruning.hap.filter: 'edge-pruning'"),
        ({"hap": {"filter": "eap-exact"}}, "^pruning.hap.filter: 'eap-exact'"),
        ({"hap": {"filter": "nap"}}, "^pruning.hap.filter: 'nap'"),
        ({"hap": {"warm_start": "ranks"}}, "^pruning.hap.warm_start: 'ranks' .*'rank'"),
        ({"hap": {"steps": 0}}, "^pruning.hap.steps: 0 is less than the minimum of 1"),
        ({"hap": {"steps": 2.5}}, "^pruning.hap.steps: 2.5 is not of type 'integer'"),
        ({"hap": {"preset": "large"}}, "^pruning.hap.preset: 'large' is not one of"),
        ({"hap": {"warm": 1}}, "^pruning.hap: unknown key 'warm'; did you mean"),
        ({"hap": []}, r"^pruning.hap: \[\] is not of type 'object'"),
        ({"discogp": {"masks": "heads"}}, "^pruning.discogp.masks: 'heads' is not one"),
        ({"discogp": {"ablation": "mean"}}, "^pruning.discogp.ablation: 'mean' is not"),
        (
            {"soft-top-k": {"proportions": [0.1, 0]}},
            "^pruning.soft-top-k.proportions.1: 0 is less",
        ),
    ],
)
def test_bad_settings_are_refused_with_their_place(pruning, message):
    with pytest.raises(ValueError, match=message):
        checked(*learned_methods(), pruning=pruning)


def test_a_filter_needs_an_ablation_that_it_can_score_by():
    with pytest.raises(ValueError, match="^pruning.hap.filter: ablation 'zero' with"):
        checked("hap", attribution={"ablation": "zero"}, methods=["nap"])
    eap = {"hap": {"filter": "eap"}}
    checked("hap", attribution={"ablation": "zero"}, pruning=eap, methods=["nap"])


def test_a_grid_is_of_the_filter_too():
    checked("hap", attribution={"grid": "left"})
    with pytest.raises(ValueError, match="^attribution.grid: 'left' .* has edge-prun"):
        checked("edge-pruning", attribution={"grid": "left"})
    with pytest.raises(ValueError, match="^attribution.verify: 5 edges .* has hap; "):
        checked("hap", attribution={"verify": 5})


def test_a_method_that_learns_is_no_method_of_nodes():
    message = "^study.methods.0: 'hap' .*; it learns circuits of edges, which `edge_m"
    with pytest.raises(ValueError, match=message):
        checked("hap", methods=["hap"])
    with pytest.raises(ValueError, match=r"^study.edge_methods.0: 'hip' .*mean 'hap'"):
        checked("hip")


def test_a_size_without_an_edge_is_refused():
    graph = edge_graph(1, 1, 1)
    check_sizes([1 / 8], graph, "m")
    message = re.escape("pruning.sizes: 0.01 of the 8 edges of m is no edge; expected")
    with pytest.raises(ValueError, match=message):
        check_sizes([0.5, 0.01], graph, "m")


def test_the_filter_of_a_method_is_scored_even_if_it_is_no_method_of_the_study():
    study = Study(checked("hap", "edge-pruning"))
    assert (study.edge_methods, study.learned_methods) == ([], ["hap", "edge-pruning"])
    place = {"model": "m", "task": "t"}
    hap = SimpleNamespace(**place, learned_method="hap")
    found = study.filter_scores(hap)
    assert found == "results/edge-scores/m/t/eap-ig-inputs.safetensors"
    others = SimpleNamespace(**place, learned_method="edge-pruning")
    assert study.filter_scores(others) == []
    names = [job.name for job in study.costly_jobs()]
    assert "attribute_edges/llama-medium/ioi/eap-ig-inputs" in names
    assert "learn_edges/llama-medium/ioi/hap" in names
    assert "evaluate_learned/llama-medium/ioi/edge-pruning" in names
    assert not any(name.startswith("evaluate_edges/") for name in names)


def test_circuits_are_drawn_of_the_first_seed():
    study = Study(checked("eap", "hap", seeds=[7, 3]))
    place = SimpleNamespace(model="llama-medium", task="ioi", edge_method="hap", n="9")
    found = "results/edge-masks/llama-medium/ioi/hap/seed-7.safetensors"
    assert drawn_scores(study, place) == study.edge_ranking(place) == found
    drawn = results_of(study, "drawn")
    folder = "results/figures/circuits/llama-small/ioi"
    assert {f"{folder}/eap/30.svg", f"{folder}/hap/30.svg"} <= {*drawn}
    alone = Study(checked("edge-pruning"))
    assert f"{folder}/edge-pruning/30.svg" in results(alone)


@pytest.mark.parametrize(
    ("method", "own", "steps", "circuits", "of_step"),
    [
        ("edge-pruning", {"steps": 30}, 30, 3, 1),
        ("hap", {"steps": 30}, 30, 3, 1),
        ("soft-top-k", {"steps": 20, "draws": 5}, 20, 5, 1),
        ("discogp", {"masks": "edges", "edge_steps": 9, "weight_steps": 5}, 9, 1, 2),
        ("discogp", {"masks": "weights", "edge_steps": 9, "weight_steps": 5}, 5, 1, 2),
        ("discogp", {"edge_steps": 9, "weight_steps": 5}, 5, 1, 2),
        (
            "discogp",
            {"order": "weights-first", "edge_steps": 9, "weight_steps": 5},
            *(14, 1, 2),
        ),
    ],
)
def test_passes_of_a_training(method, own, steps, circuits, of_step):
    config = checked(method, pruning={method: own, "batch_size": 8})
    settings = learned_settings(config, method)
    assert training_steps(settings) == steps
    assert circuits_at_once(config, settings) == circuits
    each = ceil(steps * circuits * 8 / 100)
    assert training_passes(config, method, 100) == (2, of_step * each)
    # A batch has no more pairs than there are.
    few = ceil(steps * circuits)
    assert training_passes(config, method, 4) == (2, of_step * few)


def test_restoring_edges_runs_every_pair_once_for_every_circuit():
    plain, restoring = (
        training_passes(checked("hap", pruning={"hap": {"restore": each}}), "hap", 100)
        for each in (0, 0.05)
    )
    assert restoring == (plain[0], plain[1] + 3)
