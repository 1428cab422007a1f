"""Circuits of edges as rows of a table."""

import numpy as np
import polars as pl
import pytest

from circuit_transfer.circuits.edge_faithfulness import (
    MEASURES,
    evaluate_edge_masks,
    evaluate_edges,
)
from circuit_transfer.circuits.edge_masks import edge_circuits, node_circuit
from circuit_transfer.circuits.faithfulness import evaluate_ablations
from circuit_transfer.models.edges import config_graph
from circuit_transfer.prompts.batches import pair_batches

SIZES = [0.0, 0.05, 0.3, 1.0]
BOTH = ["counterfactual", "mean"]


@pytest.fixture
def case(tiny_model, tiny_pairs):
    model = tiny_model("llama")
    return model, pair_batches(tiny_pairs(5), 2), config_graph(model.config)


def random_scores(graph, rankings):
    rng = np.random.default_rng(0)
    return rng.standard_normal((rankings, graph.n_edges)).astype(np.float32)


def evaluated(case, scores, **settings):
    labels = pl.DataFrame({"control": ["none", "random", "lost"][: len(scores)]})
    settings = {"ablations": BOTH, "model_name": "tiny"} | settings
    return evaluate_edges(*case, labels, scores, SIZES, **settings)


def test_every_ranking_size_and_ablation_has_a_row(case):
    scores = random_scores(case[2], 3)
    scores[2, 7] = np.nan
    frame, costs = evaluated(case, scores)
    assert frame.columns == ["control", "ablation", "proportion", *MEASURES]
    assert [each["part"] for each in costs] == BOTH
    keys = frame.select("ablation", "control", "proportion").rows()
    controls = ("none", "random")
    assert keys == [(a, c, p) for a in BOTH for c in controls for p in SIZES]
    n_edges = case[2].n_edges
    assert frame["n_edges"].to_list() == [int(p * n_edges) for p in SIZES] * 4
    ends = frame.filter(pl.col("proportion").is_in([0.0, 1.0]))
    assert ends["faithfulness"].to_list() == [0.0, 1.0] * 4
    assert ends["n_effective"].to_list() == [0, n_edges] * 4
    assert ends["n_nodes"].to_list() == [0, 10] * 4
    assert frame["prompt_numbers"].list.len().to_list() == [5] * 16


def test_circuits_of_nodes_have_the_numbers_of_the_nodes(case):
    model, batches, graph = case
    node_scores = np.random.default_rng(0).standard_normal((1, 10)).astype(np.float32)
    rankings = pl.DataFrame({"scores": node_scores.tolist()})
    sizes = [0.2, 0.5, 0.8]
    of_nodes, _ = evaluate_ablations(
        model, batches, rankings, sizes, ablations=BOTH, model_name="tiny"
    )
    kept = edge_circuits(node_scores, sizes)[0]
    labels = pl.DataFrame({"proportion": sizes})
    settings = {"ablations": BOTH, "model_name": "tiny"}
    of_edges, _ = evaluate_edge_masks(
        model, batches, graph, labels, node_circuit(graph, kept), **settings
    )
    for name in ("logit_diff", "kl", "accuracy", "agreement_wrong"):
        expected = pytest.approx(of_nodes[name].to_list(), rel=1e-5, abs=1e-5)
        assert of_edges[name].to_list() == expected


def test_the_complement_is_the_circuit_of_the_other_edges(case):
    model, batches, graph = case
    scores = random_scores(graph, 2)
    frame, _ = evaluated(case, scores, complement_of=pl.col("control") == "none")
    found = frame.filter(pl.col("control") == "none", pl.col("ablation") == BOTH[0])
    masks = ~edge_circuits(scores[:1], SIZES)[0]
    labels = pl.DataFrame({"proportion": SIZES})
    settings = {"ablations": BOTH[:1], "model_name": "tiny"}
    others, _ = evaluate_edge_masks(model, batches, graph, labels, masks, **settings)
    expected = others["faithfulness"].to_list()
    assert found["complement_faithfulness"].to_list() == pytest.approx(expected)
    rest = frame.filter(pl.col("control") == "random")
    assert rest["complement_faithfulness"].null_count() == len(rest)


def test_without_pairs_there_are_no_rows(case):
    model, _, graph = case
    frame, costs = evaluated((model, [], graph), random_scores(graph, 1))
    assert frame.is_empty() and len(costs) == 2
    assert frame.columns == ["control", "ablation", "proportion", *MEASURES]
    frame, _ = evaluated(case, np.full((1, graph.n_edges), np.nan, np.float32))
    assert frame.is_empty()
