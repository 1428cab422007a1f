"""Files of other projects are recognised by what they hold."""

import json
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from circuit_transfer.artifacts.tensors import write_tensors
from circuit_transfer.artifacts.text import write_json, write_parts
from circuit_transfer.circuits.imported import ImportedEdges
from circuit_transfer.circuits.mib import to_dense, to_importances
from circuit_transfer.circuits.mib_edges import edge_importances, edge_tensors
from circuit_transfer.models.edges import described_graph
from circuit_transfer.models.nodes import node_names
from circuit_transfer.stages.imported import read_imported

ROOT = Path(__file__).parents[3]
MODEL = {
    "architecture": "llama",
    "layers": 2,
    "heads": 2,
    "kv_heads": 1,
    "d_model": 8,
    "parallel_mlp": False,
}
MODEL |= {"nodes": list(node_names(2, 2))}
GRAPH = described_graph(MODEL)
EDGES = np.arange(GRAPH.n_edges, dtype=np.float32) - 20
NODES = np.arange(6, dtype=np.float32) - 3
MODULES = {"blocks.0.hook_q_input": (2, 1), "blocks.0.hook_k_input": (2, 1)}
MODULES |= {"blocks.0.hook_v_input": (2, 1), "blocks.0.hook_mlp_in": (3,)}
MODULES |= {f"blocks.1.hook_{kind}_input": (2, 4) for kind in "qkv"}
MODULES |= {"blocks.1.hook_mlp_in": (6,), "blocks.1.hook_resid_post": (7,)}


def mib_edges(path):
    write_parts(edge_importances(EDGES, GRAPH, MODEL), path)


def mib_nodes(path):
    write_json(to_importances(NODES, MODEL["nodes"], MODEL), path)


def node_graph_of_eap_ig(path):
    """EAP-IG writes all edges, with 0, into a graph of nodes, and NaN for the input."""
    graph = to_importances(NODES, MODEL["nodes"], MODEL)
    graph["nodes"]["input"]["score"] = float("nan")
    edges = {name: {"score": 0.0, "in_graph": True} for name in GRAPH.edge_names()}
    path.write_text(json.dumps(graph | {"edges": edges}))


def edge_graph_of_eap_ig(path):
    """Its graph of edges may have node scores that were never computed."""
    nodes = {name: {"in_graph": True, "score": float("nan")} for name in GRAPH.writers}
    values = zip(GRAPH.edge_names(), EDGES.tolist(), strict=True)
    edges = {name: {"score": score, "in_graph": False} for name, score in values}
    # Its own edges come first here, before it is known what they are of.
    cfg = to_importances(NODES, MODEL["nodes"], MODEL)["cfg"]
    path.write_text(json.dumps({"edges": edges, "cfg": cfg, "nodes": nodes}))


def node_tensors(path):
    tensors, metadata = to_dense(to_importances(NODES, MODEL["nodes"], MODEL))
    write_tensors(path, tensors, **metadata)


def edges_with_metadata(path):
    tensors, metadata = edge_tensors(EDGES, GRAPH, MODEL)
    write_tensors(path, tensors, **metadata)


def converted_from_pt(path):
    """What the lines in the message about pickles make of `Graph.to_pt`."""
    tensors = {
        k: torch.tensor(v) for k, v in edge_tensors(EDGES, GRAPH, MODEL)[0].items()
    }
    graph = {**tensors, "cfg": {"n_layers": 2}, "src_nodes": list(GRAPH.writers)}
    graph["edges_scores"] = graph["edges_scores"].clamp(min=0).T.contiguous().T
    graph["nodes_scores"] = torch.full((7,), torch.nan)
    save_file({k: v.contiguous() for k, v in graph.items() if torch.is_tensor(v)}, path)


def prune_scores_as_json(path):
    write_json({n: np.ones(shape).tolist() for n, shape in MODULES.items()}, path)


def prune_scores_as_tensors(path):
    save_file({name: torch.ones(shape) for name, shape in MODULES.items()}, path)


def checkpoint_of_edge_pruning(path):
    """In bfloat16, which NumPy does not have, among the weights of the model."""
    gates = {"model.final_read_log_alphas": (7,), "model.token_write_log_alpha": (1,)}
    for layer in range(2):
        shapes = {"q_read": (7, 2), "k_read": (7, 1), "v_read": (7, 1)}
        shapes |= {"mlp_read": (7,), "attn_write": (2,), "mlp_write": (1,)}
        for name, shape in shapes.items():
            gates[f"model.layers.{layer}.{name}_log_alphas"] = shape
    tensors = {n: torch.full(s, 10.0, dtype=torch.bfloat16) for n, s in gates.items()}
    save_file(tensors | {"model.embed_tokens.weight": torch.ones(9, 8)}, path)


def list_of_edges(path):
    write_json([["embeds", "a1.h1.q"], ["a1.h1", "resid_post"]], path)


@pytest.mark.parametrize(
    ("write", "kind"),
    [
        (mib_edges, "edges"),
        (mib_nodes, "nodes"),
        (node_graph_of_eap_ig, "nodes"),
        (edge_graph_of_eap_ig, "edges"),
        (node_tensors, "nodes"),
        (edges_with_metadata, "edges"),
        (converted_from_pt, "positive"),
        (prune_scores_as_json, "prune scores"),
        (prune_scores_as_tensors, "prune scores"),
        (checkpoint_of_edge_pruning, "gates"),
        (list_of_edges, "circuit"),
    ],
)
@pytest.mark.parametrize("name", ["x.json", "x", "x.bin"])
def test_every_format_is_read_whatever_its_name(tmp_path, write, kind, name):
    path = tmp_path / name
    write(path)
    found = read_imported(path, MODEL)
    if kind == "nodes":
        assert found.tobytes() == NODES.tobytes()
        return
    assert isinstance(found, ImportedEdges)
    if kind in ("edges", "positive"):
        expected = EDGES if kind == "edges" else EDGES.clip(min=0)
        assert found.scores.tolist() == expected.tolist()
    elif kind == "prune scores":
        assert found.scores.tolist() == [1] * GRAPH.n_edges
    elif kind == "gates":
        assert len({*found.scores.tolist()}) == 1 and found.scores[0] > 10
    else:
        assert found.circuit.sum() == 2


def test_a_circuit_of_edges_has_no_scores(tmp_path):
    cfg = to_importances(NODES, MODEL["nodes"], MODEL)["cfg"]
    edges = {"input->m0": {"in_graph": True}, "m0->logits": {"in_graph": True}}
    for nodes in ({}, {"nodes": {}}, {"nodes": {"m0": {"in_graph": True}}}):
        write_json({"cfg": cfg, "edges": edges, **nodes}, tmp_path / "x.json")
        assert read_imported(tmp_path / "x.json", MODEL).circuit.sum() == 2


def test_the_conversions_that_are_documented(tmp_path, monkeypatch):
    """Each block of the page is run as it stands."""
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "workflow/docs/exchange.md").read_text()
    export, convert = re.findall(r"^```\n(import.*?)^```", text, re.M | re.S)
    edges_with_metadata(tmp_path / "importances.safetensors")
    exec(export, {})
    graph = torch.load("importances.pt")
    assert graph["cfg"]["n_layers"] == 2 and graph["dst_nodes"] == list(GRAPH.readers)
    assert graph["src_nodes"] == list(GRAPH.writers)
    (tmp_path / "importances.pt").rename("graph.pt")
    checkpoint_of_edge_pruning(tmp_path / "model.safetensors")
    torch.save(load_file("model.safetensors"), "pytorch_model.bin")
    exec(convert, {"prune_scores": {n: torch.ones(s) for n, s in MODULES.items()}})
    assert read_imported("graph.safetensors", MODEL).scores.tolist() == EDGES.tolist()
    assert read_imported("scores.safetensors", MODEL).scores.tolist() == [1] * len(
        EDGES
    )
    gates = read_imported("gates.safetensors", MODEL)
    expected = read_imported("model.safetensors", MODEL)
    assert gates.scores.tobytes() == expected.scores.tobytes()


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize(
    "name", ["graph.pt", "graph.json", "graph", "graph.safetensors"]
)
def test_pickles_are_refused_with_the_conversion_and_never_opened(tmp_path, name):
    path, ran = tmp_path / name, tmp_path / "ran"
    contents = [pickle.dumps(Payload(ran), protocol) for protocol in range(2, 6)]
    torch.save({"cfg": Payload(ran)}, path)
    contents.append(path.read_bytes())
    torch.save({"cfg": Payload(ran)}, path, _use_new_zipfile_serialization=False)
    contents.append(path.read_bytes())
    for content in contents:
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"{name}: a pickle can run code") as error:
            read_imported(path, MODEL)
        assert "g = torch.load('graph.pt'); st.save_file(" in str(error.value)
    assert not ran.exists()


def test_a_file_named_like_a_pickle_without_a_known_start_is_refused(tmp_path):
    (tmp_path / "graph.pkl").write_bytes(pickle.dumps({"a": 1}, 0))
    with pytest.raises(ValueError, match="graph.pkl: a pickle can run code"):
        read_imported(tmp_path / "graph.pkl", MODEL)


def test_no_header_of_safetensors_is_mistaken_for_a_pickle(tmp_path):
    # Headers of 640 to 1408 bytes, whose lengths start like pickles or archives.
    for padding in range(400, 1500, 8):
        path = tmp_path / "x"
        tensors, metadata = edge_tensors(EDGES, GRAPH, MODEL)
        write_tensors(path, tensors, **metadata, padding="x" * padding)
        assert read_imported(path, MODEL).is_known


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"not a JSON file \(Expecting value"),
        (
            "{}",
            "no circuit; expected `cfg`, `nodes` and `edges` of MIB, the tensors of",
        ),
        ("3", "no circuit; expected `cfg`"),
        ('"cfg"', "no circuit; expected `cfg`"),
        ("[]", "an empty list of edges"),
        (
            '{"cfg": 3, "edges": {"input->m0": {}}}',
            "no mapping 'cfg': expected a graph",
        ),
        ('{"cfg": {}, "edges": {"x": {}}}', "cfg.n_layers is None, expected 2 as in"),
        (
            '{"cfg": {}, "edges": [1]}',
            "cfg.n_layers is None, expected 2 as in the model",
        ),
        ('{"cfg": {"n_layers": 2, "n_heads": 2}}', "no mapping 'nodes'"),
        ('{"blocks.0.hook_mlp_in": [1, 2]}', "no tensor blocks.0.hook_q_input"),
        ('{"h.0.mlp_read_log_alphas": 3}', "final_read_log_alphas: no writers"),
    ],
)
def test_what_is_no_circuit_is_refused_and_the_file_named(tmp_path, content, message):
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(ValueError, match=f"/x.json: {message}"):
        read_imported(tmp_path / "x.json", MODEL)


def test_tensors_of_something_else_are_refused(tmp_path):
    path = tmp_path / "x.safetensors"
    save_file({"embed.weight": torch.ones(3)}, path)
    with pytest.raises(ValueError, match="x.safetensors: no tensor of a circuit; exp"):
        read_imported(path, MODEL)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match="x.safetensors: not a readable safetensors f"):
        read_imported(path, MODEL)
    save_file({"nodes_scores": torch.ones(3)}, path)
    with pytest.raises(
        ValueError, match=r"nodes_scores: shape \(3,\), expected \(7,\)"
    ):
        read_imported(path, MODEL)
