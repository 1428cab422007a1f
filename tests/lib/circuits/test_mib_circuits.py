"""MIB's format against a plain reading of it, and against what it must refuse."""

import json
import math
from copy import deepcopy

import numpy as np
import pytest
import torch

from circuit_transfer.circuits.masks import circuit_masks
from circuit_transfer.circuits.mib import from_importances, to_dense, to_importances
from circuit_transfer.models.nodes import node_names

NODES = node_names(2, 3)
MODEL = {"layers": 2, "heads": 3, "d_model": 12, "nodes": list(NODES)}
MODEL |= {"parallel_mlp": False}
SCORES = np.array([0.1, -1e-40, 3e38, -0.0, 1 / 3, -7.5, 0.0, 16777217], np.float32)


def same_bits(left, right):
    return left.dtype == right.dtype and left.tobytes() == right.tobytes()


def written(value):
    """What a reader gets that has strict JSON only."""
    return json.loads(json.dumps(value, allow_nan=False))


@pytest.fixture
def importances():
    return to_importances(SCORES, NODES, MODEL)


def kept_by_mib(importances, proportion):
    """The nodes of MIB's circuit: of those with a score the best, and all without.

    A plain account of how MIB builds its graph from `cfg`, gives every node the score
    NaN, reads the file over that, and takes the top share of the scores.
    """
    cfg = importances["cfg"]
    scores = {"input": math.nan}
    for layer in range(cfg["n_layers"]):
        for head in range(cfg["n_heads"]):
            scores[f"a{layer}.h{head}"] = math.nan
        scores[f"m{layer}"] = math.nan
    for name, node in importances["nodes"].items():
        if name != "logits":
            assert name in scores
            scores[name] = node.get("score", math.nan)
    ranked = sorted(
        (name for name in scores if not math.isnan(scores[name])),
        key=lambda name: -scores[name],
    )
    best = ranked[: int(proportion * len(ranked))]
    return {name for name in scores if name in best or math.isnan(scores[name])}


@pytest.mark.parametrize("proportion", [0.001, 0.2, 0.5, 1.0])
def test_mib_takes_the_same_circuit_and_always_the_input(importances, proportion):
    (mask,) = circuit_masks(torch.tensor(SCORES)[None], [proportion])[0].bool()
    ours = {name for name, inside in zip(NODES, mask.tolist(), strict=True) if inside}
    assert kept_by_mib(written(importances), proportion) == {"input"} | ours


def test_scores_come_back_bit_by_bit(importances):
    assert same_bits(from_importances(written(importances), NODES), SCORES)
    noise = np.random.default_rng(0).standard_normal(len(NODES)).astype(np.float32)
    again = from_importances(written(to_importances(noise, NODES, MODEL)), NODES)
    assert same_bits(again, noise)


def test_the_layout_is_that_of_mib(importances):
    assert list(importances) == ["cfg", "nodes", "edges"]
    shape = {"n_layers": 2, "n_heads": 3, "parallel_attn_mlp": False, "d_model": 12}
    assert importances["cfg"] == shape
    assert list(importances["nodes"]) == ["input", *NODES, "logits"]
    assert all(node["in_graph"] is True for node in importances["nodes"].values())
    assert {n for n, node in importances["nodes"].items() if "score" in node} == {
        *NODES
    }
    assert importances["edges"] == {}


def test_parallel_mlps_are_told():
    graph = to_importances(SCORES, NODES, {**MODEL, "parallel_mlp": True})
    assert graph["cfg"]["parallel_attn_mlp"] is True


def test_the_dense_tensors_are_in_the_order_of_mib(importances):
    tensors, metadata = to_dense(importances)
    assert metadata == {"cfg": importances["cfg"], "src_nodes": ["input", *NODES]}
    assert math.isnan(tensors["nodes_scores"][0])
    assert same_bits(tensors["nodes_scores"][1:], SCORES)
    assert tensors["nodes_in_graph"].tolist() == [True] * 9
    assert tensors["nodes_in_graph"].dtype == bool


def test_scores_that_are_not_known_are_null_and_stay_unknown():
    unknown = to_importances(np.full(8, np.nan, np.float32), NODES, MODEL)
    read = written(unknown)
    assert [read["nodes"][name]["score"] for name in NODES] == [None] * 8
    assert np.isnan(from_importances(read, NODES)).all()
    assert np.isnan(to_dense(unknown)[0]["nodes_scores"]).all()


def test_the_order_of_the_file_and_the_ends_do_not_matter(importances):
    nodes = dict(reversed(importances["nodes"].items()))
    nodes["input"] = {"in_graph": False, "score": math.inf}
    del nodes["logits"]
    graph = {"cfg": importances["cfg"], "nodes": nodes}
    assert same_bits(from_importances(graph, NODES), SCORES)


def test_scores_may_be_integers_and_lie_beside_those_of_edges(importances):
    importances["edges"] = {"input->m0": {"score": 0.5, "in_graph": False}}
    for name in NODES:
        importances["nodes"][name] = {"in_graph": False, "score": int(name == "m1")}
    assert from_importances(importances, NODES).tolist() == [0.0] * 7 + [1.0]


def circuit(importances, inside):
    for name in NODES:
        importances["nodes"][name] = {"in_graph": name in inside}
    return importances


def test_a_graph_without_scores_is_a_circuit(importances):
    graph = circuit(importances, {"m0", "a1.h2"})
    scores = from_importances(graph, NODES)
    assert scores.dtype == np.float32
    assert scores.tolist() == [0, 0, 0, 1, 0, 0, 1, 0]
    # At its own size, the circuit is what is evaluated.
    mask = circuit_masks(torch.tensor(scores)[None], [0.25])[0, 0]
    assert mask.tolist() == scores.tolist()


def test_only_the_scores_of_its_own_nodes_are_exported():
    with pytest.raises(ValueError, match=r"scores \(7,\) of a0.h0, .* and 3 more are"):
        to_importances(SCORES[:7], NODES, MODEL)
    other = {**MODEL, "nodes": list(node_names(1, 7))}
    with pytest.raises(ValueError, match=r"each of a0.h0, .*, a0.h4 and 3 more"):
        to_importances(SCORES, NODES, other)


def _neurons_only(graph):
    circuit(graph, {"m0"})["nodes"]["m0"]["neurons"] = [True] * 12


def _entry(name, **entry):
    def change(graph):
        graph["nodes"][name] = entry

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda graph: graph.pop("cfg"), "no mapping 'cfg': expected a graph with cfg"),
        (lambda graph: graph.update(nodes=[]), "no mapping 'nodes'"),
        (lambda graph: graph["cfg"].update(n_layers=12), "n_layers is 12, expected 2"),
        (lambda graph: graph["cfg"].pop("n_heads"), "n_heads is None, expected 3"),
        (_entry("a2.h0", in_graph=True), "this model has no nodes a2.h0"),
        (lambda graph: graph["nodes"].pop("m1"), "no entry for the nodes m1"),
        (lambda graph: graph["nodes"].update(m1=True), "node m1: True, expected a map"),
        (_neurons_only, "neuron scores only; this project evaluates nodes and edges"),
        (_entry("m1", in_graph=True), "no score for m1, while other nodes have one"),
        (_entry("m1", score=None), "no score for m1, while other nodes have one"),
        (_entry("m1", score=math.nan), "no score for m1, while other nodes have one"),
        (_entry("m1", score="high"), "node m1: score 'high' is not a number"),
        (_entry("m1", score=True), "node m1: score True is not a number"),
        (_entry("m1", score=[1.0]), r"node m1: score \[1.0\] is not a number"),
        (_entry("m1", score=-math.inf), "node m1: score -inf is not finite in float32"),
        (_entry("m1", score=1e39), r"node m1: score 1e\+39 is not finite in float32"),
        (_entry("m1", score=10**400), "node m1: score 1000.* is not finite in float32"),
        (
            lambda graph: circuit(graph, {"m0"})["nodes"].update(m1={"in_graph": 1}),
            "node m1: in_graph is 1, expected true or false",
        ),
        (
            lambda graph: circuit(graph, {"m0"})["nodes"].update(m1={}),
            "node m1: in_graph is None, expected true or false",
        ),
    ],
)
def test_what_is_wrong_with_a_graph_is_named(importances, change, message):
    broken = deepcopy(importances)
    change(broken)
    with pytest.raises(ValueError, match=message):
        from_importances(broken, NODES)


@pytest.mark.parametrize("value", [None, [], "cfg nodes edges"])
def test_what_is_no_graph_is_refused(value):
    with pytest.raises(ValueError, match="no mapping 'cfg': expected a graph"):
        from_importances(value, NODES)
