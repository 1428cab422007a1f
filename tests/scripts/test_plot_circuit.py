"""The stages that draw, map and list edges, from scores on disk."""

import logging
from xml.etree import ElementTree

import numpy as np
import polars as pl
import pytest
from matplotlib.image import imread
from plot_circuit import plot_circuit
from plot_edge_map import plot_edge_map
from summarise_top_edges import summarise_top_edges

from circuit_transfer.artifacts.descriptions import read_description
from circuit_transfer.artifacts.edge_scores import write_edge_scores
from circuit_transfer.models.edges import described_graph

LABELS = {"task": "a", "method": "eap"}


@pytest.fixture(scope="module")
def scores(study, tmp_path_factory):
    """A function that writes random scores of a model's edges, or none of any."""
    folder = tmp_path_factory.mktemp("scores")

    def write(model="target", task="a", known=True):
        graph = described_graph(read_description(study.model(model)))
        flat = np.random.default_rng(0).normal(size=graph.n_edges)
        flat = flat if known else np.full(graph.n_edges, np.nan)
        matrix = graph.matrix(np.float32(flat))
        names = {"writers": graph.writers, "readers": graph.readers}
        path = folder / f"{model}-{task}.safetensors"
        labels = LABELS | {"task": task, "kv": graph.kv, "legal": graph.legal}
        write_edge_scores(path, matrix, **names, **labels)
        return path, graph, flat

    return write


def draw(study, scores_path, folder, n):
    figures = [folder / f"{n}.pdf", folder / f"{n}.svg"]
    place = {"model": "target", "task": "a", "edge_method": "eap", "n": n}
    table = folder / f"{n}.csv"
    plot_circuit(study.model("target"), scores_path, figures, table, **place)
    return *figures, table


def test_a_circuit_is_drawn_and_listed_the_same_every_time(study, scores, tmp_path):
    path, graph, flat = scores()
    made = draw(study, path, tmp_path, "10")
    listed = pl.read_csv(made[2])
    numbers = np.argsort(-np.abs(flat))[:10]
    names = [graph.edge_names()[number] for number in numbers]
    assert listed["edge"].to_list() == names
    assert listed["score"].to_list() == pytest.approx(flat[numbers].tolist())
    assert listed.columns == [
        *("rank", "edge", "writer", "reader", "score", "low", "high", "sign"),
        "effective",
    ]
    root = ElementTree.fromstring(made[1].read_text())
    assert len([*root.iter("{http://www.w3.org/2000/svg}title")]) == 10
    shown = f"target, a, eap: 10 of {graph.n_edges:,} edges"
    assert shown in root.attrib["aria-label"]
    before = [file.read_bytes() for file in made]
    assert before[0].startswith(b"%PDF")
    draw(study, path, tmp_path, "10")
    assert [file.read_bytes() for file in made] == before


def test_of_fewer_edges_all_are_drawn(study, scores, tmp_path, caplog):
    path, graph, _ = scores()
    with caplog.at_level(logging.WARNING):
        *_, table = draw(study, path, tmp_path, "1000000")
    assert len(pl.read_csv(table)) == graph.n_edges < 300
    assert caplog.text == ""


def test_more_edges_than_a_reader_can_follow_are_logged(
    study, scores, tmp_path, caplog, monkeypatch
):
    monkeypatch.setattr("plot_circuit.LEGIBLE", 20)
    with caplog.at_level(logging.WARNING):
        draw(study, scores()[0], tmp_path, "21")
    assert "21 edges: drawings of over 20 are not legible" in caplog.text


def test_scores_of_another_model_are_refused(study, scores, tmp_path):
    path, *_ = scores("source")
    with pytest.raises(ValueError, match=r"source-a\.safetensors: scores of 6 writers"):
        draw(study, path, tmp_path, "10")


def test_a_task_without_a_pair_is_said_in_the_drawing(study, scores, tmp_path):
    path, *_ = scores(task="none", known=False)
    *_, drawing, table = draw(study, path, tmp_path, "10")
    assert "No scores" in drawing.read_text() and len(pl.read_csv(table)) == 0


def test_edges_are_mapped_and_listed_by_what_files_say(study, scores, tmp_path):
    files = [scores(task=task, known=task == "b")[0] for task in ("none", "b")]
    figures = [tmp_path / "map.pdf", tmp_path / "map.png"]
    tasks = ["b", "none"]
    plot_edge_map(files, figures, model="target", edge_method="eap", tasks=tasks)
    assert figures[0].read_bytes().startswith(b"%PDF")
    assert imread(figures[1])[..., :3].std() > 0.05

    tables = [tmp_path / f"top.{suffix}" for suffix in ("csv", "tex", "html")]
    how = {"model": "target", "tasks": tasks, "edge_methods": ["eap"]}
    summarise_top_edges(files, tables, **how)
    table = pl.read_csv(tables[0])
    assert table["task"].to_list() == ["b"] * 15 + ["none"]
    assert table["score"].drop_nulls().is_sorted(descending=True)
    assert "Top edges of target" in tables[2].read_text()
