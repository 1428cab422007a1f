"""What a study transfers of edges: its names and files, and what is refused."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from circuit_transfer.study.checks import check_config
from circuit_transfer.study.edge_transfers import edge_fit_settings
from circuit_transfer.study.results import summarised_figures
from circuit_transfer.study.settings import fit_settings
from circuit_transfer.study.study import Study
from circuit_transfer.study.validation import validate_config
from circuit_transfer.transfer.edge_controls import EDGE_CONTROLS, EDGE_TARGET_ONLY

ROOT = Path(__file__).parents[3]
SCHEMA = ROOT / "workflow/schemas/config.schema.yaml"
METHOD = "eap-ig-inputs"
LIFTED = ["lifted-free", "lifted-stitched"]
PAIR = {"source": "llama-small", "target": "llama-medium"}


def study(edges, **changes):
    """The default study with scores of edges transferred; keys `section_key`."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    for key, value in changes.items():
        section, name = key.split("_", 1)
        config[section][name] = value
    config["alignment"]["edges"] = edges
    validate_config(config, SCHEMA)
    check_config(config, ROOT)
    return Study(config)


def w(**values):
    return SimpleNamespace(**PAIR, **values)


def of(**settings):
    return {"methods": [METHOD], **settings}


def test_no_edge_is_transferred_unless_a_method_is_named():
    plain = study({})
    assert plain.edge_transfers == []
    assert plain.transferred_methods == plain.methods
    measured = plain.measured()
    kinds = ("aligned_edges", "gold_edges", "random_edges")
    assert [measured[kind] for kind in kinds] == [[], [], []]
    jobs = [each.name.split("/")[0] for each in plain.costly_jobs()]
    assert not {"fit_edge_alignment", "stitch_edges", "evaluate_aligned_edges"} & {
        *jobs
    }


def test_without_transfers_there_is_nothing_to_transfer_or_to_check():
    alone = {"study_transfers": [], "study_models": ["llama-small"]}
    sets = study(of(compare=["lifted-lineage"]), **alone)
    assert sets.edge_transfers == []
    assert sets.measured()["aligned_edges"] == []


def test_transferred_methods_are_those_of_nodes_and_then_of_edges():
    sets = study(of(compare=["cka-prior"]), study_methods=["nap"])
    assert sets.transferred_methods == ["nap", METHOD]
    assert (sets.edge_map, sets.edge_maps) == (
        "prior-residual",
        ["prior-residual", "cka-prior"],
    )
    assert sets.selected("transferred_methods", "edge_ranking") == {
        "transferred_methods": ["nap", METHOD],
        "edge_ranking": "absolute",
    }


def test_the_page_shows_source_use_of_nodes_and_of_edges():
    for sets, methods in (
        (study(of(compare=["cka-prior"])), ["nap", METHOD]),
        (study({}), ["nap"]),
    ):
        shown = [each for each in summarised_figures(sets) if "source-use" in each]
        folder = "results/figures/source-use"
        assert shown == [f"{folder}/{method}.png" for method in methods]


def test_default_controls_are_those_that_the_study_can_have():
    with_runs = study(of(compare=["stitched"]))
    assert with_runs.edge_controls == [*EDGE_CONTROLS[:-1]]
    without = [each for each in EDGE_CONTROLS[:-1] if each not in EDGE_TARGET_ONLY]
    assert study(of()).edge_controls == without
    assert study(of(controls=["ridge"])).edge_controls == ["ridge"]
    assert study(of(controls=[])).edge_controls == []


def test_edges_are_fitted_with_settings_of_their_own_and_the_prior_of_nodes():
    config = study(of(sparsity=3, objective="area")).config
    found, nodes = edge_fit_settings(config), fit_settings(config)
    assert found["sparsity"] == 3 and nodes["sparsity"] == 2
    assert found["proportions"] == config["evaluation"]["proportions"]
    assert found.keys() == nodes.keys() - {"intervention"}
    assert found["prior_penalty"] == nodes["prior_penalty"]


def test_compared_maps_and_controls_are_fitted_on_zero_shot_sets():
    compare = ["free", "cka-prior", "stitched", *LIFTED]
    sets = study(of(map="depth-prior", compare=compare, nodes="nap"))
    zero_shot = w(training_set="without-ioi", edge_method=METHOD)
    seen = w(training_set="all", edge_method=METHOD)
    assert sets.fitted_edge_maps(zero_shot) == ["depth-prior", "free", "cka-prior"]
    assert sets.fitted_edge_maps(seen) == ["depth-prior"]
    controls = ["source-free", "random-source", "degree-source"]
    assert sets.trained_edge_controls(zero_shot) == controls
    assert sets.trained_edge_controls(seen) == []
    assert sets.if_edges_compared(zero_shot, ["file"]) == ["file"]
    assert sets.if_edges_compared(seen, ["file"]) == []
    residual = study(of())
    assert residual.if_edges_compared(seen, ["file"]) == ["file"]


def test_circuits_are_measured_of_what_the_study_compares():
    edges = of(compare=["stitched", *LIFTED], nodes="nap-ig-inputs")
    edges |= {"controls": ["free-mask"]}
    both = [METHOD, "soft-top-k"]
    sets = study(edges, study_edge_methods=both, study_seeds=[4])
    wildcards, place = w(task="ioi", edge_method=METHOD), "llama-small/llama-medium"
    assert sets.stitched_edges(wildcards) == (
        f"results/stitched-edges/{place}/ioi.safetensors"
    )
    assert sets.lifted_projections(wildcards) == (
        f"results/projections/{place}/ioi/nap-ig-inputs.parquet"
    )
    assert sets.free_edge_masks(wildcards) == [
        "results/edge-masks/llama-medium/ioi/soft-top-k/seed-4.safetensors"
    ]
    fits = sets.evaluated_edge_alignments(wildcards)
    assert f"results/edge-alignments/{place}/{METHOD}/all/seed-4.safetensors" in fits
    assert [each.split("/")[-2] for each in fits if "without" in each] == [
        "without-ioi"
    ]
    plain = study(of())
    assert plain.stitched_edges(wildcards) == []
    assert plain.lifted_projections(wildcards) == []
    assert plain.free_edge_masks(wildcards) == []


def test_transferred_circuits_are_measured_beside_those_of_the_target():
    sets = study(of(), study_edge_methods=["eap", METHOD], study_tasks=["ioi", "mcqa"])
    measured, folder = sets.measured(), "results/faithfulness"
    tasks = ("ioi", "mcqa")
    pair = "llama-small/llama-medium"
    assert measured["aligned_edges"] == [
        f"{folder}/aligned-edges/{pair}/{task}/{METHOD}.parquet" for task in tasks
    ]
    # Of a method that is not transferred there is nothing to compare with.
    assert measured["gold_edges"] == [
        f"{folder}/edges/llama-medium/{task}/{METHOD}.parquet" for task in tasks
    ]
    assert measured["random_edges"] == [
        f"{folder}/edges/llama-medium/{task}/random.parquet" for task in tasks
    ]
    names = [each.name.split("/")[0] for each in sets.costly_jobs()]
    # Of two tasks: each alone, each left out, both.
    assert names.count("fit_edge_alignment") == 5
    assert names.count("evaluate_aligned_edges") == 2
    assert "stitch_edges" not in names
    sets = study(of(compare=["stitched"]))
    names = [each.name.split("/")[0] for each in sets.costly_jobs()]
    assert names.count("stitch_edges") == 6


WRONG = {
    "a method that scores nodes": (
        {"methods": ["nap"]},
        {},
        r"edges\.methods\.0: 'nap' .*; it scores nodes, which `methods` is for",
    ),
    "a method that the study has not": (
        {"methods": ["eap"]},
        {},
        r"edges\.methods: 'eap' is not in study\.edge_methods, .* known: eap-ig-inputs",
    ),
    "a method that learns": (
        {"methods": ["soft-top-k"]},
        {},
        r"edges\.methods\.0: 'soft-top-k' is not one of .*it learns circuits of edges",
    ),
    "no methods of edges at all": (
        of(),
        {"study_edge_methods": []},
        r"edges\.methods: 'eap-ig-inputs' is not in study\.edge_methods, .*; expected",
    ),
    "a misspelt map": (
        of(compare=["cka-piror"]),
        {},
        r"edges\.compare: no map is called 'cka-piror'; did you mean 'cka-prior'\?",
    ),
    "a misspelt main map": (
        of(map="fre"),
        {},
        r"edges\.map: 'fre' is not one of .*; did you mean 'free'\?",
    ),
    "gradients": (
        of(compare=["carried-gradients"]),
        {},
        r"edges\.compare: 'carried-gradients' .*; expected it in alignment\.compare",
    ),
    "scores of nodes by a map that they do not have": (
        of(compare=["lifted-matched"], nodes="nap"),
        {},
        r"edges\.compare: 'lifted-matched' .*; expected 'matched' in alignment\.comp",
    ),
    "scores of nodes by no method": (
        of(compare=["lifted-free"]),
        {},
        r"edges\.nodes: missing; expected .* 'lifted-free' takes: known: nap, ",
    ),
    "scores of nodes by an unknown method": (
        of(compare=["lifted-free"], nodes="nap-ig-input"),
        {},
        r"edges\.nodes: 'nap-ig-input' is not in study\.methods, .*'nap-ig-inputs'\?",
    ),
    "gradients of a method without them": (
        of(compare=["lifted-carried-gradients"], nodes="nap-ig-activations"),
        {},
        r"edges\.compare: 'lifted-carried-gradients', but nap-ig-activations has no gr",
    ),
    "filled maps without changes": (
        of(compare=["matched-filled"]),
        {},
        r"edges\.compare: 'matched-filled' .*; expected 'stitched' there too",
    ),
    "a filled main map without changes": (
        of(map="matched-filled"),
        {},
        r"edges\.compare: 'matched-filled' .*; expected 'stitched' there too",
    ),
    "changes without the runs": (
        of(controls=["ridge", "edge-changes"]),
        {},
        r"edges\.controls: 'edge-changes' .*; expected 'stitched' in alignment\.edges",
    ),
    "a misspelt control": (
        of(controls=["edge-chnages"]),
        {},
        r"edges\.controls\.0: .*; did you mean 'edge-changes'\?",
    ),
    "a control of nodes alone": (
        of(controls=["mlps-first"]),
        {},
        r"edges\.controls\.0: 'mlps-first' is not one of",
    ),
    "a ceiling that is not learned": (
        of(controls=["free-mask"]),
        {},
        r"edges\.controls: 'free-mask' .*; expected 'soft-top-k' in study\.edge_meth",
    ),
    "a map by lineage of models that are no relatives": (
        of(compare=["lineage"]),
        {},
        r"edges\.compare: 'lineage' needs models of which one was made from the other",
    ),
}


@pytest.mark.parametrize(
    ("edges", "changes", "message"), WRONG.values(), ids=WRONG.keys()
)
def test_what_is_wrong_is_said_with_what_was_expected(edges, changes, message):
    with pytest.raises(ValueError, match=rf"^alignment\.{message}"):
        study(edges, **changes)


def test_what_is_right_beside_what_is_wrong_is_taken():
    """Every check above can be passed."""
    nodes = ["stitched", "carried-gradients", "matched"]
    compare = ["matched-filled", "stitched", "lifted-matched"]
    compare += ["lifted-carried-gradients"]
    edges = of(compare=compare, nodes="nap", controls=["free-mask", "edge-changes"])
    changes = {"study_edge_methods": [METHOD, "soft-top-k"]}
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    config["alignment"]["compare"] = nodes
    config["study"]["edge_methods"] = changes["study_edge_methods"]
    config["alignment"]["edges"] = edges
    validate_config(config, SCHEMA)
    check_config(config, ROOT)
    assert Study(config).edge_maps == ["prior-residual", *compare]


@pytest.mark.parametrize("name", ["edge-alignment", "edge-projections"])
def test_wildcards_of_transfers_are_known(name):
    constraints = study(of()).wildcard_constraints()
    assert re.fullmatch(constraints["edge_method"], METHOD)
    files = study(of(), study_tasks=["ioi", "mcqa"]).every(
        {
            "edge-alignment": "{edge_method}/{training_set}/{source}",
            "edge-projections": "{source}/{edge_method}/{task}",
        }[name]
    )
    assert all(METHOD in each and "llama-small" in each for each in files)
