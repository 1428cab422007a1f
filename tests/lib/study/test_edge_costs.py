"""What edges cost, estimated before a study runs, beside what runs."""

from contextlib import suppress
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from circuit_transfer.artifacts.edge_scores import write_edge_scores
from circuit_transfer.benchmarking.measure import peak_memory
from circuit_transfer.circuits import edge_products, prepared
from circuit_transfer.circuits.edge_attribution import attribute_edges
from circuit_transfer.circuits.edge_faithfulness import evaluate_edges
from circuit_transfer.circuits.exact_edges import exact_edges
from circuit_transfer.circuits.methods import edge_methods
from circuit_transfer.circuits.passes import measured
from circuit_transfer.models.edges import KV, config_graph
from circuit_transfer.models.shape import model_shape
from circuit_transfer.prompts.batches import pair_batches
from circuit_transfer.pruning.learned import learn_edges
from circuit_transfer.pruning.memory import circuit_bytes, fitting_circuits
from circuit_transfer.study import edge_costs
from circuit_transfer.study.costs import nodes_of, work_flops, work_memory
from circuit_transfer.study.edge_work import edge_work

EXAMPLES, STEPS, TOKENS = 6, 3, {"a": 5}
CONFIG = {
    "study": {
        "tasks": ["a"],
        "methods": ["nap"],
        "edge_methods": list(edge_methods()),
        "seeds": [0, 1],
        "transfers": [],
        "models": [],
    },
    "models": {"m": {}},
    "tasks": {"a": {"file": "a.csv"}},
    "attribution": {
        "ig_steps": STEPS,
        "examples": EXAMPLES,
        "batch_size": EXAMPLES,
        "ablation": "counterfactual",
        "kv": "query-head",
        "keep_examples": "auto",
        "verify": 4,
    },
    "pruning": {
        "examples": EXAMPLES,
        "batch_size": 4,
        "sizes": [0.3, 0.1],
        "objective": "kl",
        "resamples": 0,
        "ablation": "counterfactual",
        "edge-pruning": {"steps": 7},
        "hap": {"steps": 5, "keep": 0.5, "filter": "eap-ig-inputs"},
        "soft-top-k": {"steps": 6, "draws": 3},
        "node-pruning": {"steps": 4},
        "node-soft-top-k": {"steps": 4},
        "discogp": {"weight_steps": 4},
    },
    "evaluation": {
        "proportions": [0.1, 0.2, 0.21, 0.6, 1.0],
        "examples": EXAMPLES,
        "batch_size": EXAMPLES,
        "random_rankings": 2,
        "ablations": ["counterfactual"],
    },
}


def jobs(model, config=CONFIG):
    """Return the jobs by stage and, where it scores, by method."""
    shapes = {"m": model_shape(model.config)}
    found = {}
    for work in edge_work(config, nodes_of(config, shapes)):
        found.setdefault(work.stage, []).append(work)
    methods = config["study"]["edge_methods"]
    scoring = dict(zip(methods, found["attribute_edges"], strict=True))
    return found | scoring


def prompts(tiny_pairs, examples=EXAMPLES):
    """Return one batch of prompts that share no first token."""
    pairs = tiny_pairs(2 * examples).filter(pl.col("clean_ids").list.len() == 5)
    return pair_batches(pairs, examples)


def ran(model, run):
    """Return how often a computation has run a prompt, without and with a gradient."""
    with measured("all", "m", model) as cost:
        run()
    return cost["forwards"], cost["forward_backwards"]


def with_kv(kv):
    return CONFIG | {"attribution": CONFIG["attribution"] | {"kv": kv}}


@pytest.mark.parametrize("method", edge_methods())
def test_passes_that_score_edges_are_those_that_run(tiny_model, tiny_pairs, method):
    model = tiny_model("llama", layers=2).requires_grad_(False)
    work, batches = jobs(model)[method], prompts(tiny_pairs)
    graph = config_graph(model.config)
    # Between the ends of steps, conductance takes runs of their own for gradients.
    grid = "mid" if method == "eap-conductance" else "right"
    how = {"method": method, "ig_steps": STEPS, "grid": grid}
    found = ran(model, lambda: attribute_edges(model, batches, graph, **how))
    counted = [EXAMPLES * each for each in (work.forwards, work.forward_backwards)]
    assert list(found) == counted


def test_passes_that_verify_edges_are_those_that_run(tiny_model, tiny_pairs):
    model = tiny_model("llama", layers=2).requires_grad_(False)
    of_methods, batches = jobs(model)["verify_edges"], prompts(tiny_pairs)
    assert len(of_methods) == len(edge_methods()) - 1
    graph, edges = config_graph(model.config), np.arange(4)
    found = ran(model, lambda: exact_edges(model, batches, graph, edges))
    assert found == (EXAMPLES * of_methods[0].forwards, 0)


@pytest.mark.parametrize("ablation", ["counterfactual", "mean"])
def test_passes_that_measure_circuits_are_no_more_than_estimated(
    tiny_model, tiny_pairs, ablation
):
    model = tiny_model("llama", layers=2).requires_grad_(False)
    evaluation = CONFIG["evaluation"] | {"ablations": [ablation]}
    found = jobs(model, CONFIG | {"evaluation": evaluation})
    batches, graph = prompts(tiny_pairs), config_graph(model.config)
    # Two random rankings; eight with signed, absolute and random ones of equal size,
    # and the complements of the first two.
    for stage, rankings in (("evaluate_random_edges", 2), ("evaluate_edges", 8)):
        complement_of = pl.col("number") < (2 if rankings == 8 else 0)
        scores = np.random.default_rng(0).normal(size=(rankings, graph.n_edges))
        labels = pl.DataFrame({"number": range(rankings)})
        settings = {"ablations": [ablation], "model_name": "m"}
        every = model, batches, graph, labels, scores, evaluation["proportions"]
        with measured("all", "m", model) as cost:
            evaluate_edges(*every, **settings, complement_of=complement_of)
        limit = EXAMPLES * found[stage][0].forwards
        # Small circuits leave out what nobody reads.
        assert 0.5 * limit < cost["forwards"] <= limit


@pytest.mark.parametrize("kv", KV)
@pytest.mark.parametrize("method", edge_methods())
def test_memory_of_scores_is_bounded_from_above(tiny_model, tiny_pairs, method, kv):
    model = tiny_model("llama", layers=6, intermediate_size=128).requires_grad_(False)
    batches, graph = prompts(tiny_pairs, 48), config_graph(model.config, kv)
    how = {"method": method, "ig_steps": STEPS}
    if method == "eap-exact":
        how = {"edges": np.arange(0, graph.n_edges, graph.n_edges // 8)}
    score = exact_edges if "edges" in how else attribute_edges
    found = peak_memory(lambda: score(model, batches, graph, **how), model.device)
    estimate = bytes_of(jobs(model, with_kv(kv))[method], model)
    assert found < estimate < 2.5 * found


@pytest.mark.parametrize("kv", KV)
def test_memory_of_circuits_is_bounded_from_above(tiny_model, tiny_pairs, kv):
    model = tiny_model("llama", layers=6, intermediate_size=128).requires_grad_(False)
    batches, graph = prompts(tiny_pairs, 48), config_graph(model.config, kv)
    scores = np.random.default_rng(0).normal(size=(1, graph.n_edges))
    settings = {"ablations": ["counterfactual"], "model_name": "m"}

    def run():
        labels = pl.DataFrame({"number": [0]})
        # One circuit: of such small ones several would fit in a pass.
        every = model, batches, graph, labels, scores, [0.5]
        evaluate_edges(*every, **settings)

    found = peak_memory(run, model.device)
    estimate = bytes_of(jobs(model, with_kv(kv))["evaluate_lifted"][0], model)
    assert found < estimate < 2 * found


LEARNED = ("edge-pruning", "hap", "soft-top-k", "discogp")


@pytest.mark.parametrize("kv", KV)
@pytest.mark.parametrize("method", LEARNED)
def test_memory_of_trainings_is_bounded_from_above(tiny_model, tiny_pairs, method, kv):
    model = tiny_model("llama", layers=6, intermediate_size=128).requires_grad_(False)
    graph, batches = config_graph(model.config, kv), prompts(tiny_pairs, 16)
    pruning = CONFIG["pruning"] | {"examples": 16, "batch_size": 16}
    pruning["edge-pruning"] = {"steps": 2, "init": 0.0}
    pruning["hap"] = pruning["edge-pruning"] | {"keep": 0.5}
    scores = np.random.default_rng(0).normal(size=graph.n_edges).astype(np.float32)
    how = {"settings": pruning, "seed": 0, "filter_scores": scores}

    def run():
        # Nothing is pruned in two steps.
        with suppress(ValueError):
            learn_edges(method, model, batches, graph, **how)

    found = peak_memory(run, model.device)
    study = CONFIG["study"] | {"edge_methods": [method]}
    config = with_kv(kv) | {"study": study, "pruning": pruning}
    shapes = {"m": model_shape(model.config)}
    every = {each.stage: each for each in edge_work(config, nodes_of(config, shapes))}
    work = every["learn_edges"]
    estimate = bytes_of(work, model, 16)
    assert found < estimate < 3 * found


def test_circuits_that_do_not_fit_side_by_side_take_turns(tiny_model, monkeypatch):
    shape = model_shape(tiny_model("llama").config)
    config = CONFIG | {"study": CONFIG["study"] | {"edge_methods": [*LEARNED]}}
    every = edge_work(config, nodes_of(config, {"m": shape}))
    trainings = [work for work in every if work.stage == "learn_edges"]
    for method, work in zip(LEARNED, trainings, strict=True):
        of_circuit = circuit_bytes(shape, work.edges.kv, 4, 5)
        for room, fitting in ((2**40, 5), (3 * of_circuit, 3), (0, 1)):
            monkeypatch.setattr(fitting_circuits, "__defaults__", (room,))
            one, five = (
                work_memory(replace(work, circuits=n), shape, TOKENS) for n in (1, 5)
            )
            # Of DiscoGP the circuit and what it leaves out are in one graph.
            extra = 4 if method == "discogp" else fitting - 1
            assert five - one == extra * of_circuit


def test_every_resample_is_a_job_like_that_of_a_seed(tiny_model):
    shape = model_shape(tiny_model("llama").config)
    study = CONFIG["study"] | {"edge_methods": ["hap"], "seeds": [0]}
    pruning = CONFIG["pruning"] | {"resamples": 3}
    config = CONFIG | {"study": study, "pruning": pruning}
    every = [*edge_work(config, nodes_of(config, {"m": shape}))]
    (of_seed,) = (work for work in every if work.stage == "learn_edges")
    resampled = [work for work in every if work.stage == "learn_resampled"]
    assert resampled == 3 * [replace(of_seed, stage="learn_resampled")]


def bytes_of(work, model, examples=48):
    shape = model_shape(model.config)
    work = replace(work, pairs={"a": examples}, batch_size=examples)
    return work_memory(work, shape, TOKENS) - shape.weight_bytes


def test_examples_take_turns_in_a_buffer_of_limited_size(tiny_model):
    assert edge_products.BUFFER["cuda"] == edge_costs.BUFFER
    assert prepared.CACHE_BYTES == edge_costs.CACHE
    model = tiny_model("llama", layers=2)
    work, shape = jobs(model)["eap"], model_shape(model.config)
    # Writers of one example of so many tokens are more than a buffer.
    tokens = 2 * edge_costs.BUFFER // (11 * shape.d_model)
    one, three = (
        edge_costs.edge_memory(work.edges, shape, examples, tokens)
        for examples in (1, 3)
    )
    wide = (11 + 3 * 4) * shape.d_model * tokens * 4
    assert one > wide and three - 3 * one == pytest.approx(-2 * wide)


def test_edges_add_their_products_to_the_passes(tiny_model):
    model = tiny_model("llama", layers=2)
    shape, work = model_shape(model.config), jobs(model)["eap-ig-inputs"]
    graph = config_graph(model.config)
    plain = work_flops(replace(work, edges=None), shape, TOKENS)
    added = work_flops(work, shape, TOKENS) - plain
    # A multiplication and an addition for every value that an edge carries.
    passes = EXAMPLES * (1 + STEPS)
    assert added == passes * 5 * graph.n_edges * 2 * shape.d_model


@pytest.mark.parametrize("kept", [True, False])
def test_written_bytes_are_those_of_the_file(tiny_model, tmp_path, kept):
    model = tiny_model("llama", layers=2)
    settings = CONFIG["attribution"] | {"keep_examples": kept}
    work = jobs(model, CONFIG | {"attribution": settings})["eap"]
    graph, path = config_graph(model.config), tmp_path / "scores"
    by_example = np.zeros((EXAMPLES, graph.n_edges), np.float16) if kept else None
    matrix = np.zeros(graph.legal.shape, np.float32)
    write_edge_scores(path, matrix, by_example=by_example, **graph.description())
    assert 0 < path.stat().st_size - work.written_bytes < 2000


def test_a_study_without_methods_of_edges_has_no_work_for_them(tiny_model):
    model = tiny_model("llama", layers=1)
    study = CONFIG["study"] | {"edge_methods": []}
    shapes = {"m": model_shape(model.config)}
    config = CONFIG | {"study": study}
    assert list(edge_work(config, nodes_of(config, shapes))) == []
