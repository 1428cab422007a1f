"""The stages that compare all methods: files in, tables and figures out."""

import numpy as np
import polars as pl
import pytest
import synthetic_edges
from matplotlib.image import imread
from plot_head_survival import plot_head_survival
from plot_learning_curves import plot_learning_curves
from plot_methods import plot_methods
from resample_edges import resample_edges
from summarise_head_survival import summarise_head_survival
from summarise_methods import summarise_methods
from summarise_weights import summarise_weights

from circuit_transfer.artifacts.edge_masks import write_edge_masks
from circuit_transfer.artifacts.edge_scores import write_edge_scores
from circuit_transfer.artifacts.frames import read_frame, write_frame
from circuit_transfer.artifacts.scores import write_scores
from circuit_transfer.artifacts.text import write_json
from circuit_transfer.models.edges import edge_graph
from circuit_transfer.models.nodes import node_names
from circuit_transfer.tables.edge_curves import edge_areas, edge_curves

KV, MODEL, SIZES, SEEDS = "query-head", "m", [0.1, 0.05], [0, 1, 2]
SHAPE = {"layers": 2, "heads": 2, "kv_heads": 1, "parallel_mlp": False}
GRAPH = edge_graph(2, 2, 1, kv=KV)
PLACE = {"legal": GRAPH.legal, "writers": GRAPH.writers, "readers": GRAPH.readers}
TASKS = ["ioi", "none"]
# The circuit of every seed keeps the first edges but for one for each seed.
OF_TRAININGS = {f"seed-{seed}": seed for seed in SEEDS}
# The first resample gives the circuit of the first seed, the other one another.
OF_TRAININGS |= {"resample-0": 0, "resample-1": 1}
SIZED = {0.1: int(0.1 * GRAPH.n_edges), 0.05: int(0.05 * GRAPH.n_edges)}


def formats(folder, name, suffixes=("csv", "tex", "html")):
    return [folder / f"{name}.{suffix}" for suffix in suffixes]


def kept(seed):
    circuits = np.zeros((len(SIZES), GRAPH.n_edges), bool)
    for circuit, count in zip(circuits, SIZED.values(), strict=True):
        circuit[: count - 1] = True
        circuit[count + seed] = True
    return circuits


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """A model of two layers; scores, learned circuits and heads; no pair of `none`."""
    folder = tmp_path_factory.mktemp("found")
    write_json({"name": MODEL, "architecture": "llama"} | SHAPE, folder / "model.json")
    random = np.random.default_rng(0)
    for task in TASKS:
        known = task != "none"
        by_example = random.normal(size=(6 * known, GRAPH.n_edges))
        mean = by_example.mean(0) if known else np.full(GRAPH.n_edges, np.nan)
        labels = {"model": MODEL, "task": task, "kv": KV}
        own = {"prompt_numbers": [*range(len(by_example))]}
        own |= {"by_example": by_example if known else None}
        path = folder / task / "eap.safetensors"
        write_edge_scores(
            path, GRAPH.matrix(mean), **PLACE, **labels, **own, method="eap"
        )
        nodes = node_names(2, 2)
        scores = random.normal(size=(6, len(nodes)))
        names = {"model": MODEL, "task": task, "method": "nap", "nodes": nodes}
        names["by_example"] = scores if known else scores[:0]
        values = scores.mean(0) if known else np.full(len(nodes), np.nan)
        write_scores(folder / task / "nap.safetensors", values, **names)
        for name, seed in OF_TRAININGS.items():
            circuits = kept(seed) & known
            values = np.where(known, circuits.astype(np.float32), np.nan)
            write_edge_masks(
                folder / task / "hap" / f"{name}.safetensors",
                values,
                circuits,
                sizes=SIZES,
                open_share=np.array(SIZES),
                curves={"kl": np.ones((2, 5))} if known else {},
                extras={},
                **PLACE,
                **labels,
                method="hap",
                seed=seed,
            )
        heads = {"head": ["a0.h0", "a1.h1"], "effect": [2.0, -1.0]}
        heads |= {"effect_without": [2.0, -1.0], "role": ["strongest", "negative"]}
        frame = pl.DataFrame(heads)
        write_frame(frame if known else frame.clear(), folder / task / "heads.parquet")
    return folder


def of_tasks(folder, name):
    return [folder / task / f"{name}.safetensors" for task in TASKS]


def of_seeds(folder):
    names = [f"hap/seed-{seed}" for seed in SEEDS]
    return [path for name in names for path in of_tasks(folder, name)]


def tabulate_stability(found, folder, resampled):
    paths = formats(folder, MODEL)
    resample_edges(
        found / "model.json",
        of_tasks(found, "eap"),
        of_tasks(found, "nap"),
        of_seeds(found),
        resampled,
        paths,
        model=MODEL,
        proportions=[0.1, 0.5, 1.0],
        sizes=SIZES,
        kv=KV,
    )
    return paths[0]


@pytest.fixture(scope="module")
def stability(found, tmp_path_factory):
    names = [f"hap/resample-{number}" for number in (0, 1)]
    resampled = [path for name in names for path in of_tasks(found, name)]
    return tabulate_stability(found, tmp_path_factory.mktemp("stability"), resampled)


def test_circuits_of_resamples_are_compared_with_that_of_all_pairs(
    found, stability, tmp_path
):
    table = pl.read_csv(stability)
    resampled = table.filter(ranking="resampled")
    assert resampled["method"].unique().to_list() == ["hap"]
    same = [(count - 1) / (count + 1) for count in SIZED.values()]
    assert resampled["jaccard"].to_list() == pytest.approx([(1 + x) / 2 for x in same])
    assert resampled["jaccard_low"].to_list() == pytest.approx(same)
    assert resampled["jaccard_high"].to_list() == [1, 1]
    assert resampled["draws"].to_list() == [2, 2]
    assert "resampled: mean overlap" in stability.with_suffix(".html").read_text()
    # Without any the table is the same but for them.
    without = tabulate_stability(found, tmp_path, [])
    assert pl.read_csv(without).equals(table.filter(pl.col("ranking") != "resampled"))
    assert "resampled: mean" not in without.with_suffix(".html").read_text()


def test_seeds_are_compared_with_each_other(stability):
    table = pl.read_csv(stability)
    seeds = table.filter(ranking="learned")
    # Of every two seeds, all edges but one each are the same.
    expected = [(count - 1) / (count + 1) for count in SIZED.values()]
    assert seeds["jaccard"].to_list() == pytest.approx(expected)
    assert seeds["n_edges"].to_list() == [*SIZED.values()]
    assert seeds["draws"].to_list() == [3, 3]
    # Rankings are resampled at the sizes of learned circuits too.
    lifted = table.filter(ranking="lifted", task="ioi", method="nap")
    assert lifted["size"].to_list() == [0.05, 0.1, 0.5]
    assert lifted["jaccard"].is_between(0.1, 1).all()


def circuits(method, seeds, **labels):
    """Measured circuits of one method: on a curve, and of their own sizes."""
    frames = []
    for seed in seeds:
        names = {"target": MODEL, "task": "ioi", "method": method, "seed": seed}
        curve = synthetic_edges.curve([0.2, 0.9, 0.96, 1.0], **names, **labels)
        own = curve.head(2).with_columns(
            proportion=pl.Series(SIZES), own_size=pl.lit(True), complement_accuracy=0.25
        )
        frames += [curve.with_columns(own_size=pl.lit(False)), own]
    return pl.concat(frames, how="diagonal_relaxed")


def test_all_methods_are_compared_in_numbers_tables_and_figures(
    found, stability, tmp_path
):
    learned = circuits("hap", SEEDS, control="none", ranking="signed")
    frames = {
        "hap": learned,
        "signed": circuits("eap", [None], control="none", ranking="signed"),
        "absolute": circuits("eap", [None], control="none", ranking="absolute"),
        "lifted": circuits("nap", [None], control="lifted", ranking="signed"),
    }
    paths = [tmp_path / f"{name}.parquet" for name in frames]
    for path, frame in zip(paths, frames.values(), strict=True):
        write_frame(frame, path)
    write_frame(edge_areas(edge_curves(frames.values())), tmp_path / "areas.parquet")
    jobs = ["learn_edges/m/ioi/hap", "attribute_edges/m/ioi/eap"]
    jobs += ["attribute_nodes/m/ioi/nap"]
    costs = [tmp_path / f"{number}.json" for number in range(3)]
    for path, parts in zip(costs, (["seed-0", "seed-1"], ["x"], ["y"]), strict=True):
        row = {"seconds": 2.0, "forwards": 10, "forward_backwards": 5}
        write_json([row | {"part": part} for part in parts], path)
    names = {"methods": ["nap"], "edge_methods": ["eap"], "learned_methods": ["hap"]}
    names |= {"target": MODEL, "sizes": SIZES}
    summarise_methods(
        paths,
        tmp_path / "areas.parquet",
        stability,
        costs,
        tmp_path / "methods.parquet",
        formats(tmp_path, "methods"),
        formats(tmp_path, "tests"),
        ablation="counterfactual",
        tasks=["ioi"],
        jobs=jobs,
        filters={"hap": "eap"},
        **names,
    )
    table = pl.read_csv(tmp_path / "methods.csv")
    assert table["circuit"].to_list() == 2 * ["learned", "absolute", "signed", "lifted"]
    first = table.row(0, named=True)
    # Its own cost, and that of its filter.
    assert (first["seconds"], first["passes"]) == (4, 30)
    assert first["complement_accuracy"] == 0.25
    assert first["jaccard"] == pytest.approx((SIZED[0.1] - 1) / (SIZED[0.1] + 1))
    assert first["cpr"] == pytest.approx(table["cpr"][1])
    assert "Methods on m" in (tmp_path / "methods.html").read_text()
    statistics = read_frame(tmp_path / "methods.parquet")
    seeds = statistics.filter(row="seed", measure="kl", size=0.1)
    assert seeds["seed"].to_list() == SEEDS
    figures = formats(tmp_path, "figure", ("pdf", "png"))
    plot_methods(
        statistics_path=tmp_path / "methods.parquet", figure_paths=figures, **names
    )
    assert imread(figures[1]).std() > 0


def test_the_heads_that_circuits_use_are_tabulated_and_drawn(found, tmp_path):
    names = {"model": MODEL, "tasks": TASKS, "sizes": SIZES}
    names |= {"edge_methods": ["eap"], "learned_methods": ["hap"]}
    summarise_head_survival(
        found / "model.json",
        [found / task / "heads.parquet" for task in TASKS],
        of_tasks(found, "eap"),
        of_seeds(found),
        tmp_path / "survival.parquet",
        formats(tmp_path, "survival"),
        kv=KV,
        **names,
    )
    table = pl.read_csv(tmp_path / "survival.csv")
    assert table.columns[-2:] == ["hap", "eap"] and set(table["task"]) == {"ioi"}
    # Its first edges are of `input` alone.
    assert table["hap"].to_list() == [0.0] * len(table)
    frame = read_frame(tmp_path / "survival.parquet")
    assert set(frame.filter(method="hap")["n_seeds"]) == {3}
    figures = formats(tmp_path, "survival", ("pdf", "png"))
    plot_head_survival(
        survival_path=tmp_path / "survival.parquet", figure_paths=figures, **names
    )
    assert imread(figures[1]).std() > 0


def test_the_curves_of_training_are_drawn(found, tmp_path):
    figures = formats(tmp_path, "curves", ("pdf", "png"))
    plot_learning_curves(of_seeds(found), figures, model=MODEL)
    assert imread(figures[1]).std() > 0


def test_circuits_of_weights_are_means_over_seeds_then_tasks(tmp_path):
    def measured(task, *accuracies):
        numbers = {"weight_density": 0.5, "edge_density": 0.2, "kl": 1.0}
        numbers |= {"right_above_wrong": 1.0, "complement_right_above_wrong": 0.5}
        numbers |= {"complement_accuracy": 0.0, "method": "discogp", "task": task}
        rows = [
            numbers | {"seed": seed, "size": None, "accuracy": accuracy}
            for seed, accuracy in enumerate(accuracies)
        ]
        rows.append(numbers | {"method": "eap", "seed": None, "size": 0.1})
        frame = pl.DataFrame(rows, schema_overrides={"size": pl.Float64})
        return frame.with_columns(accuracy=pl.col("accuracy").fill_null(0.0))

    paths = [tmp_path / f"{task}.parquet" for task in ("a", "b")]
    write_frame(measured("a", 0.5, 0.7), paths[0])
    write_frame(measured("b", 1.0, 1.0), paths[1])
    names = {"target": MODEL, "tasks": ["a", "b"]}
    summarise_weights(paths, formats(tmp_path, "weights"), **names)
    table = pl.read_csv(tmp_path / "weights.csv")
    labels = table.select("task", "method", "size_percent").rows()
    assert labels[:3] == [
        ("mean", "discogp", "own"),
        ("mean", "eap", "10"),
        ("a", "discogp", "own"),
    ]
    assert table["accuracy"].to_list() == pytest.approx([0.8, 0, 0.6, 0, 1, 0])
