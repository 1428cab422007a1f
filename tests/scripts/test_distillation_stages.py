"""The stages of distillation, beside plain runs of the models."""

import json
import logging
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch
import yaml
from distil_student import distil_student
from evaluate_student import evaluate_student
from find_critical_heads import find_critical_heads
from match_heads import match_heads
from transformers import AutoModelForCausalLM, AutoTokenizer

from circuit_transfer.artifacts.alignments import write_alignment
from circuit_transfer.artifacts.frames import read_frame, write_frame
from circuit_transfer.artifacts.scores import read_scores
from circuit_transfer.artifacts.text import read_json
from circuit_transfer.circuits.methods import Nodes
from circuit_transfer.distillation.frames import (
    CRITICAL_COLUMNS,
    MATCHED_COLUMNS,
    MEASURED_COLUMNS,
)
from circuit_transfer.distillation.updates import head_masks
from circuit_transfer.prompts.frame import MARKS
from circuit_transfer.study.distillation_work import distillation_work
from circuit_transfer.study.validation import validate_config
from circuit_transfer.tables.costs import COST_SCHEMA

BOTH = ("source", "target")
SETTINGS = {"steps": 4, "batch_size": 4, "learning_rate": 0.01, "probe_every": 3}
SETTINGS |= {"queue": 128, "weight_decay": 0.5}
HELD_OUT = {"examples": 4, "batch_size": 2}
SCORING = {"ig_steps": 2, "examples": 4, "batch_size": 3}
SCORING |= {"ablation": "counterfactual"}
MEASURED = {"held_out": HELD_OUT, "positions": "answer", "accuracy": 0.01}
MEASURED |= {"node_scoring": {"nap": SCORING}, "edge_scoring": {}}
IMPACT = {"assignment": "one-to-one", "baseline": "student", "scale": "raw"}


def critical_heads(study, model, folder, *, task="a", **changes):
    """Find the critical heads of a model; return where the frame is."""
    path = folder / f"{model}.parquet"
    how = {"by": "effect", "metric": "logit-diff", "count": 2, "examples": 4}
    find_critical_heads(
        study.model(model),
        study.pairs(model, task),
        path,
        folder / "cost.json",
        task=task,
        batch_size=2,
        **how | changes,
    )
    return path


def matched_heads(study, folder, matching="impact", *, settings=IMPACT, **files):
    """Match the heads of `source`, the student, to those of `target`."""
    scores = files.pop("scores", ([], []))
    match_heads(
        study.model("target"),
        study.model("source"),
        folder / "target.parquet",
        folder / "source.parquet",
        *scores,
        folder / "matched.parquet",
        folder / "cost.json",
        teacher="target",
        student="source",
        task="a",
        matching=matching,
        settings=settings,
        **files,
    )
    return read_frame(folder / "matched.parquet", [*MATCHED_COLUMNS])


def distilled(study, folder, variant="matched-cka", *, task="a", **changes):
    """Train a student; return its folder."""
    distil_student(
        study.model("target"),
        study.model("source"),
        folder / "matched.parquet",
        [study.pairs(model, task) for model in BOTH],
        [study.pairs(model, task) for model in BOTH],
        folder / "student/training.json",
        folder / "cost.json",
        teacher="target",
        student="source",
        task=task,
        variant=variant,
        seed="3",
        settings=SETTINGS | changes,
        held_out=HELD_OUT,
    )
    return folder / "student"


def measured(study, folder, *, task="a", tasks=("a", "b")):
    """Measure the student in a folder; return the frame."""
    evaluate_student(
        study.model("target"),
        study.model("source"),
        folder / "matched.parquet",
        [folder / f"{model}.parquet" for model in BOTH],
        study.pairs("source", task),
        [study.pairs(model, each) for model in BOTH for each in tasks],
        [study.scores(model, task) for model in BOTH],
        [],
        [folder / "student/training.json"],
        [folder / "cost.json"],
        folder / "measures.parquet",
        folder / "measuring.json",
        teacher="target",
        student="source",
        task=task,
        variant="matched-cka",
        tasks=[*tasks],
        seeds=[3],
        settings=MEASURED,
    )
    return read_frame(folder / "measures.parquet", [*MEASURED_COLUMNS])


@pytest.fixture(scope="module")
def trained(study, tmp_path_factory):
    """A student that is trained by matched CKA, with all that its stages have left."""
    folder = tmp_path_factory.mktemp("distilled")
    for model in BOTH:
        critical_heads(study, model, folder)
    matched_heads(study, folder)
    return SimpleNamespace(folder=folder, student=distilled(study, folder))


def weights(folder):
    return dict(AutoModelForCausalLM.from_pretrained(folder).named_parameters())


def answers(folder, pairs):
    """Return the share of the first four test pairs that a plain model answers."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    rows = pairs.filter(split="test")[:4]
    with torch.no_grad():
        logits = model(torch.tensor(rows["clean_ids"].to_list())).logits[:, -1]
    right = rows["answer_ids"].to_list()
    best = logits.argmax(-1).tolist()
    return np.mean([token in row for token, row in zip(best, right, strict=True)])


def test_a_student_is_an_ordinary_checkpoint_with_a_record(study, trained):
    original = read_json(study.model("source"))["path"]
    tokenizers = [
        AutoTokenizer.from_pretrained(each) for each in (original, trained.student)
    ]
    one, other = (each("w1 w2 w3 :").input_ids for each in tokenizers)
    assert one == other
    for name in ("tokenizer.json", "tokenizer_config.json"):
        before = (Path(original) / name).read_bytes()
        assert (trained.student / name).read_bytes() == before
    record = read_json(trained.student / "training.json")
    assert record["settings"] == SETTINGS
    assert (record["variant"], record["seed"], record["task"]) == (
        "matched-cka",
        3,
        "a",
    )
    assert record["curves"]["steps"]["step"] == [1, 2, 3, 4]
    assert record["curves"]["probes"]["step"] == [0, 3, 4]
    matched = read_frame(trained.folder / "matched.parquet")
    pairs = matched.select("student_head", "teacher_head").rows()
    assert record["matched"] == record["pairs"] == [list(each) for each in pairs]


def test_only_the_matched_heads_have_changed(study, trained):
    before, after = map(
        weights, (read_json(study.model("source"))["path"], trained.student)
    )
    model = AutoModelForCausalLM.from_pretrained(trained.student)
    record = read_json(trained.student / "training.json")
    masks = head_masks(model, record["trained_heads"])
    changed = 0
    for name, own in before.items():
        same = own == after[name]
        trained_here = masks.get(name, torch.zeros_like(own, dtype=torch.bool))
        assert same[~trained_here].all(), name
        changed += int((~same).sum())
    assert changed > 100


def test_everything_changes_where_everything_is_trained(study, trained, tmp_path):
    write_frame(
        read_frame(trained.folder / "matched.parquet"), tmp_path / "matched.parquet"
    )
    folder = distilled(study, tmp_path, "fine-tune")
    before, after = map(weights, (read_json(study.model("source"))["path"], folder))
    assert all((before[name] != after[name]).any() for name in before)


def test_measures_before_and_after_are_those_of_plain_models(study, trained):
    frame = measured(study, trained.folder)
    assert frame.schema == pl.Schema(MEASURED_COLUMNS)
    paths = {
        "teacher": read_json(study.model("target"))["path"],
        "before": read_json(study.model("source"))["path"],
        "after": trained.student,
    }
    models = {"teacher": "target", "before": "source", "after": "source"}
    for state, path in paths.items():
        for task in ("a", "b"):
            (row,) = frame.filter(state=state, evaluated_task=task).to_dicts()
            assert row["accuracy"] == answers(
                path, read_frame(study.pairs(models[state], task))
            )
            own = task == "a"
            assert (row["circuit_accuracy"] is not None) == own
            assert (row["cka"] is not None) == (own and state != "teacher")
            assert row["variant"] == (None if state == "teacher" else "matched-cka")
            assert row["seed"] == (None if state == "teacher" else 3)
    probes = read_json(trained.student / "training.json")["curves"]["probes"]
    before, after = (
        frame.filter(state=state, evaluated_task="a").to_dicts()[0]
        for state in ("before", "after")
    )
    assert before["cka"] == pytest.approx(probes["cka"][0], abs=1e-6)
    assert after["cka"] == pytest.approx(probes["cka"][-1], abs=1e-6)
    costs = read_json(trained.folder / "cost.json")
    assert after["passes"] == sum(r["forwards"] + r["forward_backwards"] for r in costs)
    assert before["passes"] is None
    # The scores before are those of the study.
    scores = [read_scores(study.scores(model, "a")) for model in BOTH]
    named = [dict(zip(each.nodes, each.scores, strict=True)) for each in scores]
    pairs = read_json(trained.student / "training.json")["matched"]
    both = [
        [each[head] for head in heads]
        for each, heads in zip(named, zip(*pairs, strict=True), strict=True)
    ]
    assert before["node_correlation"] == pytest.approx(np.corrcoef(*both)[0, 1])


def test_measuring_costs_what_is_estimated(study, trained):
    measured(study, trained.folder)
    costs = pl.DataFrame(read_json(trained.folder / "measuring.json"), COST_SCHEMA)
    root = Path(__file__).parents[2]
    config = yaml.safe_load((root / "config.yaml").read_text())
    paths = dict.fromkeys(BOTH, {"path": "not read"})
    tasks = {task: {"generator": "ioi", "train": 4, "test": 4} for task in "ab"}
    config |= {"models": paths, "tasks": tasks}
    config["study"] = {"tasks": ["a", "b"], "methods": ["nap"], "models": [*BOTH]}
    config["distillation"] = {"teacher": "target", "student": "source", "seeds": [3]}
    config["distillation"]["objectives"] = ["matched-cka"]
    validate_config(config, root / "workflow/schemas/config.schema.yaml")
    models = {name: read_json(study.model(name)) for name in BOTH}
    nodes = {
        name: Nodes(len(each["nodes"]), 2 * each["layers"])
        for name, each in models.items()
    }
    works = [
        work
        for work in distillation_work(config, nodes)
        if work.stage == "evaluate_student" and "a" in work.pairs
    ]
    for model, work in zip(BOTH, works, strict=True):
        own = costs.filter(model=model)
        assert own["forwards"].sum() == 4 * work.forwards
        assert own["forward_backwards"].sum() == 4 * work.forward_backwards


def test_without_a_usable_pair_a_student_stays_as_it_is(study, tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    for model in BOTH:
        frame = read_frame(critical_heads(study, model, tmp_path, task="none"))
        assert frame.is_empty() and frame.schema == pl.Schema(CRITICAL_COLUMNS)
    assert matched_heads(study, tmp_path).is_empty()
    folder = distilled(study, tmp_path, task="none")
    assert "no pair of none that can be used" in caplog.text
    before, after = map(weights, (read_json(study.model("source"))["path"], folder))
    assert all((before[name] == after[name]).all() for name in before)
    frame = measured(study, tmp_path, task="none", tasks=("none",))
    assert frame["state"].to_list() == ["teacher", "before", "after"]
    unknown = frame.select(pl.col(pl.Float64, pl.Int64).exclude("seed"))
    assert unknown.null_count().sum_horizontal().item() == unknown.width * 3
    assert json.loads((tmp_path / "cost.json").read_text()) == []


def test_the_recorded_ancestors_are_beside_the_matched_heads(study, trained, tmp_path):
    for model in BOTH:
        name = f"{model}.parquet"
        (tmp_path / name).write_bytes((trained.folder / name).read_bytes())
    assert matched_heads(study, tmp_path)["ancestor"].is_null().all()
    about = read_json(study.model("source"))
    nodes = {node: about["nodes"][-1 - i] for i, node in enumerate(about["nodes"])}
    lineage = {"relation": "pruned", "parent": "target", "teacher": None}
    lineage |= {"nodes": nodes, "parent_lineage": None}
    path = tmp_path / "descendant.json"
    path.write_text(json.dumps(about | {"lineage": lineage}))
    descendant = SimpleNamespace(
        model=lambda name: path if name == "source" else study.model(name)
    )
    found = matched_heads(descendant, tmp_path)
    heads = found["student_head"].to_list()
    assert found["ancestor"].to_list() == [nodes[head] for head in heads]


def with_pairs(study, folder, *, train=None, test=None):
    """The study with the first pairs of each split of task `a` alone."""
    for model in BOTH:
        frame = read_frame(study.pairs(model, "a"))
        parts = [
            frame.filter(split=name).head(len(frame) if count is None else count)
            for name, count in (("train", train), ("test", test))
        ]
        write_frame(pl.concat(parts), folder / f"{model}-pairs.parquet")
    return SimpleNamespace(
        model=study.model,
        scores=study.scores,
        pairs=lambda model, _: folder / f"{model}-pairs.parquet",
    )


def test_of_three_test_pairs_a_student_has_no_cka(study, trained, tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    for name in ("source", "target", "matched"):
        frame = read_frame(trained.folder / f"{name}.parquet")
        write_frame(frame, tmp_path / f"{name}.parquet")
    few = with_pairs(study, tmp_path, test=3)
    folder = distilled(few, tmp_path)
    probes = read_json(folder / "training.json")["curves"]["probes"]
    assert probes["cka"] == [None] * 3 and None not in probes["accuracy"]
    frame = measured(few, tmp_path, tasks=("a",))
    assert frame["cka"].null_count() == 3
    own = frame.filter(state="after").to_dicts()[0]
    assert None not in (own["accuracy"], own["circuit_accuracy"], own["seconds"])
    assert "takes at least 4 samples, and the usable pairs have 3" in caplog.text


def test_of_three_training_pairs_heads_have_no_cka(study, trained, tmp_path, caplog):
    for name in ("source", "target", "matched"):
        frame = read_frame(trained.folder / f"{name}.parquet")
        write_frame(frame, tmp_path / f"{name}.parquet")
    few = with_pairs(study, tmp_path, train=3)
    original = weights(read_json(study.model("source"))["path"])
    for variant, is_trained in (("matched-cka", False), ("ce-heads", True)):
        own = weights(distilled(few, tmp_path, variant))
        assert is_trained == any((own[name] != original[name]).any() for name in own)
    assert "stays as it is: no CKA for the variant matched-cka" in caplog.text
    # The biased estimator takes two.
    own = weights(distilled(few, tmp_path, estimator="biased"))
    assert any((own[name] != original[name]).any() for name in own)
    files = {
        f"{role}_pairs_path": few.pairs(model, "a")
        for role, model in (("student", "source"), ("teacher", "target"))
    }
    how = {"assignment": "many-to-one", "examples": 6, "batch_size": 2}
    how |= {"positions": "answer"}
    assert matched_heads(few, tmp_path, "cka", settings=how, **files).is_empty()
    assert "no heads are matched" in caplog.text


@pytest.mark.parametrize("by", ["nap", "effect"])
def test_critical_heads_are_the_first_of_the_ranking(study, tmp_path, by):
    scores = {"scores_path": study.scores("target", "a")} if by == "nap" else {}
    frame = read_frame(critical_heads(study, "target", tmp_path, by=by, **scores))
    chosen = frame.filter("critical")["head"].to_list()
    if by == "nap":
        found = read_scores(study.scores("target", "a"))
        named = zip(found.nodes, abs(found.scores), strict=True)
        ranked = sorted((-score, n) for n, score in named if n.startswith("a"))
        assert chosen == [name for _, name in ranked[:2]]
    else:
        assert chosen == frame.sort("effect", descending=True)["head"][:2].to_list()
    assert frame["effect"].to_list() == (frame["base"] - frame["ablated"]).to_list()


def test_path_patching_takes_the_marked_positions_of_answered_pairs(study, tmp_path):
    pairs = read_frame(study.pairs("target", "a"))
    paths = {"by": "paths", "metric": "accuracy"}
    with pytest.raises(ValueError, match="no marks, expected query, box"):
        critical_heads(study, "target", tmp_path, **paths)
    marks = [
        [{"name": "query", "positions": [2]}, {"name": "box", "positions": [1, 0]}]
        for _ in range(len(pairs))
    ]
    model = AutoModelForCausalLM.from_pretrained(
        read_json(study.model("target"))["path"]
    )
    with torch.no_grad():
        logits = model(torch.tensor(pairs["clean_ids"].to_list())).logits[:, -1]
    # What the model says is right.
    says = [[each] for each in logits.argmax(-1).tolist()]
    answered = pairs.with_columns(
        pl.Series(MARKS, marks), answer_ids=pl.Series(says, dtype=pl.List(pl.Int32))
    )
    marked = SimpleNamespace(
        model=study.model, pairs=lambda *_: tmp_path / "pairs.parquet"
    )
    write_frame(answered, tmp_path / "pairs.parquet")
    frame = read_frame(critical_heads(marked, "target", tmp_path, **paths, count=4))
    groups = frame["group"].unique(maintain_order=True).to_list()
    assert groups == [
        "value-fetcher",
        "position-transmitter",
        "position-detector",
        "structure-reader",
    ]
    chosen = frame.filter("critical").group_by("group", maintain_order=True).len()
    # Below the transmitter, which is in the first layer, there is no head.
    assert chosen.rows() == [("value-fetcher", 2), ("position-transmitter", 1)]
    write_frame(
        pairs.with_columns(
            pl.Series(MARKS, marks), answer_ids=pl.lit([29], pl.List(pl.Int32))
        ),
        tmp_path / "pairs.parquet",
    )
    with pytest.raises(ValueError, match="answers none of 4 pairs"):
        critical_heads(marked, "target", tmp_path, **paths)


def test_profiles_leave_out_tasks_without_scores(study, trained, tmp_path, caplog):
    for model in BOTH:
        write_frame(
            read_frame(trained.folder / f"{model}.parquet"),
            tmp_path / f"{model}.parquet",
        )
    how = {"assignment": "many-to-one"}
    files = [
        [study.scores(model, task) for task in ("a", "none", "b")]
        for model in ("target", "source")
    ]
    found = matched_heads(study, tmp_path, "profile", settings=how, scores=files)
    # Of two tasks, by rank: the mean difference of ranks, as shares of all heads.
    shares = []
    for model in ("source", "target"):
        columns = []
        for task in "ab":
            each = read_scores(study.scores(model, task))
            own = {
                n: s
                for n, s in zip(each.nodes, each.scores, strict=True)
                if n[0] == "a"
            }
            order = sorted(own, key=own.get)
            columns.append(
                {name: (order.index(name) + 0.5) / len(order) for name in order}
            )
        shares.append(columns)
    for row in found.iter_rows(named=True):
        gaps = [
            abs(s[row["student_head"]] - t[row["teacher_head"]])
            for s, t in zip(*shares, strict=True)
        ]
        assert row["distance"] == pytest.approx(np.mean(gaps))
    nothing = [[study.scores(model, "none")] for model in ("target", "source")]
    assert matched_heads(
        study, tmp_path, "profile", settings=how, scores=nothing
    ).is_empty()
    assert "nothing to compare heads by" in caplog.text


@pytest.mark.parametrize("source", ["source", "target"])
def test_an_alignment_of_either_direction_matches_heads(
    study, trained, tmp_path, source
):
    for model in BOTH:
        write_frame(
            read_frame(trained.folder / f"{model}.parquet"),
            tmp_path / f"{model}.parquet",
        )
    nodes = {model: read_json(study.model(model))["nodes"] for model in BOTH}
    target = "target" if source == "source" else "source"
    matrix = np.zeros((len(nodes[source]), len(nodes[target])), np.float32)
    own, other = (
        read_frame(tmp_path / f"{model}.parquet").filter("critical")["head"][:2]
        for model in BOTH
    )
    for one, two in zip(own, reversed(other), strict=True):
        rows = (one, two) if source == "source" else (two, one)
        matrix[nodes[source].index(rows[0]), nodes[target].index(rows[1])] = 1
    about = {"maps": ["free"], "source": source, "target": target}
    about |= {"source_nodes": nodes[source], "target_nodes": nodes[target]}
    write_alignment(tmp_path / "map", {"alignment": matrix}, about)
    how = {"assignment": "one-to-one"}
    found = matched_heads(
        study, tmp_path, "dfa", settings=how, alignment_path=tmp_path / "map"
    )
    assert found["teacher_head"].to_list() == other[::-1].to_list()
    assert found["distance"].to_list() == [0, 0]


def test_activations_are_compared_on_the_pairs_of_both_models(study, trained, tmp_path):
    for model in BOTH:
        write_frame(
            read_frame(trained.folder / f"{model}.parquet"),
            tmp_path / f"{model}.parquet",
        )
    files = {
        f"{role}_pairs_path": study.pairs(model, "a")
        for role, model in (("student", "source"), ("teacher", "target"))
    }
    how = {
        "assignment": "many-to-one",
        "examples": 6,
        "batch_size": 2,
        "positions": "answer",
    }
    found = matched_heads(study, tmp_path, "cka", settings=how, **files)
    assert len(found) == 2 and found["rank"].to_list() == [1, 1]
    costs = read_json(tmp_path / "cost.json")
    assert [(row["model"], row["forwards"]) for row in costs] == [
        ("source", 6),
        ("target", 6),
    ]


def test_logits_are_not_compared_where_tokens_differ(study, trained, tmp_path):
    write_frame(
        read_frame(trained.folder / "matched.parquet"), tmp_path / "matched.parquet"
    )
    pairs = read_frame(study.pairs("source", "a"))
    other = pairs.with_columns(pl.col("clean_ids").list.eval(pl.element() + 1))
    write_frame(other, tmp_path / "pairs.parquet")
    shifted = SimpleNamespace(
        model=study.model,
        pairs=lambda model, task: (
            tmp_path / "pairs.parquet"
            if model == "source"
            else study.pairs(model, task)
        ),
    )
    with pytest.raises(ValueError, match="cut the prompts into other tokens"):
        distilled(shifted, tmp_path, "logits")
    distilled(shifted, tmp_path, "ce-heads")
