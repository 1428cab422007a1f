"""Circuits that do not all fit into a pass: they take turns, and change nothing."""

import numpy as np
import psutil
import pytest
import torch
from small import SIZES, section

from circuit_transfer.benchmarking.measure import peak_memory
from circuit_transfer.circuits.passes import measured
from circuit_transfer.models.edges import KV_HEAD, config_graph
from circuit_transfer.models.shape import model_shape
from circuit_transfer.prompts.batches import pair_batches
from circuit_transfer.pruning import side_by_side, training
from circuit_transfer.pruning.learned import learn_edges
from circuit_transfer.pruning.memory import circuit_bytes, fitting_circuits

# Few steps, in which rounding cannot grow.
FAST = {"steps": 5, "learning_rate": 0.5}
TRAINED = {"multiplier": "trained", "multiplier_rate": 40, "init": 0.0}


@pytest.fixture(scope="module")
def case(tiny_model, tiny_pairs):
    model = tiny_model("llama").requires_grad_(False)
    batches = pair_batches(tiny_pairs(8), 3)
    return model, batches, config_graph(model.config, KV_HEAD)


@pytest.fixture
def learn(case, monkeypatch):
    """Return a function that learns with so many bytes of room, and watches passes."""

    def run(method, room, **own):
        passes, original = [], training.soft_edge_logits

        def watch(model, runs, plan, masks, storage):
            passes.append(len(masks))
            return original(model, runs, plan, masks, storage)

        monkeypatch.setattr(training, "soft_edge_logits", watch)
        monkeypatch.setattr(side_by_side, "PASS_BYTES", room)
        settings = section(method, (*SIZES, 0.1), **FAST, **own)
        with measured("", "tiny", case[0]) as cost:
            found = learn_edges(method, *case, settings=settings, seed=0)
        monkeypatch.undo()
        return found, passes, cost | {"seconds": 0}

    return run


@pytest.mark.parametrize(
    ("method", "own"),
    [
        ("edge-pruning", {}),
        ("edge-pruning", TRAINED | {"node_gates": True}),
        ("node-pruning", {}),
        ("soft-top-k", {"draws": 3}),
    ],
)
@pytest.mark.parametrize("at_once", [1, 2])
def test_circuits_that_take_turns_are_those_that_run_together(
    case, learn, method, own, at_once
):
    model, batches, graph = case
    shape = model_shape(model.config)
    smallest = min(batches, key=lambda each: each.clean.numel()).clean.shape
    room = at_once * circuit_bytes(shape, graph.kv, *smallest)
    whole, together, cost = learn(method, 2**40, **own)
    parts, turns, same_cost = learn(method, room, **own)
    assert {*together} == {3} and max(turns) == at_once
    assert sum(turns) == sum(together) and cost == same_cost
    # Not the same bytes: how many rows a product has decides the order of its sums.
    close = {"rtol": 1e-4, "atol": 1e-4}
    for name, curve in whole.curves.items():
        np.testing.assert_allclose(parts.curves[name], curve, **close, err_msg=name)
    np.testing.assert_allclose(parts.scores, whole.scores, **close)


def test_a_circuit_runs_even_where_none_fits(case):
    model, _, graph = case
    shape = model_shape(model.config)
    bytes_of_one = circuit_bytes(shape, graph.kv, 2, 5)
    fitting = [
        fitting_circuits(shape, graph.kv, 2, 5, room)
        for room in (0, bytes_of_one, 4 * bytes_of_one - 1, 4 * bytes_of_one)
    ]
    assert fitting == [1, 1, 3, 4]


def test_room_is_a_share_of_the_memory_of_the_device(monkeypatch):
    half = psutil.virtual_memory().total // 2
    monkeypatch.setattr(side_by_side, "PASS_BYTES", 2 * half)
    assert side_by_side.room_on(torch.device("cpu")) == pytest.approx(half, rel=0.01)
    monkeypatch.setattr(side_by_side, "PASS_BYTES", 1000)
    assert side_by_side.room_on(torch.device("cpu")) == 1000


def test_turns_take_less_memory(tiny_model, tiny_pairs, monkeypatch):
    model = tiny_model("llama", layers=6, intermediate_size=128).requires_grad_(False)
    case = model, pair_batches(tiny_pairs(32), 16), config_graph(model.config, KV_HEAD)
    settings = section("soft-top-k", steps=2, draws=6)

    def run():
        learn_edges("soft-top-k", *case, settings=settings, seed=0)

    together = peak_memory(run, model.device)
    monkeypatch.setattr(side_by_side, "PASS_BYTES", 1)
    # What is cached for all of them stays.
    assert peak_memory(run, model.device) < 0.5 * together
