"""Planted models are saved, and edge scores are compared with the truth."""

import numpy as np
import polars as pl
import pytest
import torch
from describe_model import describe_model
from plant_model import plant_model
from score_planted import score_planted
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from circuit_transfer.artifacts.edge_masks import write_edge_masks
from circuit_transfer.artifacts.edge_scores import write_edge_scores
from circuit_transfer.artifacts.scores import write_scores
from circuit_transfer.artifacts.text import read_json
from circuit_transfer.circuits.recovery import learned_size, recovery
from circuit_transfer.embedded.planted.settings import CONSTRUCTIONS, GENERATORS
from circuit_transfer.generators import generate_prompts, read_words
from circuit_transfer.models.edges import KV, config_graph

DATA = {"words_path": "data/words.yaml", "facts_path": "data/facts.csv"}
ACCURACY = {"subspaces": 0.8, "induction": 1, "relays": 1, "gates": 1, "backup": 1}


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """A function that plants a model and returns its folder."""
    torch.set_num_threads(1)

    def make(construction, **settings):
        folder = tmp_path_factory.mktemp(construction)
        entry = {"construction": construction, **settings}
        truth = folder / "checkpoint/truth.json"
        plant_model(truth, model=construction, entry=entry, **DATA)
        description = folder / "model.json"
        describe_model(
            description,
            model=construction,
            checkpoint=truth.parent,
            load={},
            record_path=truth,
        )
        return folder

    return make


@pytest.mark.parametrize("construction", CONSTRUCTIONS)
def test_a_planted_checkpoint_answers_the_prompts_of_its_generator(
    planted, construction
):
    folder = planted(construction)
    model = AutoModelForCausalLM.from_pretrained(folder / "checkpoint")
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder / "checkpoint")
    pairs = generate_prompts(
        GENERATORS[construction], read_words(**DATA), "test", 50, seed=0
    )
    right = 0
    for pair in pairs.iter_rows(named=True):
        answer, wrong = (
            tokenizer(pair[key][0]).input_ids for key in ("answers", "wrong_answers")
        )
        assert len(answer) == len(wrong) == 1
        logits = model(torch.tensor([tokenizer(pair["clean"]).input_ids])).logits
        right += (logits[0, -1, answer] > logits[0, -1, wrong]).item()
    assert right / 50 >= ACCURACY[construction]


def test_the_truth_names_edges_of_the_model_by_corruption_and_kv(planted):
    folder = planted("subspaces", seed=3, layers=1)
    truth = read_json(folder / "checkpoint/truth.json")
    assert truth["settings"] == {"construction": "subspaces", "seed": 3, "layers": 1}
    model = AutoModelForCausalLM.from_pretrained(folder / "checkpoint")
    for kv in KV:
        names = config_graph(model.config, kv).edge_names()
        assert 0 < len(truth["circuits"]["late"][kv]) < len(names)
        assert set(truth["circuits"]["late"][kv]) <= set(names)
    kinds = read_json(planted("induction") / "checkpoint/truth.json")["circuits"]
    sizes = {kind: len(edges["kv-head"]) for kind, edges in kinds.items()}
    assert sizes == {"mix": 5, "query": 2, "key": 3, "value": 2}


def test_the_truth_names_the_alternatives_where_parts_back_each_other_up(planted):
    truth = read_json(planted("backup", layers=2) / "checkpoint/truth.json")
    for kv in KV:
        groups = truth["alternatives"]["late"][kv]
        assert [len(group) for group in groups] == [2, 3]
        named = {name for group in groups for edges in group for name in edges}
        assert named < set(truth["circuits"]["late"][kv])
    other = read_json(planted("relays") / "checkpoint/truth.json")
    assert other["alternatives"] == {}


def test_what_cannot_be_measured_is_null():
    scores, all_edges = np.array([1.0, 2.0]), np.array([True, True])
    assert recovery(scores, all_edges)["auroc"] is None
    assert recovery(scores, all_edges)["recall"] == 1
    unusable = recovery(scores * np.nan, np.array([True, False]))
    assert set(unusable.values()) == {None}


def test_equal_entries_give_equal_checkpoints(planted):
    first, second = (
        (planted("gates", seed=5) / "checkpoint/model.safetensors").read_bytes()
        for _ in range(2)
    )
    assert first == second


def test_scores_are_compared_with_the_circuit_of_their_task(planted, tmp_path):
    folder = planted("induction", sharpness=6)
    config = AutoModelForCausalLM.from_pretrained(folder / "checkpoint").config
    graph = config_graph(config)
    truth = read_json(folder / "checkpoint/truth.json")["circuits"]["value"]
    names = graph.edge_names()
    # One edge of the circuit of two works against the answer, the other is second.
    values = np.zeros(len(names), np.float32)
    values[names.index(truth["query-head"][0])] = -5
    values[names.index(truth["query-head"][1])] = 2
    values[names.index("input->logits")] = 3
    scores, nodes = tmp_path / "edges.safetensors", tmp_path / "nodes.safetensors"
    labels = {"model": "induction", "task": "swapped", "kv": "query-head"}
    write_edge_scores(
        scores,
        graph.matrix(values),
        legal=graph.legal,
        writers=graph.writers,
        readers=graph.readers,
        method="eap",
        **labels,
    )
    by_node = np.arange(len(graph.writers) - 1, dtype=np.float32)
    write_scores(nodes, by_node, nodes=graph.writers[1:], method="nap", **labels)
    frame = tmp_path / "planted.parquet"
    tables = [tmp_path / f"planted.{suffix}" for suffix in ("csv", "tex", "html")]
    score_planted(
        [folder / "checkpoint/truth.json"],
        [folder / "model.json"],
        [scores],
        frame,
        tables,
        counterfactuals={"swapped": "value"},
        node_scores_paths=[nodes],
    )
    found = pl.read_parquet(frame)
    assert set(found["n_true"]) == {2} and set(found["n_edges"]) == {len(names)}
    edges = found.filter(control="none")
    others = len(names) - 2
    # Signed: one is last, the other after one edge; absolute: first and third.
    signed, absolute = edges["auroc"]
    assert signed == pytest.approx((others - 1) / (2 * others))
    assert absolute == pytest.approx((2 * others - 1) / (2 * others))
    assert edges["precision"].to_list() == edges["recall"].to_list() == [0.5, 0.5]
    # Visible are, signed, an edge of each kind, and of all sizes the three.
    assert edges["visible_precision"].to_list() == [0.5, pytest.approx(2 / 3)]
    assert edges["visible_recall"].to_list() == [0.5, 1.0]
    assert found.filter(control="lifted")["method"].to_list() == ["nap", "nap"]
    table = pl.read_csv(tables[0])
    assert table["planted"].unique().to_list() == ["induction, sharpness 6"]
    assert set(table["method"]) == {"eap", "nap, lifted"}


def test_learned_circuits_are_compared_with_the_circuit_and_its_alternatives(
    planted, tmp_path
):
    folder = planted("backup", seed=1)
    truth = read_json(folder / "checkpoint/truth.json")
    circuit = truth["circuits"]["late"]["query-head"]
    either, repair = truth["alternatives"]["late"]["query-head"]
    config = AutoModelForCausalLM.from_pretrained(folder / "checkpoint").config
    graph = config_graph(config)
    names = graph.edge_names()
    # Both of one pair, and nothing of the other; and an edge that does nothing.
    kept = {*circuit} - {name for edges in repair for name in edges} | {"input->m0"}
    scores = np.random.default_rng(0).normal(size=(3, len(names))).astype(np.float32)
    scores[1] = [name in kept for name in names]
    # The filter loses an edge that is needed, and two of a head that has a backup.
    alone = {*circuit}.difference(*either, *repair)
    needed = len(alone) + len(either[0]) + len(repair[1])
    lost = {*repair[0][:2], min(alone)}
    filtered = np.array([name not in lost for name in names], np.uint8)
    share = len(circuit) / len(names)
    sizes = [2 * share, share, share / 2]
    paths = [tmp_path / f"seed-{seed}.safetensors" for seed in (0, 7)]
    for seed, path in zip((0, 7), paths, strict=True):
        write_edge_masks(
            path,
            scores,
            scores > 0,
            sizes=sizes,
            open_share=np.full(3, len(kept) / len(names), np.float32),
            curves={},
            extras={"filtered": filtered},
            **graph.description() | {"legal": graph.legal},
            model="backup",
            task="classes",
            method="hap",
            seed=seed,
        )
    frame = tmp_path / "planted.parquet"
    tables = [tmp_path / f"planted.{suffix}" for suffix in ("csv", "tex", "html")]
    score_planted(
        [folder / "checkpoint/truth.json"],
        [folder / "model.json"],
        [],
        frame,
        tables,
        counterfactuals={"classes": "late"},
        masks_paths=paths,
    )
    found = pl.read_parquet(frame)
    assert found["seed"].to_list() == [0, 0, 7, 7]
    assert found["ranking"].to_list() == ["signed", "open"] * 2
    ranked, is_open = found.head(2).iter_rows(named=True)
    assert ranked["auroc"] > 0.6 and ranked["visible_recall"] is None
    assert is_open["precision"] == pytest.approx(1 - 1 / len(kept))
    # A head of the pair that is gone would have taken two edges.
    right = len(kept) - 1 - len(either[0])
    assert is_open["recall"] == pytest.approx(right / (right + len(repair[0])))
    assert is_open["filter_recall"] == pytest.approx(1 - 1 / needed)
    assert ranked["filter_recall"] is None
    counts = [is_open[name] for name in ("none_kept", "one_kept", "several_kept")]
    assert counts == [1, 0, 1]
    (row,) = pl.read_csv(tables[0]).filter(ranking="open").iter_rows(named=True)
    assert (row["none_kept"], row["one_kept"], row["several_kept"]) == (2, 0, 2)
    assert row["models"] == 1
    assert row["filter_recall"] == pytest.approx(1 - 1 / needed)


def test_the_size_of_a_learned_circuit_is_the_smallest_that_holds_the_planted_one():
    assert learned_size([0.1, 0.3, 0.2], 0.15) == 2
    assert learned_size([0.1, 0.3, 0.2], 0.3) == 1
    assert learned_size([0.1, 0.3, 0.2], 0.4) == 1
