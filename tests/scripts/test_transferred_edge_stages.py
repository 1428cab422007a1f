"""The stages that draw and tabulate transferred edges, from scores on disk."""

from xml.etree import ElementTree

import numpy as np
import polars as pl
import pytest
import synthetic_edge_transfers as transfers
import synthetic_study as nodes
from plot_transferred_circuits import plot_transferred_circuits
from summarise_levels import summarise_levels

from circuit_transfer.artifacts.descriptions import read_description
from circuit_transfer.artifacts.edge_scores import write_edge_scores
from circuit_transfer.artifacts.frames import write_frame
from circuit_transfer.models.edges import described_graph
from circuit_transfer.tables.transferred_edges import CIRCUITS

FAMILIES = {"a": ["a"], "b": ["b"]}
# Of the map and seed that are drawn, and others that are not.
PROJECTED = [("without-a", "free", "none", 1), ("without-a", "free", "none", 0)]
PROJECTED += [("only-a", "free", "none", 1), ("without-a", "stitched", "none", None)]
PROJECTED += [("without-a", "free", "source-free", 1)]


def write_random_scores(study, folder, model, seed):
    """Write random scores of a model's edges, and return them with its edges."""
    graph = described_graph(read_description(study.model(model)))
    flat = np.float32(np.random.default_rng(seed).normal(size=graph.n_edges))
    names = {"writers": graph.writers, "readers": graph.readers, "legal": graph.legal}
    path = folder / f"{model}.safetensors"
    labels = {"task": "a", "method": "eap", "kv": graph.kv}
    write_edge_scores(path, graph.matrix(flat), **names, **labels)
    return path, graph, flat


@pytest.fixture
def draw(study, tmp_path):
    """A function that draws so many edges, and what these are to be."""
    source, small, of_source = write_random_scores(study, tmp_path, "source", 0)
    target, large, of_target = write_random_scores(study, tmp_path, "target", 1)
    names = ("training_set", "map", "control", "seed")
    rows = pl.DataFrame(PROJECTED, schema=names, orient="row")
    random = np.random.default_rng(2)
    scores = [random.normal(size=large.n_edges).tolist() for _ in PROJECTED]
    projections = rows.with_columns(scores=pl.Series(scores, dtype=pl.List(pl.Float32)))
    write_frame(projections, tmp_path / "projections.parquet")
    ranked = (np.abs(of_source), np.abs(of_target), np.array(scores[0]))

    def write(n):
        figures = [tmp_path / "drawn.svg", tmp_path / "drawn.pdf"]
        plot_transferred_circuits(
            [study.model("source"), study.model("target")],
            source,
            target,
            tmp_path / "projections.parquet",
            figures,
            tmp_path / "drawn.csv",
            **{"source": "small", "target": "large", "task": "a", "n": n},
            **{"edge_method": "eap", "map_name": "free", "ranking": "absolute"},
            **{"seed": 1, "families": FAMILIES},
        )
        root = ElementTree.fromstring(figures[0].read_text())
        return " ".join(root.itertext()), pl.read_csv(tmp_path / "drawn.csv")

    circuits = zip(ranked, (small, large, large), strict=True)
    return write, dict(zip(CIRCUITS, circuits, strict=True))


def test_the_highest_edges_of_each_circuit_are_drawn(draw):
    write, expected = draw
    text, table = write("5")
    for circuit, (scores, graph) in expected.items():
        names = [graph.edge_names()[each] for each in np.argsort(-scores)[:5]]
        assert table.filter(circuit=circuit)["edge"].to_list() == names
        assert f"5 of {graph.n_edges} edges" in " ".join(text.split())


def test_of_fewer_edges_the_drawing_says_how_many(draw):
    write, expected = draw
    text, table = write("1000")
    counts = {circuit: graph.n_edges for circuit, (_, graph) in expected.items()}
    assert dict(table["circuit"].value_counts().iter_rows()) == counts
    assert max(counts.values()) < 1000
    text = " ".join(text.split())
    assert all(f", {number} of {number} edges" in text for number in counts.values())
    assert "1000" not in text and "1,000" not in text


def test_levels_are_tabulated_by_what_is_transferred(tmp_path):
    # The page has one ablation, whatever else was evaluated.
    statistics = transfers.statistics()[0]
    other = statistics.with_columns(ablation=pl.lit("mean"), cpr=pl.lit(0.0))
    write_frame(pl.concat([other, statistics]), tmp_path / "statistics.parquet")
    paths = [tmp_path / f"levels.{suffix}" for suffix in ("csv", "tex", "html")]
    summarise_levels(
        statistics_path=tmp_path / "statistics.parquet",
        table_paths=paths,
        source=nodes.SOURCE,
        target=nodes.TARGET,
        ablation="counterfactual",
        maps=transfers.maps(),
    )
    rows = pl.read_csv(paths[0]).filter(measure="CPR", map="prior-residual")
    assert rows["level"].to_list() == ["edges"]
    assert rows["zero_shot"].item() == pytest.approx(transfers.mean("zero-shot"))
    assert "Nodes and edges, small_model → big_model" in paths[2].read_text()
