"""The stages of source use: areas, lineages and scores in, table and figures out."""

import numpy as np
import polars as pl
import pytest
import synthetic_study as study
from matplotlib.image import imread
from plot_source_use import plot_source_use
from plot_source_use_by_similarity import plot_source_use_by_similarity
from summarise_source_use import summarise_source_use

from circuit_transfer.artifacts.frames import read_frame, write_frame
from circuit_transfer.artifacts.scores import write_scores
from circuit_transfer.artifacts.text import write_json
from circuit_transfer.models.nodes import node_names
from circuit_transfer.tables.source_use import ALL_GIVEN, DOCUMENTATION

LINEAGE = {
    "relation": "pruned",
    "parent": study.TARGET,
    "teacher": study.TARGET,
    "nodes": {},
    "parent_lineage": None,
}
NODES = {study.SOURCE: node_names(2, 2), study.TARGET: node_names(3, 4)}
# Tasks whose scores are the more similar the nearer they are, in both models.
ANGLES = dict(zip(study.TASKS, (0.0, 1.0, 1.4), strict=True))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with what the stage has written of the synthetic study."""
    folder = tmp_path_factory.mktemp("study")
    write_frame(study.summary()[1], folder / "cpr.parquet")
    descriptions = {study.SOURCE: {"lineage": LINEAGE}, study.TARGET: {}}
    for model, more in descriptions.items():
        write_json({"model": model, **more}, folder / f"{model}.json")
    scores = []
    for model, nodes in NODES.items():
        for task, angle in ANGLES.items():
            values = np.zeros(len(nodes))
            values[:2] = np.cos(angle), np.sin(angle)
            for method in study.METHODS:
                path = folder / model / task / f"{method}.safetensors"
                labels = {"model": model, "task": task, "method": method}
                write_scores(path, values, nodes=nodes, **labels)
                scores.append(path)
    summarise_source_use(
        folder / "cpr.parquet",
        [folder / f"{model}.json" for model in descriptions],
        scores,
        folder / "source-use.parquet",
        [folder / f"source-use.{suffix}" for suffix in ("csv", "tex", "html")],
        pairs=[(study.SOURCE, study.TARGET)],
        tasks=study.TASKS,
        methods=study.METHODS,
        maps=study.MAPS,
        families=study.FAMILIES,
        ablation="counterfactual",
        transform="max",
    )
    return folder


def test_differences_are_those_of_the_two_families(folder):
    frame = read_frame(folder / "source-use.parquet")
    assert pl.read_parquet_metadata(folder / "source-use.parquet").items() >= {
        *DOCUMENTATION.items()
    }
    assert set(frame["relation"]) == {"pruned"}
    rows = frame.filter(map="free", measure="cpr", protocol="family", method="nap")
    free, other, pooled = (
        rows.row(by_predicate=pl.col("control") == name, named=True)
        for name in ("source-free", "other-family", ALL_GIVEN)
    )
    # Of both families alike, so that two are enough to be sure of a small effect.
    assert free["difference"] == pytest.approx(0.999 * 0.05)
    assert other["difference"] == pytest.approx(-0.999 * 0.15)
    assert pooled["difference"] == pytest.approx(-0.999 * 0.05)
    assert (free["n_families"], free["better"], other["better"]) == (2, 2, 0)
    assert free["p_families"] == free["p_families_least"] == 0.5
    # Only one pair of families, and so two pairs of tasks: no correlation is known.
    assert free["task_similarity"] is None
    table = pl.read_csv(folder / "source-use.csv")
    assert len(table) == len(frame)
    assert "pruned" in (folder / "source-use.html").read_text()


def test_figures_are_whole(folder, tmp_path):
    frame = read_frame(folder / "source-use.parquet")
    known = frame.with_columns(task_similarity=0.5)
    write_frame(known, tmp_path / "known.parquet")
    for draw in (plot_source_use, plot_source_use_by_similarity):
        paths = [tmp_path / f"figure.{suffix}" for suffix in ("pdf", "png")]
        draw(
            source_use_path=tmp_path / "known.parquet",
            figure_paths=paths,
            method="nap",
            maps=study.MAPS,
        )
        assert paths[0].read_bytes().startswith(b"%PDF")
        pixels = imread(paths[1])[..., :3]
        assert pixels.std() > 0.02
        border = [pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]]
        assert all((edge == 1).all() for edge in border)
