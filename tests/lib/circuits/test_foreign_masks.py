"""Masks of auto-circuit and Edge Pruning, made by hand on a graph known by heart."""

import math

import numpy as np
import pytest

from circuit_transfer.circuits.auto_circuit import from_prune_scores, is_prune_scores
from circuit_transfer.circuits.edge_pruning import (
    from_edge_list,
    from_log_alphas,
    is_log_alphas,
)
from circuit_transfer.models.edges import described_graph

MODEL = {
    "architecture": "llama",
    "layers": 2,
    "heads": 2,
    "kv_heads": 1,
    "parallel_mlp": False,
}
# In the order in which every project has them.
WRITERS = ["input", "a0.h0", "a0.h1", "m0", "a1.h0", "a1.h1", "m1"]
BEFORE = {"a0": 1, "m0": 3, "a1": 4, "m1": 6, "logits": 7}


def named(edges):
    return dict(zip(edges.graph.edge_names(), edges.scores.tolist(), strict=True))


def inside(edges):
    names = edges.graph.edge_names()
    return {name for name, kept in zip(names, edges.circuit, strict=True) if kept}


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


# auto-circuit


def prune_scores(score):
    """Return prune scores by module, of a score by the name of the edge."""
    scores = {}
    for layer in range(2):
        before = WRITERS[: BEFORE[f"a{layer}"]]
        for kind in "qkv":
            scores[f"blocks.{layer}.hook_{kind}_input"] = [
                [score(f"{writer}->a{layer}.h{head}<{kind}>") for writer in before]
                for head in range(2)
            ]
        before = WRITERS[: BEFORE[f"m{layer}"]]
        scores[f"blocks.{layer}.hook_mlp_in"] = [
            score(f"{w}->m{layer}") for w in before
        ]
    scores["blocks.1.hook_resid_post"] = [score(f"{w}->logits") for w in WRITERS]
    return scores


def number_of(name):
    return float(sum(place * ord(each) for place, each in enumerate(name, 1)) % 997)


@pytest.mark.parametrize("container", [list, np.array])
def test_prune_scores_are_those_of_the_edges_of_their_names(container):
    scores = {n: container(s) for n, s in prune_scores(number_of).items()}
    assert is_prune_scores(scores) and not is_log_alphas(scores)
    edges = from_prune_scores(scores, MODEL)
    assert edges.graph == described_graph(MODEL)
    assert named(edges) == {n: number_of(n) for n in edges.graph.edge_names()}
    assert edges.rankings == ("signed", "absolute") and edges.circuit is None


def test_prune_scores_that_are_true_or_false_are_a_circuit():
    kept = {"input->a0.h1<k>", "a0.h1->a1.h0<v>", "a1.h0->logits"}
    edges = from_prune_scores(prune_scores(lambda name: name in kept), MODEL)
    assert inside(edges) == kept and edges.scores is None


def test_prune_scores_of_parallel_mlps():
    model = MODEL | {"parallel_mlp": True}
    scores = prune_scores(number_of)
    for layer, before in ((0, 1), (1, 4)):
        name = f"blocks.{layer}.hook_mlp_in"
        scores[name] = scores[name][:before]
    edges = from_prune_scores(scores, model)
    assert named(edges) == {n: number_of(n) for n in edges.graph.edge_names()}


def test_prune_scores_of_one_head_have_an_axis_of_heads():
    model = {
        "architecture": "llama",
        "layers": 1,
        "heads": 1,
        "kv_heads": 1,
        "parallel_mlp": False,
    }
    scores = {f"blocks.0.hook_{kind}_input": [[n]] for n, kind in enumerate("qkv")}
    scores |= {"blocks.0.hook_mlp_in": [3, 4], "blocks.0.hook_resid_post": [5, 6, 7]}
    assert from_prune_scores(scores, model).scores.tolist() == [*range(8)]


def put(name, value):
    def change(tensors):
        tensors[name] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("blocks.0.hook_mlp_in"), "no tensor blocks.0.hook_mlp_in$"),
        (
            put("blocks.2.hook_mlp_in", [1]),
            "modules that this model does not have: blocks.2.hook_mlp_in$",
        ),
        (
            put("blocks.0.hook_attn_in", [[1], [2]]),
            "'?blocks.0.hook_attn_in'?: scores of edges to heads as a whole; expected "
            "those of queries, keys and values, as with `separate_qkv=True`",
        ),
        (
            put("blocks.0.hook_q_input", [[[1], [2]]] * 5),
            r"shape \(5, 2, 1\), expected \(2, 1\) for this model; scores of single "
            "positions need to be summed over them",
        ),
        (put("blocks.0.hook_q_input", [[1]]), r"shape \(1, 1\), expected \(2, 1\)"),
        (put("blocks.0.hook_q_input", [[1], [2, 3]]), "not an array of numbers"),
        (put("blocks.0.hook_q_input", [["1"], ["2"]]), "not an array of numbers alone"),
        (put("blocks.0.hook_q_input", [[1], [10**400]]), "not an array of numbers al"),
        (put("blocks.0.hook_q_input", [[1], [math.nan]]), "not finite in float32"),
        (put("blocks.0.hook_q_input", [[1], [1e39]]), "not finite in float32"),
        (put("blocks.0.hook_q_input", None), "not an array of numbers alone"),
        (put("blocks.0.hook_q_input", {"a": 1}), "not an array of numbers alone"),
    ],
)
def test_what_is_wrong_with_prune_scores_is_named(change, message):
    scores = prune_scores(number_of)
    change(scores)
    with pytest.raises(ValueError, match=message):
        from_prune_scores(scores, MODEL)


# Edge Pruning


def log_alphas(edge, writer, embeddings=("input",), prefix="model.layers.", kv=1):
    """Return the gates of a checkpoint, of log alphas by the names of edges, writers.

    Entries of writers that are not computed before the reader are 77.
    """
    writers = [*embeddings, *WRITERS[1:]]

    def column(reader, before):
        usable = WRITERS[:before]
        return [edge(f"{w}->{reader}") if w in usable else 77 for w in writers]

    gates = {}
    for layer in range(2):
        place = f"{prefix}{layer}."
        for kind, heads in zip("qkv", (2, kv, kv), strict=True):
            columns = [
                column(f"a{layer}.h{head}<{kind}>", BEFORE[f"a{layer}"])
                for head in range(heads)
            ]
            gates[f"{place}{kind}_read_log_alphas"] = np.array(columns).T
        gates[f"{place}mlp_read_log_alphas"] = np.array(
            column(f"m{layer}", BEFORE[f"m{layer}"])
        )
        heads = np.array([writer(f"a{layer}.h{head}") for head in range(2)])
        gates[f"{place}attn_write_log_alphas"] = heads
        gates[f"{place}mlp_write_log_alphas"] = np.array([writer(f"m{layer}")])
    model = prefix.rpartition(".")[0].rpartition(".")[0]
    gates[f"{model}.final_read_log_alphas"] = np.array(column("logits", 7))
    if embeddings:
        gates[f"{model}.token_write_log_alpha"] = np.array([writer("input")])
    return gates


def gate_of(name):
    return number_of(name) / 100 - 5


def check_odds(edges, names):
    """Check scores by the definition: the probability that both gates are open."""
    scores = named(edges)
    for name in names:
        writer = name.split("->")[0]
        product = sigmoid(1.2 * gate_of(name)) * sigmoid(1.2 * gate_of(writer))
        assert math.isclose(sigmoid(scores[name]), product, rel_tol=1e-4), name


def test_gates_are_those_of_the_edges_of_their_names():
    gates = log_alphas(gate_of, gate_of)
    gates["model.layers.0.self_attn.q_proj.weight"] = "ignored"
    gates["model.sparsity_lambda_edges_1"] = np.array([3.0])
    assert is_log_alphas(gates) and not is_prune_scores(gates)
    edges = from_log_alphas(gates, MODEL)
    # Edge Pruning has one key and value for each key-value head.
    assert edges.graph == described_graph(MODEL, "kv-head")
    assert edges.rankings == ("signed",)
    check_odds(edges, edges.graph.edge_names())


def test_position_embeddings_are_no_writer():
    model = MODEL | {"kv_heads": 2}
    embeddings = ("input", "pos_embeds")
    gates = log_alphas(gate_of, gate_of, embeddings, "transformer.h.", kv=2)
    gates["transformer.pos_write_log_alpha"] = np.array([1.0])
    edges = from_log_alphas(gates, model)
    assert edges.graph.edge_names() == described_graph(model).edge_names()
    check_odds(edges, edges.graph.edge_names())


def test_embeddings_without_gates_rank_first():
    lists = {n: g.tolist() for n, g in log_alphas(gate_of, gate_of, ()).items()}
    edges = from_log_alphas(lists, MODEL)
    scores = named(edges)
    of_input = [name for name in scores if name.startswith("input->")]
    others = [name for name in scores if not name.startswith("input->")]
    assert min(scores[n] for n in of_input) > max(scores[n] for n in others)
    assert np.isfinite(edges.scores).all()
    check_odds(edges, others)


def test_gates_far_from_zero_are_still_ranked():
    gates = log_alphas(lambda name: 60 + number_of(name) / 1000, lambda name: 100)
    edges = from_log_alphas(gates, MODEL)
    expected = [number_of(name) for name in edges.graph.edge_names()]
    assert np.argsort(edges.scores).tolist() == np.argsort(expected).tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda g: g.pop("model.layers.1.mlp_write_log_alphas"),
            "no tensor 1.mlp_write_log_alphas$",
        ),
        (
            lambda g: g.pop("model.final_read_log_alphas"),
            "final_read_log_alphas: no writers, expected the 6 heads and MLPs of this "
            "model and at most two embeddings",
        ),
        (put("model.final_read_log_alphas", [1.0] * 5), "log_alphas: no writers"),
        (
            put("model.layers.2.mlp_write_log_alphas", [1.0]),
            "gates that this model does not have: 2.mlp_write_log_alphas$",
        ),
        (
            put("model.layers.0.k_read_log_alphas", np.zeros((7, 2))),
            r"0.k_read_log_alphas: shape \(7, 2\), expected \(7, 1\) for this model$",
        ),
        (
            put("model.layers.0.mlp_write_log_alphas", [math.inf]),
            "0.mlp_write_log_alphas: not finite in float32",
        ),
    ],
)
def test_what_is_wrong_with_gates_is_named(change, message):
    gates = log_alphas(gate_of, gate_of)
    change(gates)
    with pytest.raises(ValueError, match=message):
        from_log_alphas(gates, MODEL)


@pytest.mark.parametrize("tokens", ["embeds", "tok_embeds"])
def test_a_list_of_edges_is_a_circuit(tokens):
    pairs = [[tokens, "a0.h1.q"], ["pos_embeds", "m0"], ["a0.h1", "a1.h0.k"]]
    pairs += [["a0.h1", "m1"], ["m1", "resid_post"]]
    edges = from_edge_list(pairs, MODEL)
    kept = {"input->a0.h1<q>", "a0.h1->a1.h0<k>", "a0.h1->m1", "m1->logits"}
    assert inside(edges) == kept and edges.scores is None
    assert edges.graph.kv == "kv-head"


def test_a_list_without_embeddings_reads_them_everywhere():
    edges = from_edge_list([["m1", "resid_post"]], MODEL)
    of_input = {n for n in edges.graph.edge_names() if n.startswith("input->")}
    assert inside(edges) == of_input | {"m1->logits"}


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([["m1", "m0"]], "this model has no edges m1->m0$"),
        ([["a0.h0", "a1.h1.k"]], r"this model has no edges a0.h0->a1.h1\.k$"),
        ([["a0.h0", "a1.h1"]], "this model has no edges a0.h0->a1.h1$"),
        ([["a0.h0"]], r"edge \['a0.h0'\]: expected the names of a writer and of a"),
        ([["a0.h0", 3]], r"edge \['a0.h0', 3\]: expected the names of a writer"),
        ([], "an empty list of edges"),
        (["a0"], "edge 'a0': expected the names of a writer and of a reader, such"),
    ],
)
def test_what_is_wrong_with_a_list_of_edges_is_named(pairs, message):
    with pytest.raises(ValueError, match=message):
        from_edge_list(pairs, MODEL)
