"""The stage that fits maps of edges: what it reads, trains and writes."""

from dataclasses import asdict

import numpy as np
import pytest
from attribute_edges import attribute_edges
from fit_edge_alignment import fit_edge_alignment

from circuit_transfer.artifacts.descriptions import read_description
from circuit_transfer.artifacts.edge_alignments import read_edge_alignment
from circuit_transfer.artifacts.edge_scores import read_edge_scores
from circuit_transfer.artifacts.frames import read_frame
from circuit_transfer.artifacts.text import read_json
from circuit_transfer.circuits.prepared_edges import prepare_tasks
from circuit_transfer.models.edges import described_graph
from circuit_transfer.models.loading import load_model
from circuit_transfer.prompts.batches import pair_batches
from circuit_transfer.transfer.correspondences import node_prior
from circuit_transfer.transfer.edge_maps import lifted_map
from circuit_transfer.transfer.edge_training import fit_edges
from circuit_transfer.transfer.maps import transformed
from circuit_transfer.transfer.objectives import FitSettings
from circuit_transfer.transfer.trained_edge_maps import EdgeStart

KV = "kv-head"
SETTINGS = {"epochs": 2, "learning_rate": 0.1, "sparsity": 0.1}
SETTINGS |= {"objective": "relative-divergence"}
PRIOR = {"depth_width": 0.25, "temperature": 0.3}
PRIOR |= {"correspondence": "depth", "threshold": None}
CONTROLS = ("source-free", "random-source", "degree-source")
LABELS = {"source": "source", "target": "target", "edge_method": "eap"}


@pytest.fixture(scope="module")
def scores(study, tmp_path_factory):
    """The paths of the source's edge scores by task."""
    folder, paths = tmp_path_factory.mktemp("scores"), {}
    how = {"edge_method": "eap", "examples": 4, "batch_size": 2, "ig_steps": 1}
    how |= {"ablation": "counterfactual", "keep_examples": False, "kv": KV}
    for task in ("a", "b", "none"):
        paths[task] = folder / f"{task}.safetensors"
        model, pairs = study.model("source"), study.pairs("source", task)
        attribute_edges(model, pairs, paths[task], folder / "c", task=task, **how)
    return paths


@pytest.fixture
def fit(study, scores, tmp_path):
    """A function that fits two seeds and returns what was written, by seed."""

    def run(tasks, maps=("prior-residual",), controls=(), kv=KV, **changes):
        paths = {seed: tmp_path / f"seed-{seed}.safetensors" for seed in (3, 1)}
        fit_edge_alignment(
            study.model("source"),
            study.model("target"),
            [scores[task] for task in tasks],
            [study.pairs("target", task) for task in tasks],
            [study.pairs("source", task) for task in tasks],
            paths.values(),
            tmp_path / "cost.json",
            training_set="without-x",
            tasks=tasks,
            seeds=list(paths),
            maps=list(maps),
            transform="sum",
            ranking=changes.pop("ranking", "absolute"),
            prior=PRIOR,
            controls=list(controls),
            settings=SETTINGS | changes,
            kv=kv,
            batch_size=2,
            examples=5,
            **LABELS,
        )
        return {seed: read_edge_alignment(path) for seed, path in paths.items()}

    return run


@pytest.fixture
def graphs(study):
    models = [read_description(study.model(each)) for each in ("source", "target")]
    return tuple(described_graph(each, KV) for each in models)


def test_a_fit_has_its_maps_controls_curves_and_settings(study, fit, graphs):
    maps = ("prior-residual", "free", "depth-prior")
    made = fit(["a", "b"], maps, CONTROLS)
    after = ("", *(f"/{control}" for control in CONTROLS))
    trained = ["writers", "readers", "loss", "kl", "open_share"]
    biases = ["writer_bias", "reader_bias"]
    expected = {f"{kind}{end}" for kind in trained + biases for end in after}
    expected |= {f"free/{kind}{end}" for kind in trained for end in after}
    starts = {"initial_writers", "initial_readers"}
    expected |= starts | {f"free/{kind}" for kind in starts}
    expected |= {"depth-prior/writers", "depth-prior/readers"}
    nodes = [read_json(study.model(each))["nodes"] for each in ("source", "target")]
    for seed, (tensors, metadata) in made.items():
        assert set(tensors) == expected
        assert all(np.isfinite(each).all() for each in tensors.values())
        # 5 examples are 3 for each task, so 2 batches of 2 at most, for 2 epochs.
        assert tensors["loss"].shape == tensors["free/kl/degree-source"].shape == (8,)
        assert metadata == {
            **SETTINGS,
            "source": "source",
            "target": "target",
            "method": "eap",
            "training_set": "without-x",
            "tasks": ["a", "b"],
            "maps": list(maps),
            "transform": "sum",
            "ranking": "absolute",
            "prior": PRIOR,
            "examples": 5,
            "seed": seed,
            "source_nodes": nodes[0],
            "target_nodes": nodes[1],
            "source_graph": plain(graphs[0]),
            "target_graph": plain(graphs[1]),
        }
    lifted = lifted_map(node_prior(*nodes, depth_width=0.25), *graphs)
    for tensors, _ in made.values():
        assert np.array_equal(tensors["depth-prior/writers"], lifted.writers)
        assert np.array_equal(tensors["depth-prior/readers"], lifted.readers)
    one, other = (made[seed][0]["free/writers"] for seed in made)
    assert not np.allclose(one, other)


def plain(graph):
    """Return the fields of a graph as JSON has them."""
    fields = asdict(graph).items()
    return {k: list(v) if isinstance(v, tuple) else v for k, v in fields}


@pytest.mark.parametrize("ranking", ["absolute", "signed"])
def test_the_maps_are_the_library_s(study, fit, graphs, scores, ranking):
    made = fit(["a", "b"], ("free",), ranking=ranking)
    model = load_model(read_json(study.model("target"))["path"])
    pairs = {t: read_frame(study.pairs("target", t))[:3] for t in ("a", "b")}
    batches = {task: pair_batches(each, 2) for task, each in pairs.items()}
    prepared = prepare_tasks(model, batches, graphs[1])
    flat = {task: read_edge_scores(scores[task]).flat for task in batches}
    assert min(each.min() for each in flat.values()) < 0
    if ranking == "absolute":
        flat = {task: np.abs(each) for task, each in flat.items()}
    sources = {task: transformed(each, "sum") for task, each in flat.items()}
    starts = [EdgeStart(sources, seed) for seed in made]
    found = fit_edges(model, prepared, starts, FitSettings(**SETTINGS), graphs=graphs)
    for (tensors, _), one in zip(made.values(), found, strict=True):
        assert np.array_equal(tensors["writers"], one.writers.numpy())
        assert np.array_equal(tensors["readers"], one.readers.numpy())


def test_the_cost_tells_the_share_of_every_seed_and_map(fit, tmp_path):
    fit(["a", "b"], ("prior-residual", "depth-prior"), ["source-free"])
    rows = read_json(tmp_path / "cost.json")
    columns = ("part", "model", "seed", "forwards", "forward_backwards")
    found = [tuple(row.get(column) for column in columns) for row in rows]
    # 3 pairs of each task: clean and corrupted once, and 2 epochs of every map.
    of_seed = ["prior-residual", "prior-residual/source-free"]
    fits = [(part, "target", seed, 0, 12) for seed in (3, 1) for part in of_seed]
    assert found == [("prepare", "target", None, 12, 0), *fits]
    assert all(row["seconds"] >= 0 for row in rows)


def test_a_task_without_usable_pairs_is_left_out(fit):
    for tensors, metadata in fit(["a", "none"]).values():
        assert metadata["tasks"] == ["a"]
        assert np.isfinite(tensors["writers"]).all()


def test_without_any_usable_task_every_map_is_unknown(fit, graphs, tmp_path):
    for tensors, metadata in fit(["none"], ("free", "depth-prior")).values():
        assert metadata["tasks"] == []
        for kind in ("writers", "readers"):
            shape = tuple(len(getattr(graph, kind)) for graph in graphs)
            for each in (tensors[kind], tensors[f"depth-prior/{kind}"]):
                assert each.shape == shape and np.isnan(each).all()
    assert [row["part"] for row in read_json(tmp_path / "cost.json")] == ["prepare"]


def test_scores_of_another_graph_are_named(fit):
    with pytest.raises(ValueError, match="a.safetensors: scores of 6 writers and 10 "):
        fit(["a"], kv="query-head")
