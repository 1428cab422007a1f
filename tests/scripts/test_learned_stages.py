"""The stages that learn circuits of edges and measure them."""

import numpy as np
import polars as pl
import pytest
from attribute_edges import attribute_edges
from evaluate_learned import evaluate_learned
from evaluate_weights import evaluate_weights
from export_mib_edges import export_mib_edges
from learn_edges import learn_edges
from plot_circuit import plot_circuit
from polars.testing import assert_frame_equal

from circuit_transfer.artifacts.descriptions import read_description
from circuit_transfer.artifacts.edge_masks import read_edge_masks
from circuit_transfer.artifacts.edge_scores import read_edge_scores, write_edge_scores
from circuit_transfer.artifacts.frames import read_frame
from circuit_transfer.artifacts.text import read_json
from circuit_transfer.circuits.edge_faithfulness import MEASURES, OF_COMPLEMENT
from circuit_transfer.circuits.edge_masks import effective_edges
from circuit_transfer.models.edges import described_graph
from circuit_transfer.models.nodes import circuit_size
from circuit_transfer.stages.edges import LABELS
from circuit_transfer.study.learning import training_passes

SIZES, SEEDS, EXAMPLES, STEPS = [0.3, 0.2], [0, 5], 4, 6
GATES = {"steps": STEPS, "init": 0.0, "learning_rate": 0.5}
OWN = {
    "edge-pruning": GATES,
    "hap": GATES | {"keep": 0.5, "filter": "eap"},
    "soft-top-k": {"steps": STEPS, "draws": 2},
    "node-pruning": GATES,
    "node-soft-top-k": {"steps": STEPS},
    "discogp": {"weight_steps": STEPS, "weight_init": 0.1, "edge_init": 0.1},
}
PRUNING = {"examples": EXAMPLES, "batch_size": 2, "sizes": SIZES, "objective": "kl"}
PRUNING |= {"ablation": "counterfactual", **OWN}


def learn(
    study, folder, method, *, task="a", kv="query-head", filter_path=None, **more
):
    """Run the stage; return the circuits of the seeds, and the costs."""
    shared = {key: value for key, value in PRUNING.items() if key not in OWN}
    files = [folder / f"seed-{seed}.safetensors" for seed in SEEDS]
    learn_edges(
        study.model("target"),
        study.pairs("target", task),
        files,
        folder / "cost.json",
        task=task,
        learned_method=method,
        seeds=SEEDS,
        kv=kv,
        settings=shared | {method: OWN[method]},
        filter_path=filter_path,
        **more,
    )
    return [read_edge_masks(file) for file in files], read_json(folder / "cost.json")


@pytest.fixture(scope="module")
def scores(study, tmp_path_factory):
    """Scores that a method filters by."""
    folder = tmp_path_factory.mktemp("filter")
    path = folder / "scores.safetensors"
    how = {"edge_method": "eap", "examples": 4, "batch_size": 4, "ig_steps": 1}
    how |= {"ablation": "counterfactual", "keep_examples": False, "kv": "query-head"}
    pairs = study.pairs("target", "a")
    cost = folder / "cost.json"
    attribute_edges(study.model("target"), pairs, path, cost, task="a", **how)
    return path


@pytest.fixture(scope="module")
def learned(study, scores, tmp_path_factory):
    """Circuits of every method, and costs, by its name."""
    found = {}
    for method in OWN:
        folder = tmp_path_factory.mktemp(method)
        path = scores if method == "hap" else None
        found[method] = *learn(study, folder, method, filter_path=path), folder
    return found


def graph_of(study, kv="query-head"):
    return described_graph(read_description(study.model("target")), kv)


@pytest.mark.parametrize("method", OWN)
def test_every_seed_has_circuits_and_a_row_of_costs(study, learned, method):
    graph, (masks, costs, _) = graph_of(study), learned[method]
    labels = {"model": "target", "task": "a", "method": method, "kv": graph.kv}
    labels |= {"examples": EXAMPLES, "n_edges": graph.n_edges, "objective": "kl"}
    for seed, found in zip(SEEDS, masks, strict=True):
        assert found.metadata.items() >= (labels | {"seed": seed}).items()
        assert found.metadata[method].items() >= OWN[method].items()
        assert (found.writers, found.readers) == (graph.writers, graph.readers)
        assert np.isfinite(found.all_flat).all() and "loss" in found.curves
        assert found.kept_flat.shape == (len(found.sizes), graph.n_edges)
    assert not (masks[0].flat == masks[1].flat).all()
    assert [cost["part"] for cost in costs] == [f"seed-{seed}" for seed in SEEDS]


@pytest.mark.parametrize("method", OWN)
def test_passes_are_no_more_than_estimated(learned, method):
    _, costs, _ = learned[method]
    forwards, backwards = training_passes({"pruning": PRUNING}, method, EXAMPLES)
    for cost in costs:
        assert 0 < cost["forward_backwards"] <= EXAMPLES * backwards
        assert cost["forward_backwards"] > 0.4 * EXAMPLES * backwards
        assert cost["forwards"] <= EXAMPLES * forwards


def test_circuits_are_learned_on_resampled_pairs(study, learned, tmp_path):
    drawn = [
        learn(study, tmp_path / number, "edge-pruning", resample=number[0])[0]
        for number in ("0", "1", "1-again")
    ]
    (of_all, _), (first, _), (second, _), (again, _) = (
        learned["edge-pruning"][0],
        *drawn,
    )
    assert [each.metadata.get("resample") for each in (of_all, first)] == [None, 0]
    assert first.sizes == of_all.sizes and first.metadata["seed"] == SEEDS[0]
    assert (second.all_flat == again.all_flat).all()
    for one, other in ((of_all, first), (of_all, second), (first, second)):
        assert (one.all_flat != other.all_flat).any()


@pytest.mark.parametrize("method", ["edge-pruning", "hap", "soft-top-k"])
def test_circuits_have_the_exact_sizes(study, learned, method):
    n_edges = graph_of(study).n_edges
    for found in learned[method][0]:
        expected = [circuit_size(size, n_edges) for size in SIZES]
        assert found.sizes == tuple(SIZES)
        assert found.kept_flat.sum(1).tolist() == expected


def test_what_the_filter_leaves_out_is_in_no_circuit(study, learned, scores):
    flat = np.abs(read_edge_scores(scores).flat)
    left_out = np.argsort(-flat, kind="stable")[circuit_size(0.5, len(flat)) :]
    for found in learned["hap"][0]:
        assert not found.kept_flat[:, left_out].any()
        kept = np.setdiff1d(np.arange(len(flat)), left_out)
        lowest = found.all_flat[:, kept].min(1)
        assert (found.all_flat[:, left_out].max(1) < lowest).all()


@pytest.mark.parametrize("kv", ["query-head", "kv-head"])
def test_learned_circuits_are_drawn_and_exported(study, tmp_path, kv):
    masks, _ = learn(study, tmp_path, "edge-pruning", kv=kv)
    path, (found, _) = tmp_path / "seed-0.safetensors", masks
    size = int(found.kept_flat[0].sum())
    files = [tmp_path / f"circuit.{suffix}" for suffix in ("svg", "csv")]
    names = {"model": "target", "task": "a", "edge_method": "edge-pruning"}
    plot_circuit(study.model("target"), path, files[:1], files[1], **names, n=str(size))
    listed = pl.read_csv(files[1])
    kept = np.array(graph_of(study, kv).edge_names())[found.kept_flat[0]]
    assert {*listed["edge"]} == {*kept} and listed["sign"].null_count() == size
    drawn = files[0].read_text()
    assert "edge-pruning, seed 0: " in drawn and "highest learned scores" in drawn
    assert "they rank the edges, and have no sign" in drawn
    assert "right answer" not in drawn
    exported = tmp_path / "importances.json", tmp_path / "importances.safetensors"
    export_mib_edges(study.model("target"), path, *exported)
    edges = read_json(exported[0])["edges"]
    scores = {name: edge["score"] for name, edge in edges.items()}
    group = 2 if kv == "kv-head" else 1
    matrix = dict(zip(found.readers, found.scores.T, strict=True))
    # A key that heads share has the same score for each of them.
    for head in range(4):
        shared = matrix[f"a1.h{head // group}<k>"][0]
        assert scores[f"input->a1.h{head}<k>"] == pytest.approx(shared)


def evaluated(study, folder, evaluation, masks, *, task="a", kv="query-head"):
    paths = folder / "faithfulness.parquet", folder / "evaluation.json"
    names = {"target": "target", "task": task, "learned_method": "edge-pruning"}
    model, pairs = study.model("target"), study.pairs("target", task)
    evaluate_learned(model, pairs, masks, *paths, **names, kv=kv, settings=evaluation)
    return read_frame(paths[0])


def test_circuits_are_measured_at_all_sizes_and_at_their_own(
    study, learned, tmp_path, evaluation
):
    masks, _, folder = learned["edge-pruning"]
    files = [folder / f"seed-{seed}.safetensors" for seed in SEEDS]
    frame = evaluated(study, tmp_path, evaluation, files)
    columns = [*[name for name in LABELS if name != "proportion"], "ablation"]
    measures = {*MEASURES, *OF_COMPLEMENT}
    assert {*frame.columns} == {*columns, "proportion", *measures}
    groups = frame.group_by("seed", "own_size", "control", maintain_order=True)
    sizes = groups.agg("proportion").rows()
    expected = []
    for seed in SEEDS:
        expected.append((seed, False, "none", evaluation["proportions"]))
        expected.append((seed, True, "none", SIZES))
        expected.append((seed, True, "random-effective", SIZES))
    assert sizes == expected
    assert frame["ranking"].unique().to_list() == ["signed"]
    # The ranking is that of the first size, so that its circuit is the learned one.
    same = ["n_edges", "faithfulness", "kl", *OF_COMPLEMENT]
    by_size = frame.filter(control="none", proportion=SIZES[0])
    own, ranked = (by_size.filter(own_size=each).select(same) for each in (True, False))
    assert own.equals(ranked) and len(own) == len(SEEDS)
    complements = frame["complement_faithfulness"].is_not_null()
    assert complements.equals(frame["control"] == "none", check_names=False)
    graph = graph_of(study)
    for seed, found in zip(SEEDS, masks, strict=True):
        rows = frame.filter(pl.col("own_size"), seed=seed, control="none")
        effective = effective_edges(graph, found.kept_flat).sum(1)
        assert rows["n_effective"].to_list() == effective.tolist()
        random = frame.filter(seed=seed, control="random-effective")
        assert (random["n_effective"] >= rows["n_effective"]).all()


def test_a_task_without_usable_pairs_is_an_empty_cell(
    study, tmp_path, evaluation, caplog
):
    masks, costs = learn(study, tmp_path, "edge-pruning", task="none")
    for found in masks:
        assert np.isnan(found.all_flat).all() and not found.kept_flat.any()
        assert found.metadata["examples"] == 0
    assert costs == [] and "no usable training pair of none" in caplog.text
    files = [tmp_path / f"seed-{seed}.safetensors" for seed in SEEDS]
    assert evaluated(study, tmp_path, evaluation, files, task="none").is_empty()


def test_what_is_of_another_convention_is_refused(
    study, learned, scores, tmp_path, evaluation
):
    *_, folder = learned["edge-pruning"]
    files = [folder / f"seed-{seed}.safetensors" for seed in SEEDS]
    message = r"seed-0.safetensors: scores of \d+ writers and \d+ readers; expected"
    with pytest.raises(ValueError, match=message):
        evaluated(study, tmp_path, evaluation, files, kv="kv-head")
    with pytest.raises(ValueError, match=r"scores.safetensors: scores of \d+ writers"):
        learn(study, tmp_path, "hap", kv="kv-head", filter_path=scores)


def test_a_filter_without_scores_is_refused(study, tmp_path):
    graph, path = graph_of(study), tmp_path / "unknown"
    write_edge_scores(path, np.full(graph.legal.shape, np.nan), **graph.description())
    with pytest.raises(ValueError, match="unknown: the scores are not known, though"):
        learn(study, tmp_path, "hap", filter_path=path)


def test_circuits_of_weights_are_measured_in_batches_that_fit(
    study, scores, learned, tmp_path
):
    folder = learned["discogp"][2]
    masks = [folder / f"seed-{seed}.safetensors" for seed in SEEDS]
    how = {"target": "target", "task": "a", "sizes": SIZES, "kv": "query-head"}
    frames = []
    for batch_size in (1, "auto"):
        written = tmp_path / f"{batch_size}.parquet", tmp_path / "cost.json"
        how["settings"] = {"examples": EXAMPLES, "batch_size": batch_size}
        places = study.model("target"), study.pairs("target", "a"), masks, [scores]
        evaluate_weights(*places, *written, **how, pruning=PRUNING)
        frames.append(read_frame(written[0]))
    # DiscoGP's circuits, then a ranking at its own size and the learned ones.
    assert frames[0]["method"].to_list() == ["discogp"] * 2 + ["eap"] * 3
    assert frames[0]["size"].to_list() == [None, None, None, *SIZES]
    assert (frames[0]["pairs"] == EXAMPLES).all()
    assert_frame_equal(*frames, rel_tol=1e-3, abs_tol=1e-5)
