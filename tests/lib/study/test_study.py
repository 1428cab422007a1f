"""What a study is made of, on a study that is small enough to write out by hand."""

import re
from copy import deepcopy
from types import SimpleNamespace

import pytest

from circuit_transfer.study.drawings import drawn_scores, summarised_edges
from circuit_transfer.study.results import (
    results,
    results_by_category,
    results_of,
    summarised_figures,
)
from circuit_transfer.study.study import Study

CONFIG = {
    "study": {
        "tasks": ["ioi", "add", "sub"],
        "methods": ["nap-ig-inputs", "exact"],
        "edge_methods": ["eap", "eap-exact"],
        "transfers": [{"source": "small", "target": "large"}],
        "models": [],
        "seeds": [0, 1],
        "siblings": [],
        "families": {"sums": ["add", "sub"]},
    },
    "models": {"small": {}, "large": {}, "unused": {}},
    "tasks": {"ioi": {}, "add": {}, "sub": {}, "a.b": {}},
    "attribution": {"ig_steps": 5, "verify": 0},
    "pruning": {"resamples": 0},
    "alignment": {
        "map": "free",
        "compare": ["cka-prior", "stitched", "carried-gradients"],
        "prior": {"correspondence": "cka"},
        "edges": {"methods": [], "ranking": "absolute"},
        "controls": ["source-free", "free-mask"],
    },
    "evaluation": {
        "ablations": ["zero", "mean"],
        "proportions": [1.0],
        "circuits": {"theirs": {"target": "large", "task": "add"}},
        "heads": {},
    },
    "sensitivity": {"ig_steps": [1], "sparsity": [0.1]},
    "benchmark": {
        "flat": {"model": "small", "scaling": {}},
        "steep": {"scaling": {"heads": [1, 2]}},
    },
}
PAIR = {"source": "small", "target": "large"}


def study(**changes):
    """The study with some of its keys changed, named `section_key`."""
    config = deepcopy(CONFIG)
    for key, value in changes.items():
        section, name = key.split("_", 1)
        config[section][name] = value
    return Study(config)


def w(**values):
    return SimpleNamespace(**PAIR, **values)


def test_sets_of_names():
    sets = study()
    assert (sets.models, sets.targets) == (["small", "large"], ["large"])
    assert sets.families == {"ioi": ["ioi"], "sums": ["add", "sub"]}
    assert sets.maps == ["free", "cka-prior", "stitched", "carried-gradients"]
    assert sets.partial_sets == sets.training_sets[:-1]
    assert sets.training_sets[-1] == "all"


def test_source_and_target_are_those_of_a_transfer():
    transfers = [PAIR, {"source": "large", "target": "small"}]
    both = study(study_transfers=transfers, study_tasks=["ioi"])
    assert both.every("{source}/{target}/{task}") == [
        "small/large/ioi",
        "large/small/ioi",
    ]
    assert both.every("{target}") == ["large", "small"]


def test_every_combination_stands_once_in_the_order_of_the_pattern():
    assert study().every("{task}/{seed}") == [
        *("ioi/0", "ioi/1", "add/0", "add/1", "sub/0", "sub/1"),
    ]
    assert study().every("{model}", model=["unused"]) == ["unused"]
    assert study().every("x") == ["x"]


def test_only_integrated_gradients_have_steps_to_vary():
    assert study().every("{method}/{setting}") == [
        "nap-ig-inputs/ig_steps",
        "nap-ig-inputs/sparsity",
        "exact/sparsity",
    ]


def test_imported_circuits_are_of_their_own_target_and_task():
    folder = "results/faithfulness"
    measured = study().measured()
    assert measured["imported"] == [f"{folder}/imported/large/add/theirs.parquet"]
    assert measured["gold"][:2] == [
        f"{folder}/gold/large/ioi/nap-ig-inputs.parquet",
        f"{folder}/gold/large/ioi/exact.parquet",
    ]
    sizes = {kind: len(files) for kind, files in measured.items() if files}
    assert sizes == {"gold": 6, "random": 3, "aligned": 6, "imported": 1}


def costly(study):
    names = [job.name.split("/")[0] for job in study.costly_jobs()]
    return {name: names.count(name) for name in names}


def test_costly_jobs_are_those_that_the_study_has():
    # Two models, one pair, three tasks, two methods, eight training sets (three tasks
    # alone, three left out, one family of several left out, all); gradients of one.
    assert costly(study()) == {
        "measure_baseline": 6,
        "attribute_nodes": 12,
        "fit_alignment": 16,
        "stitch_alignment": 3,
        "carry_gradients": 3,
        "fit_free_mask": 3,
        "evaluate_gold": 6,
        "evaluate_random": 3,
        "evaluate_aligned": 6,
        "evaluate_imported": 1,
        "vary_setting": 3,
        "compare_steps": 6,
        "attribute_edges": 12,
        "evaluate_edges": 6,
        "evaluate_random_edges": 3,
        "evaluate_lifted": 6,
    }
    without = costly(study(study_edge_methods=[]))
    assert not any("edges" in each or "lifted" in each for each in without)
    verifying = costly(study(attribution_verify=10))
    assert verifying["verify_edges"] == 6  # not of the exact ones


def test_heads_are_found_where_circuits_are_learned():
    assert "find_heads" not in costly(study())
    learning = study(study_edge_methods=["eap", "edge-pruning"])
    assert costly(learning)["find_heads"] == 6  # of both models


def test_a_study_of_attribution_alone_fits_nothing():
    alone = study(study_transfers=[], evaluation_circuits={})
    assert costly(alone) == {
        "measure_baseline": 9,
        "attribute_nodes": 18,
        "evaluate_gold": 18,
        "evaluate_random": 9,
        "compare_steps": 9,
        "attribute_edges": 18,
        "evaluate_edges": 18,
        "evaluate_random_edges": 9,
        "evaluate_lifted": 18,
    }
    assert "results/figures/gold-curves-by-task/unused/exact.png" in results(alone)
    assert "results/tables/gold/unused.csv" in results(alone)
    assert "results/tables/top-nodes/small.csv" in results(alone)
    assert "results/tables/task-correlation/small.csv" in results(alone)
    assert "results/figures/gold-node-map/unused/exact.png" in results(alone)
    # There is no transfer whose costs could be compared.
    assert not any("break-even" in each for each in results(alone))
    assert not any("recovery" in each or "imported" in each for each in results(alone))


def test_numbers_of_steps_are_compared_where_there_are_several():
    figure = "results/figures/convergence/large.png"
    assert results_of(study(), "convergence") == [
        "results/tables/convergence.csv",
        "results/figures/convergence/small.png",
        figure,
    ]
    assert figure in results(study(study_transfers=[]))
    without = Study({**CONFIG, "sensitivity": {"sparsity": [0.1]}})
    assert results_of(without, "convergence") == []
    assert "compare_steps" not in costly(without)


def test_numbers_of_training_families_have_results_of_their_own():
    sensitivity = {"sparsity": [0.1], "training_families": [1]}
    found = Study({**CONFIG, "sensitivity": sensitivity})
    own = [
        "results/tables/training-families.csv",
        "results/figures/training-families.png",
    ]
    assert results_of(found, "training-families") == own
    assert set(own) <= set(results(found))
    assert results_of(study(), "training-families") == []


def test_results_of_transfers():
    found = results(study())
    assert found[0] == "results/summary.html"
    assert len(found) == len(set(found))
    assert "results/tables/imported.csv" in found
    assert "results/tables/scaling/sub.csv" in found
    assert "results/tables/top-nodes/small.csv" in found
    assert "results/tables/top-nodes/large.csv" in found
    assert "results/figures/losses/small/large/exact.png" in found
    assert "results/figures/sensitivity/small/large/exact/sparsity.png" in found
    assert not any(each.startswith("results/figures/gold-") for each in found)
    assert not any("benchmark" in each or "startup" in each for each in found)


def test_source_use_is_tested_where_controls_have_several_families():
    figures = ("source-use", "source-use-by-similarity")
    assert results_of(study(), "families") == [
        "results/tables/source-use.csv",
        *(
            f"results/figures/{figure}/{method}.png"
            for figure in figures
            for method in ("nap-ig-inputs", "exact")
        ),
    ]
    for without in (
        study(study_tasks=["add", "sub"]),
        study(alignment_controls=["free-mask", "depth-heuristic"]),
        study(study_transfers=[], study_models=["small"]),
    ):
        assert not any("source-use" in file for file in results(without))
    assert study(alignment_controls=["node-changes"]).tests_families


def test_the_page_shows_figures_of_the_first_method_and_links_to_all():
    folder = "results/figures"
    assert summarised_figures(study()) == [
        f"{folder}/node-map/small/large/nap-ig-inputs.png",
        f"{folder}/edge-map/large/eap.png",
        f"{folder}/curves-by-pair.png",
        f"{folder}/edge-curves/large/eap.png",
        f"{folder}/maps/small/large.png",
        f"{folder}/source-use/nap-ig-inputs.png",
        f"{folder}/break-even/small/large.png",
    ]
    alone = study(study_transfers=[], study_models=["small"])
    assert summarised_figures(alone) == [
        f"{folder}/gold-node-map/small/nap-ig-inputs.png",
        f"{folder}/edge-map/small/eap.png",
        f"{folder}/gold-curves-by-task/small/nap-ig-inputs.png",
        f"{folder}/edge-curves/small/eap.png",
    ]
    for each in (study(), alone):
        linked = [f for files in results_by_category(each).values() for f in files]
        made = [file.replace(".csv", ".html") for file in results(each)]
        assert sorted(linked) == sorted(made[1:])


def test_circuits_of_edges_are_compared_with_those_of_nodes():
    measured = study(study_tasks=["ioi"]).measured_edges()
    folder = "results/faithfulness"
    assert measured == {
        "edges": [
            f"{folder}/edges/large/ioi/{n}.parquet" for n in ("eap", "eap-exact")
        ],
        "random": [f"{folder}/edges/large/ioi/random.parquet"],
        "lifted": [
            f"{folder}/lifted/large/ioi/{name}.parquet"
            for name in ("nap-ig-inputs", "exact")
        ],
        "nodes": [
            f"{folder}/gold/large/ioi/{name}.parquet"
            for name in ("nap-ig-inputs", "exact")
        ],
    }
    found = results_of(study(study_tasks=["ioi"]), "edges")
    both, methods = ("small", "large"), ("eap", "eap-exact")
    figures = "results/figures"
    assert found == [
        *(f"results/tables/top-edges/{model}.csv" for model in both),
        "results/tables/edges/large.csv",
        *(f"results/tables/edge-agreement/{model}.csv" for model in both),
        *(f"results/tables/edge-stability/{model}.csv" for model in both),
        *(f"{figures}/edge-curves/large/{method}.png" for method in methods),
        *(f"{figures}/edge-map/small/{method}.png" for method in methods),
        *(f"{figures}/edge-map/large/{method}.png" for method in methods),
    ]
    drawn = results_of(study(study_tasks=["ioi"]), "drawn")
    assert drawn == [
        f"{figures}/circuits/{model}/ioi/{method}/30.svg"
        for model in both
        for method in methods
    ]
    # Edges alone, and none.
    alone = study(study_methods=[]).measured_edges()
    assert alone["lifted"] == alone["nodes"] == [] and len(alone["edges"]) == 6
    direct = study(study_methods=[], study_transfers=[], study_models=["small"])
    kinds = {file.split("/")[2] for file in results(direct) if "/" in file[8:]}
    nodes = {"gold", "top-nodes", "task-correlation", "gold-node-map"}
    assert "edges" in kinds and not kinds & nodes
    without = study(study_edge_methods=[])
    assert set(map(len, without.measured_edges().values())) == {0}
    assert not any("edge" in file for file in results(without))


def test_the_page_shows_the_circuits_of_edges_of_the_targets():
    folder = "results/figures/circuits/large"
    assert summarised_edges(study()) == {
        "top_edges": ["results/tables/top-edges/large.csv"],
        "drawings": [f"{folder}/{task}/eap/30.svg" for task in ("ioi", "add", "sub")],
        "drawn": [f"{folder}/{task}/eap/30.csv" for task in ("ioi", "add", "sub")],
    }
    without = summarised_edges(study(study_edge_methods=[]))
    assert without == {"top_edges": [], "drawings": [], "drawn": []}


def test_a_circuit_of_any_number_of_edges_is_drawn_but_of_none():
    wildcards = {"model": "small", "task": "a.b", "edge_method": "eap"}
    scores = "results/edge-scores/small/a.b/eap.safetensors"
    assert drawn_scores(study(), SimpleNamespace(**wildcards, n="1000000")) == scores
    with pytest.raises(ValueError, match=r"0 edges of small on a\.b: .* from 1 on"):
        drawn_scores(study(), SimpleNamespace(**wildcards, n="0"))


def test_only_growing_benchmarks_have_a_figure_of_their_growth():
    folder = "results/figures"
    assert results_of(study(), "scaling") == [f"{folder}/benchmark-scaling/steep.png"]
    assert results_of(study(), "benchmark")[-2:] == [
        f"{folder}/benchmark/flat.png",
        f"{folder}/benchmark/steep.png",
    ]
    assert study().benchmarked_models(w(benchmark="flat")) == ["small"]
    assert study().benchmarked_models(w(benchmark="steep")) == []
    config = {**CONFIG, "benchmark": {}, "sensitivity": {}}
    none = Study(config)
    parts = ("benchmark", "scaling", "sensitivity")
    assert [results_of(none, part) for part in parts] == [[], [], []]


def test_a_fit_reads_the_tasks_of_its_training_set():
    folder = "results/scores/small"
    wildcards = w(training_set="without-family-sums", method="exact")
    scores = study().training_paths(wildcards, "scores", model="small", method="exact")
    assert scores == [f"{folder}/ioi/exact.safetensors"]
    assert study().training_tasks(w(training_set="without-add")) == ["ioi", "sub"]


def test_nodes_are_compared_only_for_maps_that_need_it():
    zero_shot, alone = w(training_set="without-ioi"), w(training_set="only-ioi")
    assert study().fitted_maps(zero_shot) == ["free", "cka-prior"]
    assert study().if_compared(zero_shot, ["file"]) == ["file"]
    assert study().if_compared(alone, ["file"]) == []
    assert study().trained_controls(zero_shot) == ["source-free"]
    assert study().trained_controls(alone) == []


def test_evaluated_alignments_leave_out_the_task_or_nothing():
    files = study(study_seeds=[7]).evaluated_alignments(w(task="add", method="exact"))
    sets = [re.search(r"exact/(.+)/seed-7", file)[1] for file in files]
    assert sets == ["only-ioi", "only-add", "only-sub", "without-add"] + [
        "without-family-sums",
        "all",
    ]


def test_what_the_study_does_not_compare_is_not_asked_for():
    wildcards = w(task="ioi", method="nap-ig-inputs")
    assert study().free_masks(wildcards) == [
        "results/masks/large/ioi/seed-0.safetensors",
        "results/masks/large/ioi/seed-1.safetensors",
    ]
    stitched = study().stitched_alignment(wildcards)
    assert stitched == "results/stitched/small/large/ioi.safetensors"
    carried = study().carried_gradients(wildcards)
    assert carried == "results/carried/small/large/ioi/nap-ig-inputs.safetensors"
    assert study().carried_gradients(w(task="ioi", method="exact")) == []
    plain = study(alignment_compare=[], alignment_controls=[])
    assert plain.free_masks(wildcards) == []
    assert plain.stitched_alignment(wildcards) == []
    assert plain.carried_gradients(wildcards) == []


def test_tasks_of_other_families():
    assert study().tasks_of_other_families(w(task="sub")) == ["ioi"]
    assert study().tasks_of_other_families(w(task="ioi")) == ["add", "sub"]


def test_break_even_is_of_all_tasks_and_of_left_out_families():
    assert study().break_even_sets() == {
        "without-ioi": ["add", "sub"],
        "without-family-sums": ["ioi"],
        "all": ["ioi", "add", "sub"],
    }


@pytest.mark.parametrize(
    ("wildcard", "value", "fits"),
    [
        ("task", "a.b", True),
        ("task", "axb", False),
        ("source", "unused", True),
        ("training_set", "without-family-sums", True),
        ("training_set", "without-family-other", False),
        ("method", "nap", True),
        ("seed", "12", True),
        ("seed", "x", False),
        ("benchmark", "steep", True),
    ],
)
def test_wildcards_are_the_names_of_the_configuration(wildcard, value, fits):
    pattern = study().wildcard_constraints()[wildcard]
    assert bool(re.fullmatch(pattern, value)) is fits


def test_scripts_get_what_they_ask_for_by_name():
    selected = study().selected("map_name", "tasks", "ablation")
    assert selected == {"map_name": "free", "tasks": ["ioi", "add", "sub"]} | {
        "ablation": "zero"
    }
