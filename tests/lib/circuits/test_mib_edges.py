"""Edges in MIB's format against a plain reading of it, and what it must refuse."""

import json
import math

import numpy as np
import pytest

from circuit_transfer.circuits.mib_edges import (
    EdgeEntries,
    edge_importances,
    edge_tensors,
    from_edge_entries,
    from_edge_tensors,
    query_head_scores,
)
from circuit_transfer.models.edges import described_graph

MODEL = {
    "architecture": "llama",
    "layers": 2,
    "heads": 4,
    "kv_heads": 2,
    "d_model": 12,
    "parallel_mlp": False,
}
GRAPH = described_graph(MODEL)
SCORES = np.random.default_rng(0).standard_normal(GRAPH.n_edges).astype(np.float32)
CFG = {"n_layers": 2, "n_heads": 4, "parallel_attn_mlp": False, "d_model": 12}


def exported(scores=SCORES, graph=GRAPH, model=MODEL):
    return json.loads("".join(edge_importances(scores, graph, model)))


def imported(importances, graph=GRAPH):
    entries = EdgeEntries(graph, importances["edges"].items())
    return from_edge_entries(importances["cfg"], entries)


def read_by_eap_ig(importances):
    """Scores and circuit as EAP-IG's `Graph.from_json` has them, in plain words.

    It builds all nodes and edges from `cfg`, looks every name of the file up among
    them, and puts the numbers into matrices of source nodes and destinations.
    """
    cfg = importances["cfg"]
    layers, heads = cfg["n_layers"], cfg["n_heads"]
    sources, index = ["input"], {"input": 0}
    edges = {}
    for layer in range(layers):
        own = [f"a{layer}.h{head}" for head in range(heads)]
        first = layer * (3 * heads + 1)
        for source in sources:
            for number, kind in enumerate("qkv"):
                for head, name in enumerate(own):
                    column = first + number * heads + head
                    edges[f"{source}->{name}<{kind}>"] = (index[source], column)
        if not cfg["parallel_attn_mlp"]:
            sources += own
            index |= {name: 1 + layer * (heads + 1) + h for h, name in enumerate(own)}
        for source in sources:
            edges[f"{source}->m{layer}"] = (index[source], first + 3 * heads)
        if cfg["parallel_attn_mlp"]:
            sources += own
            index |= {name: 1 + layer * (heads + 1) + h for h, name in enumerate(own)}
        sources.append(f"m{layer}")
        index[f"m{layer}"] = 1 + layer * (heads + 1) + heads
    for source in sources:
        edges[f"{source}->logits"] = (index[source], -1)
    shape = (1 + layers * (heads + 1), layers * (3 * heads + 1) + 1)
    scores, inside = np.zeros(shape, np.float32), np.zeros(shape, bool)
    for name, node in importances["nodes"].items():
        assert name in [*sources, "logits"] and node["in_graph"] in (True, False)
        assert "score" not in node, "it would rank nodes"
    for name, edge in importances["edges"].items():
        scores[edges[name]] = edge["score"]
        inside[edges[name]] = edge["in_graph"]
    return scores, inside, edges


@pytest.mark.parametrize("parallel", [False, True])
def test_eap_ig_reads_the_same_scores_at_the_same_places(parallel):
    model = MODEL | {"parallel_mlp": parallel}
    graph = described_graph(model)
    values = SCORES[: graph.n_edges]
    scores, inside, edges = read_by_eap_ig(exported(values, graph, model))
    assert len(edges) == graph.n_edges
    assert np.array_equal(scores, graph.matrix(values, outside=0))
    assert np.array_equal(inside, graph.legal)
    tensors, metadata = edge_tensors(values, graph, model)
    assert np.array_equal(tensors["edges_scores"][graph.legal], scores[graph.legal])
    assert (tensors["edges_scores"][~graph.legal] == -np.inf).all()
    assert tensors["edges_scores"].dtype == np.float32
    assert np.array_equal(tensors["edges_in_graph"], inside)
    assert tensors["nodes_in_graph"].tolist() == [True] * len(graph.writers)
    assert metadata["cfg"] == CFG | {"parallel_attn_mlp": parallel}
    sources, targets = metadata["src_nodes"], metadata["dst_nodes"]
    for name, (row, column) in edges.items():
        assert f"{sources[row]}->{targets[column]}" == name


def test_the_layout_is_that_of_mib():
    graph = exported()
    assert list(graph) == ["cfg", "nodes", "edges"]
    assert graph["cfg"] == CFG
    assert list(graph["nodes"])[:3] == ["input", "a0.h0", "a0.h1"]
    assert list(graph["nodes"])[-1] == "logits"
    first = float(SCORES[0])
    assert graph["edges"]["input->a0.h0<q>"] == {"score": first, "in_graph": True}


def test_scores_come_back_bit_by_bit_in_any_order():
    graph = exported()
    back = imported(graph)
    assert back.circuit is None and back.graph == GRAPH and back.is_known
    assert back.rankings == ("signed", "absolute")
    assert back.scores.dtype == np.float32
    assert back.scores.tobytes() == SCORES.tobytes()
    graph["edges"] = dict(reversed(graph["edges"].items()))
    assert imported(graph).scores.tobytes() == SCORES.tobytes()
    tensors = edge_tensors(SCORES, GRAPH, MODEL)[0]
    assert from_edge_tensors(tensors, MODEL).scores.tobytes() == SCORES.tobytes()


def test_a_file_written_by_hand_gives_the_scores_in_our_order():
    model = {
        "architecture": "llama",
        "layers": 1,
        "heads": 1,
        "kv_heads": 1,
        "parallel_mlp": False,
    }
    graph = described_graph(model)
    scores = {
        "m0->logits": 8,
        "input->a0.h0<v>": 3,
        "input->logits": 6.5,
        "input->a0.h0<q>": -1,
        "a0.h0->logits": 7,
        "a0.h0->m0": 5.0,
        "input->m0": 4,
        "input->a0.h0<k>": 2,
    }
    edges = {name: {"score": s, "in_graph": False} for name, s in scores.items()}
    cfg = {"n_layers": 1, "n_heads": 1}
    back = imported({"cfg": cfg, "edges": edges}, graph)
    assert back.scores.tolist() == [-1, 2, 3, 4, 5, 6.5, 7, 8]


def test_scores_that_are_not_known_are_null_and_stay_unknown():
    unknown = np.full(GRAPH.n_edges, np.nan, np.float32)
    graph = exported(unknown)
    assert {edge["score"] for edge in graph["edges"].values()} == {None}
    assert not imported(graph).is_known
    tensors = edge_tensors(unknown, GRAPH, MODEL)[0]
    assert not from_edge_tensors(tensors, MODEL).is_known


def test_scores_of_shared_keys_are_divided_among_their_query_heads():
    shared = described_graph(MODEL, "kv-head")
    values = np.arange(1, shared.n_edges + 1, dtype=np.float32)
    flat, graph = query_head_scores(shared.matrix(values), shared, MODEL)
    assert graph == GRAPH
    named = dict(zip(GRAPH.edge_names(), flat.tolist(), strict=True))
    of = dict(zip(shared.edge_names(), values.tolist(), strict=True))
    for name, score in named.items():
        if name.endswith(("<k>", "<v>")):
            start, head, end = name[:-4], int(name[-4]), name[-3:]
            assert score == of[f"{start}{head // 2}{end}"] / 2
        else:
            assert score == of[name]
    assert math.isclose(flat.sum(), values.sum())


def test_scores_of_query_heads_stay_as_they_are():
    flat, graph = query_head_scores(GRAPH.matrix(SCORES), GRAPH, MODEL)
    assert graph == GRAPH and flat.tobytes() == SCORES.tobytes()


def inside_of(edges):
    return {n for n, i in zip(GRAPH.edge_names(), edges.circuit, strict=True) if i}


KEPT = {"input->a0.h1<q>", "a0.h1->m1", "m1->logits"}


@pytest.mark.parametrize(
    "entry",
    [
        lambda inside: {"in_graph": inside},
        # As EAP-IG writes a circuit without scores.
        lambda inside: {"in_graph": inside, "score": 0.0},
    ],
)
def test_a_graph_without_scores_is_one_circuit(entry):
    graph = exported()
    graph["edges"] = {name: entry(name in KEPT) for name in graph["edges"]}
    back = imported(graph)
    assert back.scores is None and back.is_known
    assert inside_of(back) == KEPT
    # What is not there is outside.
    graph["edges"] = {name: entry(True) for name in KEPT}
    assert inside_of(imported(graph)) == KEPT


def test_a_circuit_as_tensors():
    inside = np.array([name in KEPT for name in GRAPH.edge_names()])
    matrix = GRAPH.matrix(inside, outside=False)
    for others in ({}, {"edges_scores": np.zeros(matrix.shape, np.float32)}):
        back = from_edge_tensors({"edges_in_graph": matrix, **others}, MODEL)
        assert inside_of(back) == KEPT


def test_equal_scores_of_all_edges_in_the_graph_are_a_ranking():
    zeros = np.zeros(GRAPH.n_edges, np.float32)
    assert imported(exported(zeros)).scores.tolist() == zeros.tolist()


def edge(name, **entry):
    def change(graph):
        graph["edges"][name] = entry

    return change


def without(*names):
    def change(graph):
        for name in names:
            del graph["edges"][name]

    return change


def only_inside(graph):
    graph["edges"] = {name: {"in_graph": None} for name in graph["edges"]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda graph: graph["cfg"].update(n_layers=12), "n_layers is 12, expected 2"),
        (lambda graph: graph["cfg"].pop("n_heads"), "n_heads is None, expected 4"),
        (
            lambda graph: graph["cfg"].update(parallel_attn_mlp=True),
            "cfg.parallel_attn_mlp is True, expected False as in the model",
        ),
        (edge("m1->m0", score=1), "this model has no edges m1->m0$"),
        (edge("a9.h0->logits", score=1), "this model has no edges a9.h0->logits$"),
        (edge("input->a0.h0", score=1), "this model has no edges input->a0.h0$"),
        (edge("\x1b[31m", score=1), r"no edges \\x1b\[31m$"),
        (
            without("m0->logits"),
            "no score for m0->logits, while other edges have one: expected a number "
            "for every edge, since all of them are ranked; or for one circuit only "
            "`in_graph`",
        ),
        (
            without(*GRAPH.edge_names()[:7]),
            r"no score for input->a0.h0<q>, .*a0.h2<q> and 4 more, while other",
        ),
        (edge("input->m0", in_graph=True), "no score for input->m0, while other"),
        (edge("input->m0", score=None), "no score for input->m0, while other"),
        (edge("input->m0", score=math.nan), "no score for input->m0, while other"),
        (edge("input->m0", score="high"), "edge input->m0: score 'high' is not a numb"),
        (edge("input->m0", score=True), "edge input->m0: score True is not a number"),
        (edge("input->m0", score=[1.0]), r"edge input->m0: score \[1.0\] is not a num"),
        (edge("input->m0", score=1e39), r"score 1e\+39 is not finite in float32"),
        (edge("input->m0", score=-math.inf), "score -inf is not finite in float32"),
        (edge("input->m0", score=10**400), r"score 1000.*\.\.\. is not finite in flo"),
        (
            lambda graph: graph["edges"].update({"input->m0": True}),
            "edge input->m0: True, expected a mapping with `score`",
        ),
        (only_inside, "no `in_graph` for input->a0.h0<q>.* and 1.. more: expected tru"),
    ],
)
def test_what_is_wrong_with_a_graph_is_named(change, message):
    graph = exported()
    change(graph)
    with pytest.raises(ValueError, match=message):
        imported(graph)


def test_an_edge_that_is_there_twice_is_refused():
    twice = [("input->m0", {"score": 1.0})] * 2
    with pytest.raises(ValueError, match="edge input->m0: it is there twice"):
        from_edge_entries(CFG, EdgeEntries(GRAPH, twice))


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (
            {"edges_scores": np.zeros((5, 5), np.float32)},
            r"edges_scores: shape \(5, 5\), expected \(11, 27\) for this model",
        ),
        (
            {"edges_scores": np.full(GRAPH.legal.shape, np.inf)},
            "edges_scores: not finite in float32",
        ),
        (
            {"edges_scores": np.where(np.arange(27) == 3, np.nan, GRAPH.legal)},
            "edges_scores: not finite in float32",
        ),
        (
            {"edges_in_graph": np.full(GRAPH.legal.shape, 0.5)},
            "no `in_graph` for input->a0.h0<q>",
        ),
    ],
)
def test_what_is_wrong_with_tensors_is_named(tensors, message):
    with pytest.raises(ValueError, match=message):
        from_edge_tensors(tensors, MODEL)
