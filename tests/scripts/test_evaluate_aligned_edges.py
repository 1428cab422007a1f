"""The stages that stitch edges, project their scores and measure circuits of edges."""

from dataclasses import asdict

import numpy as np
import polars as pl
import pytest
from attribute_edges import attribute_edges
from evaluate_aligned_edges import evaluate_aligned_edges
from evaluate_edges import evaluate_edges
from stitch_edges import stitch_edges

from circuit_transfer.artifacts.descriptions import read_description
from circuit_transfer.artifacts.edge_alignments import write_edge_alignment
from circuit_transfer.artifacts.edge_masks import write_edge_masks
from circuit_transfer.artifacts.edge_scores import read_edge_scores
from circuit_transfer.artifacts.frames import read_frame, write_frame
from circuit_transfer.artifacts.text import read_json
from circuit_transfer.circuits.edge_faithfulness import MEASURES
from circuit_transfer.circuits.edge_masks import lifted
from circuit_transfer.models.edges import described_graph
from circuit_transfer.models.loading import load_described
from circuit_transfer.transfer.changes import change_scores, run_both, run_changes
from circuit_transfer.transfer.controls import depth_heuristic
from circuit_transfer.transfer.edge_controls import EDGE_CONTROLS
from circuit_transfer.transfer.edge_fits import read_edge_fit
from circuit_transfer.transfer.edge_maps import lifted_map
from circuit_transfer.transfer.edge_reads import run_reads
from circuit_transfer.transfer.edge_stitching import edge_change_scores, stitched_edges
from circuit_transfer.transfer.projection import RANKING_SCHEMA
from circuit_transfer.transfer.shared_prompts import shared_batches, shorten_both

TASKS = ("a", "b", "none")
FAMILIES = {task: [task] for task in TASKS}
NAMES = {"source": "source", "target": "target", "edge_method": "eap"}
KEYS = ["source", "target", "task", "method", "training_set", "map", "control", "seed"]
MAPS = ["prior-residual", "depth-prior", "stitched", "lifted-free"]
KV = "kv-head"
TRAINED = ("none", "source-free", "random-source", "degree-source")


def graph_of(study, model):
    return described_graph(read_description(study.model(model)), KV)


def tensors_by_hand(source, target, seed):
    """Maps by depth, and a trained one with noise on its matrices and biases."""
    generator = np.random.default_rng(seed)
    prior = lifted_map(
        depth_heuristic(source.writers[1:], target.writers[1:]), source, target
    )
    ends = {"writers": prior.writers, "readers": prior.readers}
    tensors = {f"depth-prior/{kind}": own for kind, own in ends.items()}
    tensors |= {f"initial_{kind}": own for kind, own in ends.items()}
    for control in TRAINED:
        after = "" if control == "none" else f"/{control}"
        for kind, own in ends.items():
            noise = (own > 0) * generator.normal(size=own.shape)
            tensors[f"{kind}{after}"] = (own + 0.5 * noise).astype(np.float32)
            bias = generator.normal(size=own.shape[1]) / 1000
            tensors[f"{kind[:-1]}_bias{after}"] = bias.astype(np.float32)
    return tensors


@pytest.fixture(scope="module")
def made(study, tmp_path_factory):
    """Edge scores, fits by hand, free masks and node projections."""
    folder = tmp_path_factory.mktemp("edges")
    for model in ("source", "target"):
        for task in TASKS:
            scores = folder / model / f"{task}.safetensors"
            attribute_edges(
                study.model(model),
                study.pairs(model, task),
                scores,
                scores.with_suffix(".json"),
                task=task,
                edge_method="eap",
                examples=4,
                batch_size=3,
                ig_steps=1,
                ablation="counterfactual",
                kv=KV,
                keep_examples=False,
            )
    source, target = (graph_of(study, model) for model in ("source", "target"))
    for seed in (0, 1):
        metadata = {"training_set": "without-a", "seed": seed, "maps": MAPS[:2]}
        metadata |= {"tasks": ["b"], "transform": "sum"}
        metadata |= {"source_graph": asdict(source), "target_graph": asdict(target)}
        tensors = tensors_by_hand(source, target, seed)
        write_edge_alignment(folder / f"fit-{seed}", tensors, metadata)
        scores = np.random.default_rng(seed).normal(size=(1, target.n_edges))
        write_edge_masks(
            folder / f"mask-{seed}",
            scores,
            scores > 0,
            sizes=[0.5],
            open_share=np.ones(1),
            curves={},
            extras={},
            seed=seed,
            **target.description(),
        )
    row = ("without-a", "free", "none", 0, np.arange(10.0), None)
    nodes = pl.DataFrame([row], schema=RANKING_SCHEMA, orient="row")
    write_frame(nodes, folder / "nodes.parquet")
    return folder


def stitch(study, task, path):
    stitch_edges(
        study.model("source"),
        study.model("target"),
        study.pairs("source", task),
        study.pairs("target", task),
        path,
        path.with_name(f"{path.name}.json"),
        source="source",
        target="target",
        task=task,
        kv=KV,
        examples=4,
        batch_size=3,
    )
    return path


def evaluate(study, made, settings, folder, task="a", **changes):
    """Run the stage and return its two frames."""
    outputs = [folder / f"{task}.{name}" for name in ("parquet", "scores", "json")]
    how = {"maps": MAPS, "controls": EDGE_CONTROLS, "families": FAMILIES}
    how |= {"ranking": "absolute", "kv": KV, "settings": settings, "tasks": TASKS}
    how |= {"stitched_path": stitch(study, task, folder / f"{task}.stitched")}
    how |= {"nodes_path": made / "nodes.parquet"}
    paths = {
        "alignments_paths": [made / f"fit-{seed}" for seed in (0, 1)],
        "masks_paths": [made / f"mask-{seed}" for seed in (0, 1)],
        "scores_paths": [made / "source" / f"{each}.safetensors" for each in TASKS],
        "gold_paths": [made / "target" / f"{each}.safetensors" for each in TASKS],
    }
    evaluate_aligned_edges(
        study.model("target"),
        study.pairs("target", task),
        faithfulness_path=outputs[0],
        projections_path=outputs[1],
        cost_path=outputs[2],
        task=task,
        **{**NAMES, **paths, **how, **changes},
    )
    return read_frame(outputs[0]), read_frame(outputs[1])


@pytest.fixture(scope="module")
def evaluated(study, made, evaluation, tmp_path_factory):
    folder = tmp_path_factory.mktemp("aligned")
    return *evaluate(study, made, evaluation, folder), folder


def test_the_frame_has_labels_counts_and_every_size(evaluated, evaluation):
    frame = evaluated[0]
    first = [*KEYS, "collapsed", "ablation", "proportion"]
    assert frame.columns[: len(first)] == first
    assert {*frame.columns} == {*first, *MEASURES, "complement_accuracy"}
    labels = frame.select(*KEYS[:4], "ablation").unique().rows()
    assert labels == [("source", "target", "a", "eap", "counterfactual")]
    sizes = frame.group_by(KEYS[4:]).agg("proportion")
    assert sizes["proportion"].to_list() == [evaluation["proportions"]] * len(sizes)
    known = pl.col("complement_faithfulness").is_not_null()
    main = (pl.col("control") == "none") & (pl.col("map") == MAPS[0])
    assert frame.select((known == main.fill_null(False)).all()).item()


def test_every_map_and_control_is_there(evaluated):
    found = {*evaluated[0].select("map", "control", "seed").rows()}
    both, once = (0, 1), (None,)
    expected = {("lifted-free", "none", 0)}
    for name in MAPS[:3]:
        own = both if name == MAPS[0] else once
        for control in ("none", "source-free", "degree-source"):
            expected |= {(name, control, seed) for seed in own}
        for control in ("random-source", "other-family"):
            expected |= {(name, control, seed) for seed in both}
    for control in ("scrambled-source", "permuted-alignment", "random-alignment"):
        expected |= {(MAPS[0], control, seed) for seed in both}
    expected |= {(MAPS[0], "random-effective", seed) for seed in range(3)}
    expected |= {(None, "free-mask", seed) for seed in both}
    rest = ("mean-gold", "ridge", "depth-heuristic")
    rest += ("node-changes", "edge-changes", "self-stitched")
    assert found == expected | {(None, control, None) for control in rest}


def test_scores_are_taken_by_their_size_and_projected(evaluated, made, study):
    projections = evaluated[1]
    assert projections.columns == [*KEYS, "scores", "collapsed"]
    scores = np.abs(read_edge_scores(made / "source/a.safetensors").flat)
    (found,) = projections.filter(map="depth-prior", control="none")["scores"]
    edges = read_edge_fit(made / "fit-0").matrix("depth-prior")
    np.testing.assert_allclose(found, scores / scores.sum() @ edges, rtol=1e-5)
    (found,) = projections.filter(map="lifted-free")["scores"]
    expected = lifted(graph_of(study, "target"), np.arange(10.0))
    assert found.to_list() == expected.tolist()


def test_random_circuits_have_as_many_effective_edges(evaluated):
    own = evaluated[0].filter(map=MAPS[0], control="none", seed=0)
    random = evaluated[0].filter(control="random-effective")
    together = random.join(own, on="proportion", suffix="_own")
    assert len(together) == 12
    assert (together["n_effective"] >= together["n_effective_own"]).all()


def test_stitched_tensors_are_those_of_both_models(evaluated, study):
    names = ("source", "target")
    models = [load_described(read_description(study.model(x))) for x in names]
    graphs = tuple(graph_of(study, name) for name in names)
    pairs = [read_frame(study.pairs(name, "a"))[:4] for name in names]
    prompts = shorten_both(*models, shared_batches(*pairs, 3, "cpu"))
    runs = run_both(*models, prompts, run_reads)
    fit = read_edge_fit(evaluated[2] / "a.stitched")
    assert (fit.source, fit.target) == graphs
    edges = stitched_edges(tuple(models), graphs, runs)
    assert np.array_equal(fit.alignment.writers, edges.writers)
    assert np.array_equal(fit.alignment.readers, edges.readers)
    changes = [run_changes(models[1], batch) for _, batch in prompts]
    nodes = change_scores(models[1], changes).numpy()
    expected = {
        "node-changes": lifted(graphs[1], nodes),
        "edge-changes": edge_change_scores(models[1], graphs[1], runs[1]).numpy(),
    }
    for name, scores in expected.items():
        assert np.array_equal(fit.tensors[name], scores)
    itself = stitched_edges((models[1],) * 2, (graphs[1],) * 2, (runs[1],) * 2)
    ones = np.ones(graphs[1].n_edges, np.float32)
    assert np.array_equal(fit.tensors["self-stitched"], ones @ itself)
    costs = read_json(evaluated[2] / "a.stitched.json")
    # Clean and corrupted runs of four pairs; of the target's own maps none count.
    forwards = [(row["part"], row["model"], row["forwards"]) for row in costs]
    assert forwards == [("stitched", "source", 8), ("stitched", "target", 8)]


def test_a_task_without_pairs_is_an_empty_cell(study, made, evaluation, tmp_path):
    frame, projections = evaluate(study, made, evaluation, tmp_path, "none")
    assert frame.is_empty() and not projections.is_empty()
    fit = read_edge_fit(tmp_path / "none.stitched")
    assert all(np.isnan(each).all() for each in fit.tensors.values())


def test_a_model_aligned_with_itself_gives_its_own_circuits(
    study, made, evaluation, tmp_path
):
    graph = graph_of(study, "target")
    identity = lifted_map(np.eye(10), graph, graph)
    metadata = {"training_set": "all", "seed": 0, "tasks": ["a"], "maps": ["lineage"]}
    metadata |= {"source_graph": asdict(graph), "target_graph": asdict(graph)}
    tensors = {"writers": identity.writers, "readers": identity.readers}
    write_edge_alignment(tmp_path / "fit", tensors, metadata | {"transform": "sum"})
    scores = made / "target/a.safetensors"
    for ranking in ("absolute", "signed"):
        frame, _ = evaluate(
            study,
            made,
            evaluation,
            tmp_path,
            scores_paths=[scores],
            gold_paths=[scores],
            alignments_paths=[tmp_path / "fit"],
            masks_paths=[],
            tasks=["a"],
            maps=["lineage"],
            controls=[],
            ranking=ranking,
            stitched_path=None,
            nodes_path=None,
        )
        gold_path, cost = tmp_path / "gold", tmp_path / "gold.json"
        how = {"target": "target", "task": "a", "edge_method": "eap", "kv": KV}
        paths = study.model("target"), study.pairs("target", "a"), scores
        evaluate_edges(*paths, gold_path, cost, **how, settings=evaluation)
        gold = read_frame(gold_path).filter(control="none", ranking=ranking)
        columns = [*MEASURES, "proportion", "complement_accuracy"]
        assert frame.select(columns).equals(gold.select(columns))


def test_scores_of_another_model_are_refused(study, made, evaluation, tmp_path):
    other = [made / "target" / f"{each}.safetensors" for each in TASKS]
    with pytest.raises(ValueError, match="run the stage that scores the edges again"):
        evaluate(study, made, evaluation, tmp_path, scores_paths=other)
    with pytest.raises(ValueError, match="signed or absolute"):
        evaluate(study, made, evaluation, tmp_path, ranking="both")
