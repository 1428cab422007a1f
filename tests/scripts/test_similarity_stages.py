"""The stages that compare scores: files in, tables and whole figures out."""

import numpy as np
import polars as pl
import pytest
from correlate_scores import correlate_scores
from matplotlib.image import imread
from plot_correlations import plot_correlations
from plot_stability import plot_stability

from circuit_transfer.artifacts.alignments import write_alignment
from circuit_transfer.artifacts.frames import write_frame
from circuit_transfer.artifacts.scores import write_scores
from circuit_transfer.circuits.similarity import bootstrap_jaccard
from circuit_transfer.models.nodes import node_names

PAIR = {"source": "small", "target": "large"}
SOURCE_NODES, TARGET_NODES = node_names(2, 2), node_names(3, 4)
TASKS, METHODS = ("a", "b", "none"), ["nap"]
FAMILIES = {"both": ["a", "b"], "none": ["none"]}
PROPORTIONS = [0.01, 0.2, 0.5, 1.0]
SHAPE = (len(SOURCE_NODES), len(TARGET_NODES))


def examples_of(model, task):
    nodes = SOURCE_NODES if model == "small" else TARGET_NODES
    seed = sum(map(ord, model + task))
    examples = 0 if task == "none" else 9
    return np.random.default_rng(seed).normal(0.3, 1, (examples, len(nodes)))


def matrix(training_set, seed):
    generator = np.random.default_rng(len(training_set) + seed)
    return generator.normal(size=SHAPE).astype(np.float32)


def training_sets(task):
    return f"only-{task}", f"without-{task}", "without-family-both"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Scores, alignments of two seeds, and what they project; no pair of `none`."""
    made = tmp_path_factory.mktemp("study")
    for task in TASKS:
        for model, nodes in (("small", SOURCE_NODES), ("large", TARGET_NODES)):
            by_example = examples_of(model, task)
            unknown = np.full(len(nodes), np.nan)
            scores = by_example.mean(axis=0) if len(by_example) else unknown
            labels = {"model": model, "task": task, "method": "nap", "nodes": nodes}
            labels["by_example"] = by_example if len(by_example) else None
            labels["prompt_numbers"] = [*range(len(by_example))]
            write_scores(made / model / f"{task}.safetensors", scores, **labels)
        write_frame(projections(task), made / "projections" / f"{task}.parquet")
    for name in {*training_sets("a"), *training_sets("b")}:
        for seed in (0, 1):
            metadata = {"training_set": name, "seed": seed, "transform": "max"}
            metadata |= {"maps": ["free"], "source_nodes": SOURCE_NODES}
            path = made / "alignments" / f"{name}-{seed}.safetensors"
            tensors = {"alignment": matrix(name, seed)}
            write_alignment(path, tensors, metadata | {"target_nodes": TARGET_NODES})
    return made


def projections(task):
    rows = [
        (training_set, "free", "none", seed, _mean("small", task) @ each)
        for training_set in training_sets(task)
        for seed in (0, 1)
        for each in [matrix(training_set, seed)]
    ]
    names = ("training_set", "map", "control", "seed", "scores")
    frame = pl.DataFrame([dict(zip(names, row, strict=True)) for row in rows])
    keys = PAIR | {"task": task, "method": "nap"}
    frame = frame.select(*(pl.lit(v).alias(k) for k, v in keys.items()), pl.all())
    return frame.clear() if task == "none" else frame


def _mean(model, task):
    examples = examples_of(model, task)
    return examples.mean(axis=0) if len(examples) else np.zeros(examples.shape[1])


def correlate(folder, out):
    tables = [out / f"table.{suffix}" for suffix in ("csv", "tex", "html")]
    correlate_scores(
        [folder / "projections" / f"{task}.parquet" for task in TASKS],
        [folder / "large" / f"{task}.safetensors" for task in TASKS],
        out / "likeness.parquet",
        tables,
        pairs=[tuple(PAIR.values())],
        methods=METHODS,
        proportions=PROPORTIONS,
        families=FAMILIES,
    )
    return pl.read_parquet(out / "likeness.parquet"), pl.read_csv(tables[0])


def stability(folder, out):
    plot_stability(
        [folder / "small" / f"{task}.safetensors" for task in TASKS],
        [folder / "large" / f"{task}.safetensors" for task in TASKS],
        sorted((folder / "alignments").iterdir()),
        [out / "stability.parquet", out / "stability.csv"],
        [out / "figure.pdf", out / "figure.png"],
        **PAIR,
        method="nap",
        tasks=TASKS,
        proportions=PROPORTIONS,
        families=FAMILIES,
    )
    return pl.read_parquet(out / "stability.parquet")


def is_whole(png):
    pixels = imread(png)[..., :3]
    border = [pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]]
    return pixels.std() > 0.02 and all((edge == 1).all() for edge in border)


def test_projections_are_compared_with_gold(folder, tmp_path):
    likeness, table = correlate(folder, tmp_path)
    keys = {"task": "b", "measure": "pearson", "seed": 1, "regime": "zero-shot"}
    projected = _mean("small", "b") @ matrix("without-b", 1)
    expected = np.corrcoef(projected, _mean("large", "b"))[0, 1]
    assert likeness.filter(**keys)["value"].item() == pytest.approx(expected, abs=1e-6)
    assert likeness["task"].unique().sort().to_list() == ["a", "b"]
    regimes = ["chance", "in-distribution", "zero-shot", "zero-shot-family"]
    assert table["projection"].to_list() == regimes
    assert "random nodes" in (tmp_path / "table.html").read_text()


def test_a_projection_needs_its_columns(folder, tmp_path):
    path = folder / "projections" / "a.parquet"
    bad = tmp_path / "bad.parquet"
    write_frame(pl.read_parquet(path).drop("map"), bad)
    with pytest.raises(ValueError, match=r"bad\.parquet: no column \['map'\]"):
        correlate_scores(
            [bad],
            [],
            tmp_path / "out",
            [],
            pairs=[],
            methods=METHODS,
            proportions=PROPORTIONS,
            families=FAMILIES,
        )


def test_correlations_are_drawn_whole(folder, tmp_path):
    correlate(folder, tmp_path)
    paths = [tmp_path / "figure.pdf", tmp_path / "figure.png"]
    likeness = tmp_path / "likeness.parquet"
    names = PAIR | {"maps": dict.fromkeys(METHODS, ["free"])}
    plot_correlations(correlations_path=likeness, figure_paths=paths, **names)
    assert paths[0].read_bytes().startswith(b"%PDF") and is_whole(paths[1])


def test_stability_is_of_direct_and_transferred_circuits(folder, tmp_path):
    frame = stability(folder, tmp_path)
    circuits = frame.select("task", "circuit", "training_set", "seed").unique()
    assert len(circuits) == 2 * (2 + 3 * 2)
    assert set(circuits["task"]) == {"a", "b"}
    direct = frame.filter(task="a", circuit="gold")
    expected = bootstrap_jaccard(examples_of("large", "a"), PROPORTIONS)
    assert direct.select(expected.columns).equals(expected)
    keys = {"task": "a", "circuit": "zero-shot-family", "seed": 1}
    alignment = matrix("without-family-both", 1)
    # Projected one by one, the examples tell the same as their means.
    expected = bootstrap_jaccard(examples_of("small", "a") @ alignment, PROPORTIONS)
    found = frame.filter(**keys)
    assert found["n_nodes"].to_list() == [3, 7, 15]
    assert found["jaccard"].to_list() == pytest.approx(expected["jaccard"].to_list())
    assert pl.read_csv(tmp_path / "stability.csv").shape == frame.shape
    assert is_whole(tmp_path / "figure.png")
