import numpy as np
import polars as pl
import pytest
import torch
from evaluate_gold import evaluate_gold
from evaluate_imported import evaluate_imported
from export_mib import export_mib
from polars.testing import assert_frame_equal

from circuit_transfer.artifacts.descriptions import read_description
from circuit_transfer.artifacts.frames import read_frame
from circuit_transfer.artifacts.text import read_json, write_json, write_parts
from circuit_transfer.circuits.edge_faithfulness import evaluate_edge_masks
from circuit_transfer.circuits.edge_masks import edge_circuits
from circuit_transfer.circuits.mib_edges import edge_importances
from circuit_transfer.models.edges import described_graph
from circuit_transfer.models.loading import load_described
from circuit_transfer.prompts.batches import fitting_batches
from circuit_transfer.prompts.pairs import select_pairs


def exported(study, folder, task="a", model="target"):
    path = folder / "importances.json"
    tensors = folder / "importances.safetensors"
    export_mib(study.model(model), study.scores(model, task), path, tensors)
    return path


def evaluate(study, importances_path, path, evaluation, task="a"):
    evaluate_imported(
        study.model("target"),
        study.pairs("target", task),
        importances_path,
        path,
        path.with_suffix(".json"),
        target="target",
        task=task,
        circuit="theirs",
        settings=evaluation,
    )
    return read_frame(path)


def gold(study, path, evaluation, task="a"):
    evaluate_gold(
        study.model("target"),
        study.pairs("target", task),
        study.scores("target", task),
        path,
        path.with_suffix(".json"),
        target="target",
        task=task,
        method="nap",
        settings=evaluation,
    )
    return read_frame(path)


def test_our_own_scores_come_back_as_the_gold_circuits(study, tmp_path, evaluation):
    importances = exported(study, tmp_path)
    imported = evaluate(study, importances, tmp_path / "imported", evaluation)
    expected = gold(study, tmp_path / "gold", evaluation)
    assert set(imported["method"]) == {"theirs"}
    assert imported.drop("method").equals(expected.drop("method"))
    assert imported.columns == expected.columns


def test_a_circuit_is_measured_whole_at_its_own_size(study, tmp_path, evaluation):
    importances = read_json(exported(study, tmp_path))
    names = read_json(study.model("target"))["nodes"]
    ranked = sorted(names, key=lambda name: -importances["nodes"][name]["score"])
    for name in names:
        importances["nodes"][name] = {"in_graph": name in ranked[:3]}
    write_json(importances, tmp_path / "circuit.json")
    frame = evaluate(study, tmp_path / "circuit.json", tmp_path / "f", evaluation)
    expected = gold(study, tmp_path / "gold", evaluation)
    same = pl.col("n_nodes").is_in([0, 3, 10])
    # Other circuits beside them in a pass may change the rounding.
    assert_frame_equal(
        frame.filter(same).drop("method"), expected.filter(same).drop("method")
    )


@pytest.mark.parametrize(("task", "scores_of"), [("none", "none"), ("a", "none")])
def test_without_pairs_or_scores_there_are_columns_and_no_rows(
    study, tmp_path, evaluation, caplog, task, scores_of
):
    importances = exported(study, tmp_path, task=scores_of)
    empty = evaluate(study, importances, tmp_path / "empty", evaluation, task=task)
    assert empty.is_empty()
    assert empty.schema == gold(study, tmp_path / "gold", evaluation).schema
    assert "importances.json: the scores are not known" in caplog.text


def test_importances_of_another_model_are_named(study, tmp_path, evaluation):
    importances = exported(study, tmp_path, model="source")
    message = r"importances\.json: cfg\.n_layers is 1, expected 2"
    with pytest.raises(ValueError, match=message):
        evaluate(study, importances, tmp_path / "imported", evaluation)
    assert not (tmp_path / "imported").exists()


@pytest.fixture
def graph(study):
    return described_graph(read_description(study.model("target")))


@pytest.fixture
def edge_scores(graph):
    random = np.random.default_rng(0)
    return random.standard_normal(graph.n_edges).astype(np.float32)


def evaluated_directly(study, graph, masks, proportions):
    """What the circuits of edges do, by the function that measures masks."""
    description = read_description(study.model("target"))
    model = load_described(description)
    pairs = select_pairs(read_frame(study.pairs("target", "a")), "test", 3)
    frame, _ = evaluate_edge_masks(
        model,
        fitting_batches(model, pairs, 2),
        graph,
        pl.DataFrame({"proportion": proportions}),
        masks,
        ablations=["counterfactual"],
        model_name="target",
    )
    return frame


def without_labels(frame):
    labels = ("target", "task", "method", "control", "ranking", "seed", "own_size")
    return frame.drop(labels)


def test_scores_of_edges_are_measured_signed_and_absolute(
    study, tmp_path, evaluation, graph, edge_scores
):
    path, sizes = tmp_path / "edges.json", evaluation["proportions"]
    description = read_description(study.model("target"))
    write_parts(edge_importances(edge_scores, graph, description), path)
    frame = evaluate(study, path, tmp_path / "f", evaluation)
    assert frame["ranking"].to_list() == ["signed"] * 4 + ["absolute"] * 4
    assert frame["own_size"].to_list() == [False] * 8
    assert frame["seed"].to_list() == [None] * 8
    assert set(frame["method"]) == {"theirs"} and set(frame["control"]) == {"none"}
    both = np.stack([edge_scores, np.abs(edge_scores)])
    masks = edge_circuits(both, sizes).reshape(-1, graph.n_edges)
    expected = evaluated_directly(study, graph, masks, sizes * 2)
    assert_frame_equal(without_labels(frame), expected)


def test_a_circuit_of_edges_is_measured_once_at_its_own_size(
    study, tmp_path, evaluation, graph, edge_scores
):
    inside = edge_scores > 0.5
    names = [n for n, kept in zip(graph.edge_names(), inside, strict=True) if kept]
    config = read_json(exported(study, tmp_path))["cfg"]
    circuit = {"cfg": config, "edges": {name: {"in_graph": True} for name in names}}
    write_json(circuit, tmp_path / "circuit.json")
    frame = evaluate(study, tmp_path / "circuit.json", tmp_path / "f", evaluation)
    assert frame["own_size"].to_list() == [True]
    assert frame["ranking"].to_list() == [None]
    assert frame["n_edges"].to_list() == [len(names)]
    expected = evaluated_directly(study, graph, inside[None], [float(inside.mean())])
    assert_frame_equal(without_labels(frame), expected)


def test_edges_that_are_not_known_have_columns_and_no_rows(
    study, tmp_path, evaluation, graph, edge_scores, caplog
):
    path, description = tmp_path / "e.json", read_description(study.model("target"))
    unknown = np.full_like(edge_scores, np.nan)
    write_parts(edge_importances(unknown, graph, description), path)
    frame = evaluate(study, path, tmp_path / "f", evaluation)
    assert frame.is_empty()
    assert "e.json: the scores are not known" in caplog.text
    write_parts(edge_importances(edge_scores, graph, description), path)
    without_pairs = evaluate(study, path, tmp_path / "g", evaluation, task="none")
    assert without_pairs.is_empty() and without_pairs.schema == frame.schema


def test_a_pickled_graph_is_refused_with_the_conversion(study, tmp_path, evaluation):
    torch.save({"cfg": {}}, tmp_path / "graph.pt")
    with pytest.raises(
        ValueError, match=r"graph\.pt: a pickle can run code .* st\.save"
    ):
        evaluate(study, tmp_path / "graph.pt", tmp_path / "f", evaluation)
