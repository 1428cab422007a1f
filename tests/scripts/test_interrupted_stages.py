"""Long stages are killed in the middle; what they end in must not show it.

They are killed for real, in a process of their own, right after a state has been
written: a moment that is the same in every run.
"""

import logging
import multiprocessing
import os
import signal
import sys
from multiprocessing import forkserver

import numpy as np
import polars as pl
import pytest
import torch
from attribute_edges import attribute_edges
from attribute_nodes import attribute_nodes
from compare_steps import compare_steps
from distil_student import distil_student
from evaluate_aligned import evaluate_aligned
from evaluate_edges import evaluate_edges
from evaluate_gold import evaluate_gold
from evaluate_imported import evaluate_imported
from evaluate_learned import evaluate_learned
from evaluate_lifted import evaluate_lifted
from evaluate_random import evaluate_random
from evaluate_random_edges import evaluate_random_edges
from evaluate_student import evaluate_student
from evaluate_weights import evaluate_weights
from export_mib import export_mib
from find_critical_heads import find_critical_heads
from find_heads import find_heads
from fit_alignment import fit_alignment
from fit_edge_alignment import fit_edge_alignment
from fit_free_mask import fit_free_mask
from learn_edges import learn_edges
from match_heads import match_heads
from train_model import train_model
from transformers import AutoModelForCausalLM
from verify_edges import verify_edges

from circuit_transfer.artifacts.alignments import write_alignment
from circuit_transfer.artifacts.frames import read_frame, write_frame
from circuit_transfer.artifacts.text import read_json
from circuit_transfer.circuits import edge_runs, runs
from circuit_transfer.distillation import path_patching
from circuit_transfer.jobs.resume import NO_RESUME, Resume
from circuit_transfer.prompts.frame import MARKS
from circuit_transfer.transfer import edge_training, node_training

SETTINGS = {"intervention": "circuit", "epochs": 3, "learning_rate": 0.1}
SETTINGS |= {"sparsity": 0.1, "proportions": [0.2, 0.5, 1.0]}
EDGE_SETTINGS = {k: v for k, v in SETTINGS.items() if k != "intervention"}
PRIOR = {"depth_width": 0.25, "temperature": 0.3}
PRIOR |= {"correspondence": "cka", "threshold": None}
ENTRY = {"architecture": "llama", "layers": 1, "heads": 2, "kv_heads": 1}
ENTRY |= {"d_model": 16, "d_mlp": 16, "learning_rate": 0.01, "batch_size": 8}
ENTRY |= {"warmup_steps": 4, "decay_steps": 10, "max_steps": 30, "probe_every": 5}
ENTRY |= {"required_accuracy": 0.0, "generators": ["ioi"], "seed": 0}


class Counted(Resume):
    """A state that is written whenever it may be, and how often that was."""

    def __init__(self, folder, kill_after=None):
        super().__init__(folder, {"stage": "of a test"}, seconds=0)
        self.written, self.kill_after = 0, kill_after

    def save(self, **how):
        super().save(**how)
        self.written += 1
        if self.written == self.kill_after:
            os.kill(os.getpid(), signal.SIGKILL)


def _model(study, name):
    return study / "models" / f"{name}.json"


def _pairs(study, model, task):
    return study / "pairs" / model / f"{task}.parquet"


def _scores(study, model, task):
    return study / "scores" / model / f"{task}.safetensors"


def attributing(study, folder, resume, *, method="nap", ablation="counterfactual"):
    """Four batches of one pair."""
    attribute_nodes(
        _model(study, "target"),
        _pairs(study, "target", "a"),
        folder / "scores.safetensors",
        folder / "cost.json",
        task="a",
        method=method,
        examples=4,
        batch_size=1,
        ig_steps=2,
        ablation=ablation,
        resume=resume,
    )


def comparing(study, folder, resume):
    """Four batches of one pair, with two numbers of steps."""
    compare_steps(
        _model(study, "target"),
        _pairs(study, "target", "a"),
        folder / "scores.parquet",
        folder / "cost.json",
        task="a",
        method="nap-ig-inputs",
        counts=[2, 3],
        examples=4,
        batch_size=1,
        ablation="counterfactual",
        resume=resume,
    )


def aligning(study, folder, resume, **changes):
    """Two seeds of four maps on two tasks, two maps in a pass."""
    fit_alignment(
        _model(study, "source"),
        _model(study, "target"),
        [_scores(study, "source", task) for task in "ab"],
        [_pairs(study, "target", task) for task in "ab"],
        [_pairs(study, "source", task) for task in "ab"],
        [folder / f"seed-{seed}.safetensors" for seed in (0, 1)],
        folder / "cost.json",
        tasks=["a", "b"],
        seeds=[0, 1],
        maps=["free", "depth-prior", "prior-residual"],
        transform="max",
        prior=PRIOR,
        controls=["source-free"],
        settings=SETTINGS | changes,
        batch_size=2,
        examples=6,
        resume=resume,
        source="source",
        target="target",
        method="nap",
        training_set="all",
    )


def aligning_edges(study, folder, resume, **changes):
    """Two seeds of four maps of edges on two tasks, three circuits in a pass."""
    fit_edge_alignment(
        _model(study, "source"),
        _model(study, "target"),
        [study / f"edges/source-{task}/scores.safetensors" for task in "ab"],
        [_pairs(study, "target", task) for task in "ab"],
        [_pairs(study, "source", task) for task in "ab"],
        [folder / f"seed-{seed}.safetensors" for seed in (0, 1)],
        folder / "cost.json",
        tasks=["a", "b"],
        seeds=[0, 1],
        maps=["free", "depth-prior", "prior-residual"],
        transform="sum",
        ranking="absolute",
        prior=PRIOR,
        controls=["degree-source"],
        settings=EDGE_SETTINGS | changes,
        kv="kv-head",
        batch_size=2,
        examples=6,
        resume=resume,
        source="source",
        target="target",
        edge_method="eap",
        training_set="all",
    )


def masking(study, folder, resume):
    """Two seeds of a free mask."""
    fit_free_mask(
        _model(study, "target"),
        _pairs(study, "target", "a"),
        [folder / f"seed-{seed}.safetensors" for seed in (0, 1)],
        folder / "cost.json",
        seeds=[0, 1],
        target="target",
        task="a",
        settings=SETTINGS,
        batch_size=2,
        examples=4,
        resume=resume,
    )


def evaluating(study, folder, resume):
    """Two ablations, two batches, one circuit at a time."""
    evaluate_random(
        _model(study, "target"),
        _pairs(study, "target", "a"),
        folder / "faithfulness.parquet",
        folder / "cost.json",
        target="target",
        task="a",
        rankings=2,
        settings={
            "ablations": ["counterfactual", "mean"],
            "proportions": [0.2, 0.5, 0.8, 1.0],
            "examples": 4,
            "batch_size": 2,
        },
        resume=resume,
    )


def scoring_edges(
    study,
    folder,
    resume,
    *,
    method="eap",
    examples=True,
    model="target",
    task="a",
    kv="query-head",
):
    """Four batches of one pair."""
    attribute_edges(
        _model(study, model),
        _pairs(study, model, task),
        folder / "scores.safetensors",
        folder / "cost.json",
        task=task,
        edge_method=method,
        examples=4,
        batch_size=1,
        ig_steps=2,
        ablation="counterfactual",
        kv=kv,
        keep_examples=examples,
        resume=resume,
    )


def verifying(study, folder, resume):
    """Four batches of one pair."""
    verify_edges(
        _model(study, "target"),
        _pairs(study, "target", "a"),
        study / "edges/scores.safetensors",
        folder / "verified.parquet",
        folder / "cost.json",
        edge_method="eap",
        verify=5,
        examples=4,
        batch_size=1,
        ablation="counterfactual",
        kv="query-head",
        resume=resume,
    )


def finding_heads(study, folder, resume):
    """Two batches of heads alone, then of circuits without some."""
    find_heads(
        _model(study, "target"),
        _pairs(study, "target", "a"),
        folder / "heads.parquet",
        folder / "cost.json",
        named=[],
        examples=4,
        batch_size=2,
        ablation="counterfactual",
        resume=resume,
    )


# Two ablations and two batches of circuits of edges, one circuit at a time.
MEASURING = {"ablations": ["counterfactual", "mean"], "proportions": [0.2, 0.6, 1.0]}
MEASURING |= {"examples": 4, "batch_size": 2}


def evaluating_edges(study, folder, resume):
    """By signed and by absolute score, and random ones beside each."""
    evaluate_edges(
        _model(study, "target"),
        _pairs(study, "target", "a"),
        study / "edges/scores.safetensors",
        folder / "faithfulness.parquet",
        folder / "cost.json",
        target="target",
        task="a",
        edge_method="eap",
        kv="query-head",
        settings=MEASURING,
        resume=resume,
    )


# Circuits of two sizes and two seeds, in steps of two pairs.
LEARNING = {"examples": 4, "batch_size": 2, "sizes": [0.3, 0.2], "objective": "kl"}
LEARNING |= {"ablation": "counterfactual"}
PRUNING = {"steps": 6, "init": 0.0, "learning_rate": 0.5}
OWN = {
    "edge-pruning": PRUNING | {"node_gates": True},
    "hap": PRUNING | {"keep": 0.6},
    "soft-top-k": {"steps": 6},
    "discogp": {"weight_steps": 6, "weight_init": 0.1, "edge_init": 0.1},
}


def learning(study, folder, resume, *, method="edge-pruning", **changes):
    """Six steps of two seeds."""
    learn_edges(
        _model(study, "target"),
        _pairs(study, "target", "a"),
        [folder / f"seed-{seed}.safetensors" for seed in (0, 1)],
        folder / "cost.json",
        task="a",
        learned_method=method,
        seeds=[0, 1],
        kv="query-head",
        settings=LEARNING | changes | {method: OWN[method]},
        filter_path=study / "edges/scores.safetensors" if method == "hap" else None,
        resume=resume,
    )


def evaluating_learned(study, folder, resume):
    """By the ranking of each seed, and the circuits of its own sizes."""
    evaluate_learned(
        _model(study, "target"),
        _pairs(study, "target", "a"),
        [study / f"edges/seed-{seed}.safetensors" for seed in (0, 1)],
        folder / "faithfulness.parquet",
        folder / "cost.json",
        target="target",
        task="a",
        learned_method="edge-pruning",
        kv="query-head",
        settings=MEASURING,
        resume=resume,
    )


def evaluating_weights(study, folder, resume):
    """Circuits of weights and of edges of two seeds, and those of a ranking."""
    pairs = _pairs(study, "target", "a")
    circuits = ("edges/seed-{}", "edges/discogp/seed-{}")
    evaluate_weights(
        _model(study, "target"),
        pairs,
        [study / f"{each}.safetensors".format(n) for each in circuits for n in (0, 1)],
        [study / "edges/scores.safetensors"],
        folder / "measures.parquet",
        folder / "cost.json",
        target="target",
        task="a",
        sizes=LEARNING["sizes"],
        kv="query-head",
        settings={"examples": 4, "batch_size": 2},
        pruning={"discogp": OWN["discogp"]},
        resume=resume,
    )


TEACHING = {"steps": 6, "batch_size": 2, "queue": 128, "probe_every": 2}
HELD_OUT = {"examples": 4, "batch_size": 2}
MEASURED = {"held_out": HELD_OUT, "positions": "answer", "accuracy": 0.5}
SCORING = {"ig_steps": 2, "examples": 4, "batch_size": 2}
SCORING |= {"ablation": "counterfactual"}
MEASURED |= {"node_scoring": {"nap": SCORING}, "edge_scoring": {"eap": SCORING}}


def heads_of(study, model):
    return study / "heads" / f"{model}.parquet"


def finding_critical_heads(study, _folder, _resume):
    """What the next stages read: critical heads, and those that are matched."""
    paths = [_model(study, "target"), _model(study, "source")]
    for model in ("source", "target"):
        find_critical_heads(
            _model(study, model),
            _pairs(study, model, "a"),
            heads_of(study, model),
            study / "cost.json",
            task="a",
            by="effect",
            metric="logit-diff",
            count=2,
            examples=4,
            batch_size=2,
        )
    match_heads(
        *paths,
        heads_of(study, "target"),
        heads_of(study, "source"),
        [],
        [],
        study / "heads/matched.parquet",
        study / "cost.json",
        teacher="target",
        student="source",
        task="a",
        matching="impact",
        settings={"assignment": "one-to-one", "baseline": "own", "scale": "raw"},
    )


def mark_pairs(study):
    """Write four pairs with marks, and what the model says as the right answer."""
    pairs = read_frame(_pairs(study, "target", "a")).filter(split="train")[:4]
    model = AutoModelForCausalLM.from_pretrained(
        read_json(_model(study, "target"))["path"]
    )
    ids = torch.tensor(pairs["clean_ids"].to_list())
    says = model(ids).logits[:, -1].argmax(-1)[:, None].tolist()
    places = {"query": [2], "box": [1]}
    marks = [{"name": name, "positions": each} for name, each in places.items()]
    answers = pl.Series(says, dtype=pl.List(pl.Int32))
    marked = pairs.with_columns(pl.Series(MARKS, [marks] * 4), answer_ids=answers)
    write_frame(marked, study / "marked.parquet")


def patching_paths(study, folder, resume, *, by="paths"):
    """Four groups of heads on two batches of two pairs, head by head."""
    find_critical_heads(
        _model(study, "target"),
        study / "marked.parquet",
        folder / "heads.parquet",
        folder / "cost.json",
        task="a",
        by=by,
        metric="accuracy",
        count=4,
        examples=4,
        batch_size=2,
        resume=resume,
    )


def distilling(study, folder, resume, *, variant="matched-cka", seed=0):
    """Six steps of two pairs, and a probe after every second one."""
    both = ("source", "target")
    distil_student(
        _model(study, "target"),
        _model(study, "source"),
        study / "heads/matched.parquet",
        [_pairs(study, model, "a") for model in both],
        [_pairs(study, model, "a") for model in both],
        folder / f"seed-{seed}/training.json",
        folder / "cost.json",
        teacher="target",
        student="source",
        task="a",
        variant=variant,
        seed=seed,
        settings=TEACHING,
        held_out=HELD_OUT,
        resume=resume,
    )


def measuring_students(study, folder, resume):
    """The teacher, the student before, and students of two seeds."""
    both = ("source", "target")
    students = study / "students"
    evaluate_student(
        _model(study, "target"),
        _model(study, "source"),
        study / "heads/matched.parquet",
        [heads_of(study, model) for model in both],
        _pairs(study, "source", "a"),
        [_pairs(study, model, task) for model in both for task in "ab"],
        [_scores(study, model, "a") for model in both],
        [],
        [students / f"seed-{seed}/training.json" for seed in (0, 1)],
        [students / "cost.json"] * 2,
        folder / "measures.parquet",
        folder / "cost.json",
        teacher="target",
        student="source",
        task="a",
        variant="matched-cka",
        tasks=["a", "b"],
        seeds=[0, 1],
        settings=MEASURED,
        resume=resume,
    )


def training(_study, folder, resume):
    """Six probes."""
    data = {"words_path": "data/words.yaml", "facts_path": "data/facts.csv"}
    path = folder / "model/training.json"
    train_model(path, model="tiny", entry=ENTRY, resume=resume, **data)


STAGES = {
    "nap": (attributing, {}),
    "mean": (attributing, {"method": "nap-ig-activations", "ablation": "mean"}),
    "steps": (comparing, {}),
    "divergence": (aligning, {}),
    "area": (aligning, {"objective": "area"}),
    "edge-maps": (aligning_edges, {}),
    "edge-maps-area": (aligning_edges, {"objective": "area"}),
    "free-mask": (masking, {}),
    "evaluation": (evaluating, {}),
    "edges": (scoring_edges, {}),
    "edge-sites": (
        scoring_edges,
        {"method": "eap-ig-activations", "examples": False},
    ),
    "verified": (verifying, {}),
    "heads": (finding_heads, {}),
    "edge-circuits": (evaluating_edges, {}),
    "pruning": (learning, {}),
    "filtered": (learning, {"method": "hap", "ablation": "mean"}),
    "soft-top-k": (learning, {"method": "soft-top-k"}),
    "joint-masks": (learning, {"method": "discogp"}),
    "learned-circuits": (evaluating_learned, {}),
    "weights": (evaluating_weights, {}),
    "training": (training, {}),
    "path-patching": (patching_paths, {}),
    "distillation": (distilling, {}),
    "distilled-logits": (distilling, {"variant": "logits"}),
    "students": (measuring_students, {}),
}


@pytest.fixture(scope="module", autouse=True)
def edge_scores(study):
    """What stages of edges read beside the study."""
    edges = study.folder / "edges"
    for stage in (scoring_edges, learning):
        stage(study.folder, edges, NO_RESUME)
    for task in "ab":
        source = {"model": "source", "task": task, "kv": "kv-head"}
        scoring_edges(study.folder, edges / f"source-{task}", NO_RESUME, **source)
    learning(study.folder, edges / "discogp", NO_RESUME, method="discogp")
    finding_critical_heads(study.folder, edges, NO_RESUME)
    mark_pairs(study.folder)
    for seed in (0, 1):
        distilling(study.folder, study.folder / "students", NO_RESUME, seed=seed)
    return study.folder / "edges/scores.safetensors"


@pytest.fixture(scope="module")
def processes():
    """Make processes of one that has imported everything, once."""
    context = multiprocessing.get_context("forkserver")
    llama = "transformers.models.llama.modeling_llama"
    context.set_forkserver_preload([__name__, llama])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
        forkserver.ensure_running()
    return context


def run(stage, study, folder, resume) -> None:
    """Run a stage, in small passes."""
    torch.set_num_threads(1)
    function, changes = STAGES[stage]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(node_training, "rows_per_pass", lambda *_: 4)
        patch.setattr(runs, "rows_per_pass", lambda *_: 1)
        patch.setattr(path_patching, "rows_per_pass", lambda *_: 1)
        patch.setattr(edge_runs, "ACTIVATIONS", {"cpu": 1})
        patch.setattr(edge_training, "circuits_at_once", lambda *_: 3)
        function(study, folder, resume, **changes)


def run_until(saves, stage, study, folder, state) -> None:
    """Run a stage until its state has been written so many times, and die."""
    run(stage, study, folder, Counted(state, kill_after=saves))


def outcome(folder) -> dict[str, bytes | list]:
    """Return what a stage has written, by name; of costs, all but the seconds."""
    files = {path.name: path for path in folder.rglob("*") if path.is_file()}
    found = {name: path.read_bytes() for name, path in files.items()}
    for name in {"cost.json", "training.json", "README.md"} & set(found):
        del found[name]
    if "cost.json" in files:
        found["cost.json"] = [
            {key: value for key, value in row.items() if key != "seconds"}
            for row in read_json(files["cost.json"])
        ]
    if "training.json" in files:
        record = read_json(files["training.json"])
        found["training.json"] = record | {"seconds": None}
    return found


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_that_was_killed_ends_as_if_it_had_not_been(
    stage, study, processes, tmp_path, caplog
):
    whole, parts, state = (tmp_path / name for name in ("whole", "parts", "state"))
    whole.mkdir()
    parts.mkdir()
    undisturbed, last = Counted(tmp_path / "other-state"), Counted(state)
    run(stage, study.folder, whole, undisturbed)
    first, second = 1, undisturbed.written // 2
    for saves in (first, second):
        arguments = (saves, stage, study.folder, parts, state)
        process = processes.Process(target=run_until, args=arguments)
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    caplog.set_level(logging.INFO)
    run(stage, study.folder, parts, last)
    assert f"resumed from {state}" in caplog.text
    # Nothing is done twice.
    assert last.written == undisturbed.written - first - second
    assert outcome(parts) == outcome(whole)
    assert len(outcome(parts)) > 1
    assert {path.name for path in tmp_path.iterdir()} == {"whole", "parts"}


def test_path_patching_keeps_its_state_beside_that_of_effects(study, tmp_path):
    written = {}
    for by in ("effect", "paths"):
        state = Counted(tmp_path / "state")
        patching_paths(study.folder, tmp_path, state, by=by)
        written[by] = state.written
    assert written["paths"] > written["effect"] > 0


def test_every_evaluation_keeps_its_state(study, tmp_path, evaluation):
    model, pairs = study.model("target"), study.pairs("target", "a")
    scores, importances = study.scores("target", "a"), tmp_path / "importances.json"
    export_mib(model, scores, importances, tmp_path / "tensors")
    nodes = read_json(model)["nodes"]
    metadata = {"training_set": "all", "seed": 0, "maps": ["free"], "tasks": ["a"]}
    metadata |= {"source_nodes": nodes, "target_nodes": nodes}
    identity = {"alignment": np.eye(10, dtype=np.float32)}
    write_alignment(tmp_path / "map", identity, metadata | {"transform": "max"})
    states = [Counted(tmp_path / "state") for _ in range(5)]
    shared = {"target": "target", "task": "a", "settings": evaluation}
    gold, imported, aligned, random, lifted = (
        shared | {"resume": state} for state in states
    )
    paths = tmp_path / "written.parquet", tmp_path / "cost.json"
    evaluate_gold(model, pairs, scores, *paths, method="nap", **gold)
    evaluate_imported(model, pairs, importances, *paths, circuit="own", **imported)
    random |= {"rankings": 1, "kv": "kv-head"}
    evaluate_random_edges(model, pairs, *paths, **random)
    lifted |= {"method": "nap", "kv": "kv-head"}
    evaluate_lifted(model, pairs, scores, *paths, **lifted)
    inputs = [scores], [scores], [tmp_path / "map"], []
    paths = tmp_path / "written.parquet", tmp_path / "projections", tmp_path / "cost"
    aligned |= {"source": "target", "method": "nap", "controls": [], "families": {}}
    aligned |= {"tasks": ["a"]}
    evaluate_aligned(model, pairs, *inputs, *paths, **aligned)
    assert all(state.written for state in states)
    assert not (tmp_path / "state").exists()
