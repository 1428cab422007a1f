"""The stages of circuits and scores of edges: files in, tables and figures out."""

import numpy as np
import polars as pl
import pytest
import synthetic_edges as study
from correlate_edges import correlate_edges
from matplotlib.image import imread
from plot_edge_curves import plot_edge_curves
from resample_edges import resample_edges
from summarise_edge_circuits import summarise_edge_circuits
from summarise_edges import summarise_edges

from circuit_transfer.artifacts.edge_scores import write_edge_scores
from circuit_transfer.artifacts.frames import read_frame, write_frame
from circuit_transfer.artifacts.scores import write_scores
from circuit_transfer.artifacts.text import write_json
from circuit_transfer.circuits.edge_masks import lifted
from circuit_transfer.circuits.similarity import pearson
from circuit_transfer.models.edges import edge_graph
from circuit_transfer.models.nodes import node_names
from circuit_transfer.tables.edge_curves import AREAS, KEYS
from circuit_transfer.tables.edge_statistics import DOCUMENTATION

SHAPE = {"layers": 2, "heads": 2, "kv_heads": 1, "parallel_mlp": False}
SHAPE |= {"architecture": "llama"}
KV = "kv-head"
GRAPH = edge_graph(2, 2, 1, kv=KV)
NODES = node_names(2, 2)
TASKS, EDGE_METHODS = ["a", "none"], ["eap", "eap-exact"]


def formats(folder, name, suffixes=("csv", "tex", "html")):
    return [folder / f"{name}.{suffix}" for suffix in suffixes]


def written(frames, folder):
    paths = [folder / f"{number}.parquet" for number in range(len(frames))]
    for frame, path in zip(frames, paths, strict=True):
        write_frame(frame, path)
    return paths


def summarised(folder, edges, nodes):
    """Run the stage on frames of circuits, by the kind of their controls."""
    of_kind = {"edges": [], "random": [], "lifted": []}
    for frame in edges:
        control = frame["control"][0]
        of_kind[control if control in of_kind else "edges"].append(frame)
    paths = [written(frames, folder / kind) for kind, frames in of_kind.items()]
    outputs = [folder / f"{name}.parquet" for name in ("cpr", "statistics", "curves")]
    summarise_edges(*paths, written(nodes, folder / "nodes"), *outputs)
    return folder


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    return summarised(tmp_path_factory.mktemp("edges"), *study.all_frames())


def test_every_circuit_of_edges_has_a_row_of_areas(measured):
    areas = read_frame(measured / "cpr.parquet")
    assert areas.columns == [*KEYS, *AREAS]
    # Seven rankings and two random ones on either task; circuits of nodes elsewhere.
    assert areas.height == 2 * (7 + 2) and "nodes" not in areas["control"]
    statistics = pl.read_parquet_metadata(measured / "statistics.parquet")
    assert statistics.items() >= DOCUMENTATION.items()


def test_the_table_and_the_curves_are_made_of_statistics(measured, tmp_path):
    names = {"target": study.TARGET, "tasks": study.TASKS, "methods": ["nap"]}
    names["ablation"] = "counterfactual"
    summarise_edge_circuits(
        statistics_path=measured / "statistics.parquet",
        table_paths=formats(tmp_path, "edges"),
        edge_methods=["eap", "eap-gim"],
        **names,
    )
    assert "Circuits of edges of big_model" in (tmp_path / "edges.html").read_text()
    assert pl.read_csv(tmp_path / "edges.csv").height == 3 * 9
    plot_edge_curves(
        curves_path=measured / "curves.parquet",
        figure_paths=formats(tmp_path, "curves", ("pdf", "png")),
        edge_method="eap",
        **names,
    )
    assert imread(tmp_path / "curves.png").std() > 0


def test_tasks_without_pairs_are_empty_cells(tmp_path, caplog):
    edges, nodes = ([frame.clear() for frame in each] for each in study.all_frames())
    outputs = [tmp_path / f"{name}.parquet" for name in ("cpr", "statistics", "curves")]
    paths = [
        written(each, tmp_path / kind) for kind, each in (("e", edges), ("n", nodes))
    ]
    summarise_edges(paths[0], [], [], paths[1], *outputs)
    assert [read_frame(path).height for path in outputs] == [0, 0, 0]
    # As without any method that scores edges.
    summarise_edges([], [], [], [], *outputs)
    assert [read_frame(path).height for path in outputs] == [0, 0, 0]
    undefined = [
        frame.with_columns(faithfulness=pl.lit(None, pl.Float64))
        for frame in study.edge_frames("ioi")
    ]
    summarise_edges(written(undefined, tmp_path / "u"), [], [], [], *outputs)
    assert read_frame(outputs[0])["cpr"].null_count() == 9
    assert "big_model on ioi: the whole model and the empty circuit" in caplog.text


def scores_of(method, task):
    seed = len(method) + len(task)
    scores = np.random.default_rng(seed).normal(size=(6, GRAPH.n_edges))
    return scores if task != "none" else np.full((0, GRAPH.n_edges), np.nan)


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """Scores of a model of two layers by two edge methods; no pair of `none`."""
    folder = tmp_path_factory.mktemp("scores")
    write_json({"name": "m"} | SHAPE, folder / "model.json")
    for task in TASKS:
        for method in EDGE_METHODS:
            by_example = scores_of(method, task)
            known = len(by_example) > 0
            mean = by_example.mean(0) if known else np.full(GRAPH.n_edges, np.nan)
            names = {"task": task, "method": method, "kv": KV}
            write_edge_scores(
                folder / task / f"{method}.safetensors",
                GRAPH.matrix(mean),
                legal=GRAPH.legal,
                writers=GRAPH.writers,
                readers=GRAPH.readers,
                by_example=by_example if method == "eap" and known else None,
                prompt_numbers=[*range(len(by_example))],
                **names,
            )
        nodes = np.arange(6.0) if task != "none" else np.full(6, np.nan)
        names = {"model": "m", "task": task, "method": "nap", "nodes": NODES}
        write_scores(folder / task / "nap.safetensors", nodes, **names)
    patched = {"edge": ["x"] * 3, "score": [3.0, 2, 1], "exact": [1.0, 2, 3]}
    write_frame(pl.DataFrame(patched), folder / "verified/a/eap.parquet")
    return folder


def of_tasks(folder, methods):
    return [folder / task / f"{each}.safetensors" for task in TASKS for each in methods]


def test_agreement_is_of_edges_nodes_and_patching(scored, tmp_path):
    correlate_edges(
        scored / "model.json",
        of_tasks(scored, EDGE_METHODS),
        of_tasks(scored, ["nap"]),
        [scored / "verified/a/eap.parquet"],
        formats(tmp_path, "agreement"),
        model="m",
        tasks=TASKS,
        edge_methods=EDGE_METHODS,
        methods=["nap"],
        proportions=[0.1, 1.0],
    )
    table = pl.read_csv(tmp_path / "agreement.csv")
    pairs = [("eap", "eap-exact"), ("eap", "lifted, nap"), ("eap-exact", "lifted, nap")]
    pairs.append(("eap", "exact, highest edges"))
    assert table.select("method", "against").unique(maintain_order=True).rows() == pairs
    assert table["task"].to_list() == 4 * ["a", "none", "mean"]
    eap, exact = (scores_of(method, "a").mean(0) for method in EDGE_METHODS)
    found = table.filter(task="a")["pearson"].to_list()
    nodes = lifted(GRAPH, np.arange(6.0))
    expected = [pearson(eap, exact), pearson(eap, nodes), pearson(exact, nodes), -1]
    assert found == pytest.approx(expected, abs=1e-6)
    assert table.filter(task="none")["pearson"].null_count() == 4
    covered = table.filter(task="a")["covered"].to_list()
    assert covered == pytest.approx([None] * 3 + [6 / np.abs(eap).sum()])


def test_stability_is_of_what_has_scores_by_example(scored, tmp_path, caplog):
    resample_edges(
        scored / "model.json",
        of_tasks(scored, EDGE_METHODS),
        [],
        [],
        [],
        formats(tmp_path, "stability"),
        model="m",
        proportions=[0.1, 0.5, 1.0],
        sizes=[],
        kv=KV,
    )
    table = pl.read_csv(tmp_path / "stability.csv")
    of_eap = table.filter(task="a", method="eap")
    assert of_eap["n_edges"].to_list() == 2 * [
        int(0.1 * GRAPH.n_edges),
        GRAPH.n_edges // 2,
    ]
    assert of_eap["jaccard"].is_between(0.1, 0.9).all()
    rest = table.filter((pl.col("task") != "a") | (pl.col("method") != "eap"))
    assert rest.height == 6 and rest["jaccard"].null_count() == 6
    assert "no scores by example were saved" in caplog.text
