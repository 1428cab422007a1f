"""The stages that score edges, verify them and measure circuits of edges."""

import numpy as np
import polars as pl
import pytest
import torch
from attribute_edges import attribute_edges
from evaluate_edges import GROWN, evaluate_edges
from evaluate_gold import evaluate_gold
from evaluate_lifted import evaluate_lifted
from evaluate_random_edges import evaluate_random_edges
from verify_edges import verify_edges

from circuit_transfer.artifacts.descriptions import read_description
from circuit_transfer.artifacts.edge_scores import read_edge_scores, write_edge_scores
from circuit_transfer.artifacts.frames import read_frame
from circuit_transfer.artifacts.scores import read_scores
from circuit_transfer.artifacts.text import read_json
from circuit_transfer.circuits.edge_controls import grown_circuits, random_edge_scores
from circuit_transfer.circuits.edge_faithfulness import MEASURES, OF_COMPLEMENT
from circuit_transfer.circuits.edge_masks import effective_edges
from circuit_transfer.models.edges import described_graph, edge_graph
from circuit_transfer.models.loading import load_described
from circuit_transfer.prompts.batches import pair_batches
from circuit_transfer.prompts.pairs import select_pairs
from circuit_transfer.stages.edges import LABELS

NAMES = {"target": "target", "task": "a"}
COLUMNS = [*[name for name in LABELS if name != "proportion"], "ablation"]
COLUMNS += ["proportion", *MEASURES]


def attribute(study, path, *, task="a", kv="query-head", **changes):
    how = {"edge_method": "eap", "examples": 4, "batch_size": 2, "ig_steps": 1}
    how |= {"ablation": "counterfactual", "keep_examples": "auto", **changes}
    cost = path.with_suffix(".json")
    pairs = study.pairs("target", task)
    attribute_edges(study.model("target"), pairs, path, cost, task=task, kv=kv, **how)
    return read_edge_scores(path)


def measured(study, folder, evaluation, *, task="a", kv="query-head"):
    scores = folder / f"{task}.safetensors"
    attribute(study, scores, task=task, kv=kv)
    paths = folder / "edges.parquet", folder / "cost.json"
    names = NAMES | {"edge_method": "eap", "kv": kv}
    model, pairs = study.model("target"), study.pairs("target", task)
    evaluate_edges(model, pairs, scores, *paths, **names, settings=evaluation)
    return read_frame(paths[0])


def test_scores_are_the_effect_of_every_edge_in_a_linear_step(study, tmp_path):
    """Of a circuit from which one edge is removed by a small share."""
    found = attribute(study, tmp_path / "scores.safetensors")
    description = read_description(study.model("target"))
    graph = described_graph(description)
    assert (found.writers, found.readers) == (graph.writers, graph.readers)
    assert found.metadata["examples"] == 4 and found.metadata["kv"] == "query-head"
    assert found.metadata["n_edges"] == graph.n_edges == len(found.flat)
    assert len(found.metadata["prompt_numbers"]) == 4
    assert "grid" not in found.metadata
    # The token embeddings' edges and all others into the logits: no norm between.
    model = load_described(description)
    pairs = select_pairs(read_frame(study.pairs("target", "a")), "train", 4)
    (batch,) = pair_batches(pairs, 4)
    with torch.no_grad():
        full = batch.logit_diff(model(batch.clean).logits[:, -1])
        empty = batch.logit_diff(model(batch.corrupted).logits[:, -1])
    effect = (full - empty).mean().item()
    assert found.metadata["effect"] == pytest.approx(effect, rel=1e-4)
    (cost,) = read_json(tmp_path / "scores.json")
    assert (cost["part"], cost["forwards"], cost["forward_backwards"]) == ("eap", 4, 4)


def test_examples_are_saved_where_they_are_few_or_wanted(study, tmp_path, monkeypatch):
    few = attribute(study, tmp_path / "few")
    assert few.by_example.shape == (4, few.metadata["n_edges"])
    assert few.by_example.mean(0) == pytest.approx(few.flat, abs=1e-2)
    assert attribute(study, tmp_path / "no", keep_examples=False).by_example is None
    monkeypatch.setattr("circuit_transfer.artifacts.edge_scores.MOST_SCORES", 10)
    assert attribute(study, tmp_path / "many").by_example is None
    assert attribute(study, tmp_path / "all", keep_examples=True).by_example is not None


@pytest.mark.parametrize("kv", ["query-head", "kv-head"])
def test_every_size_is_measured_signed_and_absolute_beside_random_ones(
    study, tmp_path, evaluation, kv
):
    frame = measured(study, tmp_path, evaluation, kv=kv)
    assert {*frame.columns} == {*COLUMNS, *OF_COMPLEMENT}
    found = frame.group_by("control", "ranking", "seed", maintain_order=True).len()
    expected = []
    for ranking in ("signed", "absolute"):
        expected.append(("none", ranking, None, 4))
        expected += [("random-effective", ranking, seed, 4) for seed in GROWN]
    assert found.rows() == expected
    own = frame.filter(control="none", ranking="absolute")
    n_edges = described_graph(read_description(study.model("target")), kv).n_edges
    assert own["n_edges"].to_list() == [int(n_edges * p) for p in own["proportion"]]
    assert own["faithfulness"][-1] == 1.0 and not own["own_size"].any()
    # Complements are of what was found: that of all edges is empty.
    complements = frame["complement_faithfulness"].is_not_null()
    assert complements.equals(frame["control"] == "none", check_names=False)
    assert own["complement_faithfulness"][-1] == 0.0
    # The random circuits are as large by what is effective, and none is smaller.
    for seed in GROWN:
        grown = frame.filter(pl.col("seed") == seed, ranking="absolute")
        assert (grown["n_effective"] >= own["n_effective"]).all()


def test_nodes_lifted_to_edges_reach_the_circuits_of_nodes(study, tmp_path, evaluation):
    model, pairs = study.model("target"), study.pairs("target", "a")
    scores = study.scores("target", "a")
    paths = [tmp_path / name for name in ("lifted", "cost", "gold", "gold-cost")]
    graph = described_graph(read_description(model))
    kept = np.argsort(-read_scores(scores).scores, kind="stable")[:6]
    inside = {"input", "logits", *np.array(graph.writers[1:])[kept]}
    among = [
        writer in inside and reader.split("<")[0] in inside
        for writer, reader in (name.split("->") for name in graph.edge_names())
    ]
    settings = evaluation | {"proportions": [(sum(among) + 0.5) / graph.n_edges]}
    names = NAMES | {"method": "nap"}
    evaluate_lifted(
        model, pairs, scores, *paths[:2], **names, kv="query-head", settings=settings
    )
    evaluate_gold(model, pairs, scores, *paths[2:], **names, settings=evaluation)
    lifted, gold = read_frame(paths[0]), read_frame(paths[2]).filter(n_nodes=6)
    assert lifted["n_edges"].to_list() == [sum(among)]
    assert lifted["control"].to_list() == ["lifted"]
    expected = gold["logit_diff"][0]
    assert lifted["logit_diff"][0] == pytest.approx(expected, rel=1e-4)


def random_edges(study, folder, evaluation, rankings):
    paths = folder / "random.parquet", folder / "cost.json"
    model, pairs = study.model("target"), study.pairs("target", "a")
    how = {"rankings": rankings, "kv": "query-head", "settings": evaluation}
    evaluate_random_edges(model, pairs, *paths, **NAMES, **how)
    return read_frame(paths[0])


def test_random_rankings_have_rows_of_every_size(study, tmp_path, evaluation):
    frame = random_edges(study, tmp_path, evaluation, 3)
    assert frame.columns == COLUMNS
    assert frame["seed"].to_list() == [seed for seed in range(3) for _ in range(4)]
    assert set(frame["method"]) == set(frame["control"]) == {"random"}
    assert set(frame.filter(proportion=1.0)["faithfulness"]) == {1.0}


def test_no_random_rankings_are_an_empty_frame(study, tmp_path, evaluation):
    frame = random_edges(study, tmp_path, evaluation, 0)
    assert frame.is_empty() and frame.columns == COLUMNS
    (cost,) = read_json(tmp_path / "cost.json")
    assert cost["forwards"] == 0


def test_a_task_without_usable_pairs_is_an_empty_cell(study, tmp_path, evaluation):
    frame = measured(study, tmp_path, evaluation, task="none")
    assert frame.is_empty() and frame.columns == COLUMNS
    scores = read_edge_scores(tmp_path / "none.safetensors")
    assert np.isnan(scores.scores).all() and scores.metadata["examples"] == 0
    assert read_json(tmp_path / "none.json") == []


def test_scores_of_another_convention_are_refused(study, tmp_path, evaluation):
    scores = tmp_path / "scores.safetensors"
    graph = edge_graph(2, 4, 2, kv="kv-head")
    matrix = np.zeros(graph.legal.shape, np.float32)
    write_edge_scores(scores, matrix, **graph.description())
    paths = tmp_path / "edges.parquet", tmp_path / "cost.json"
    model, pairs = study.model("target"), study.pairs("target", "a")
    how = {"edge_method": "eap", "kv": "query-head", "settings": evaluation}
    message = "scores of 11 writers and 19 readers; expected 11 and 27"
    with pytest.raises(ValueError, match=message):
        evaluate_edges(model, pairs, scores, *paths, **NAMES, **how)


def test_grown_circuits_are_the_first_that_are_large_enough():
    graph = edge_graph(2, 2, 1)
    wanted = np.array([0, 1, 7, graph.n_edges])
    masks = grown_circuits(graph, wanted, seed=3)
    rank = random_edge_scores(graph, 3)
    for size, mask in zip(wanted, masks, strict=True):
        by_hand = next(
            n
            for n in range(graph.n_edges + 1)
            if effective_edges(graph, rank[None] < n).sum() >= size
        )
        assert (mask == (rank < by_hand)).all()


def verify(study, folder, *, task="a", count=5):
    scores = folder / "scores.safetensors"
    found = attribute(study, scores, task=task)
    how = {"edge_method": "eap", "verify": count, "examples": 4, "batch_size": 2}
    how |= {"ablation": "counterfactual", "kv": "query-head"}
    paths = folder / "verified.parquet", folder / "cost.json"
    verify_edges(
        study.model("target"), study.pairs("target", task), scores, *paths, **how
    )
    return found, read_frame(paths[0])


def test_the_highest_edges_are_ablated_one_by_one(study, tmp_path):
    scores, frame = verify(study, tmp_path)
    assert frame.columns == ["edge", "writer", "reader", "score", "exact"]
    highest = np.sort(np.abs(scores.flat))[::-1][:5]
    assert frame["score"].abs().to_list() == highest.tolist()
    every = tmp_path / "every.safetensors"
    exact = attribute(study, every, edge_method="eap-exact")
    for row in frame.iter_rows(named=True):
        u = exact.writers.index(row["writer"])
        v = exact.readers.index(row["reader"])
        assert row["exact"] == pytest.approx(exact.scores[u, v], rel=1e-4)
        assert row["score"] == scores.scores[u, v]
        assert row["edge"] == f"{row['writer']}->{row['reader']}"


def test_unknown_scores_verify_nothing(study, tmp_path):
    _, frame = verify(study, tmp_path, task="none")
    assert frame.is_empty()
