"""DiscoGP: what it learns of planted models, and of a random one."""

import copy

import numpy as np
import pytest
import torch
from planted_cases import planted_case, split_batch, unrotate_
from small import measured

from circuit_transfer.circuits.edge_runs import ZERO_NODES
from circuit_transfer.interventions import answer_logits
from circuit_transfer.jobs.resume import NO_RESUME, Resume
from circuit_transfer.models.edges import config_graph
from circuit_transfer.prompts.batches import pair_batches
from circuit_transfer.pruning.discogp_gates import EDGE, WEIGHT
from circuit_transfer.pruning.discogp_settings import DiscoGP
from circuit_transfer.pruning.discogp_training import Training
from circuit_transfer.pruning.joint_circuits import JointCircuits, input_edges
from circuit_transfer.pruning.learned import learn_edges
from circuit_transfer.pruning.weight_masks import (
    maskable_weights,
    unpack_masks,
)

COUNTERFACTUAL = "counterfactual"


def learn(model, batches, graph, seed=0, resume=NO_RESUME, **settings):
    how = {"settings": {"discogp": settings}, "seed": seed, "resume": resume}
    return learn_edges("discogp", model, batches, graph, **how)


@pytest.fixture(scope="module")
def induction():
    planted, model, batch = planted_case({"construction": "induction"}, 96, kind="mix")
    test = planted_case({"construction": "induction"}, 96, "test", kind="mix")[2]
    graph = config_graph(model.config)
    truth = np.isin(graph.edge_names(), planted.circuits["mix"]["query-head"])
    return model, split_batch(batch, 16), [test], graph, truth


@pytest.mark.parametrize(
    ("ablation", "kind"), [("zero", ZERO_NODES), (COUNTERFACTUAL,) * 2]
)
def test_edges_of_a_planted_induction_head_are_found(induction, ablation, kind):
    model, train, test, graph, truth = induction
    how = {"masks": "edges", "edge_steps": 200, "faithfulness": "answer"}
    found = learn(model, train, graph, ablation=ablation, **how)
    inputs = input_edges(graph) & (ablation == "zero")
    assert found.kept[0].tolist() == (truth | inputs).tolist()
    (row,) = measured(model, test, graph, found.kept, kind)
    assert row["right_above_wrong"] == row["accuracy"] == 1
    assert row["kl"] < 1e-4
    assert row["edge_density"] == found.kept.mean()
    assert found.open_share.tolist() == pytest.approx([row["edge_density"]])
    # Chance between two answers; the corrupted prompts have the other one.
    chance = 0.5 if ablation == "zero" else 0
    assert row["complement_right_above_wrong"] == pytest.approx(chance, abs=0.12)


def test_edges_of_planted_subspaces_suffice_and_their_complement_is_at_chance():
    entry = {"construction": "subspaces", "seed": 7, "constant": 100.0}
    planted, model, batch = planted_case(entry, 96)
    graph = config_graph(model.config)
    names = planted.circuits["late"]["query-head"]
    truth = np.isin(graph.edge_names(), names)
    assert "input->logits" not in names
    how = {"masks": "edges", "edge_steps": 300, "faithfulness": "answer"}
    # A small graph: the weight of each edge in the mean is large.
    how |= {"edge_density_max": 10.0}
    found = learn(model, split_batch(batch, 16), graph, **how)
    free = input_edges(graph)
    kept = found.kept[0] & ~free
    assert (kept & ~truth).sum() == 0 < kept.sum() <= 2 * (truth & ~free).sum()
    test = planted_case(entry, 96, "test")[2]
    row, true, full = measured(
        model, [test], graph, [found.kept[0], truth, truth | True], ZERO_NODES
    )
    assert row["right_above_wrong"] == true["right_above_wrong"] == 1
    assert full["kl"] < 1e-5 and full["edge_density"] == full["weight_density"] == 1
    for each in (row, true, full):
        assert each["complement_right_above_wrong"] == pytest.approx(0.5, abs=0.02)


def needed_weights(model):
    """Return which weights the induction head consists of, by parameter."""
    needed = {name: torch.zeros_like(w) for name, w in maskable_weights(model).items()}
    width = 16
    for layer in (0, 1):
        own = f"model.layers.{layer}.self_attn."
        needed[own + "q_proj.weight"][:width] = 1
        for kind in "kv":
            needed[own + f"{kind}_proj.weight"][:] = 1
        needed[own + "o_proj.weight"][:, :width] = 1
    return {
        name: (each > 0) & (model.get_parameter(name) != 0)
        for name, each in needed.items()
    }


def test_weights_of_a_planted_induction_head_are_found_where_no_rotation_hides_them(
    induction,
):
    _, train, test, graph, _ = induction
    model = planted_case({"construction": "induction"}, 1, kind="mix")[1]
    unrotate_(model, seed=0)
    truth = needed_weights(model)
    everything = np.ones(graph.n_edges, bool)
    how = {"masks": "weights", "weight_steps": 300, "faithfulness": "answer"}
    found = learn(model, train, graph, **how)
    masks = unpack_masks(found.tensors, found.notes["weight_shapes"])
    rows = measured(
        model, test, graph, [everything] * 2, ZERO_NODES, weights=[truth, masks]
    )
    assert rows[0]["kl"] < 1e-4 and rows[0]["right_above_wrong"] == 1
    assert rows[1]["right_above_wrong"] >= 0.95
    assert rows[1]["complement_right_above_wrong"] == pytest.approx(0.5, abs=0.05)
    right = sum(int((masks[name] & truth[name]).sum()) for name in truth)
    wrong = sum(int((masks[name] & ~truth[name]).sum()) for name in truth)
    assert wrong == 0 and right >= 0.9 * sum(int(x.sum()) for x in truth.values())


@pytest.fixture
def tiny(tiny_model, tiny_pairs):
    model = tiny_model("llama").requires_grad_(False)
    return model, pair_batches(tiny_pairs(7), 2), config_graph(model.config)


def test_open_gates_are_the_full_model(tiny):
    model, batches, graph = tiny
    weights = maskable_weights(model)
    gated = torch.ones(graph.n_edges, dtype=bool)
    circuits = JointCircuits(model, batches, graph, ZERO_NODES, other_weights=True)
    training = Training(circuits, weights, gated, DiscoGP(), seed=0)
    with torch.no_grad():
        for _, logits in training.gates.named():
            logits.fill_(100.0)
    gates = training.gates.drawn((WEIGHT, EDGE), 0)
    edges, own = training.side(gates)
    assert all(torch.equal(own[name], each) for name, each in weights.items())
    nothing, none = training.side(gates, complement=True)
    assert not nothing.any() and not any(each.any() for each in none.values())
    for joint in circuits:
        full = answer_logits(model, joint.batch.clean)
        assert torch.equal(joint.logits(None, own), full)
        torch.testing.assert_close(joint.logits(edges, own), full, rtol=0, atol=1e-5)


class Interrupted(Resume):
    """Fails right after so many steps have been saved."""

    def __init__(self, folder, steps):
        super().__init__(folder, {"stage": "of a test"}, seconds=0)
        self.left = steps

    def save(self, **how):
        super().save(**how)
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


@pytest.mark.parametrize("order", ["joint", "weights-first"])
@pytest.mark.parametrize("steps", [3, 6, 8])
def test_an_interrupted_training_resumes_to_the_same_bytes(
    tiny, order, steps, tmp_path
):
    how = {"order": order, "weight_steps": 6, "edge_steps": 5, "logits": True}
    how |= {"edge_learning_rate": 0.6, "weight_learning_rate": 1.0}
    if order == "joint":
        how |= {"weight_steps": 11}
    before = copy.deepcopy(tiny[0].state_dict())
    expected = learn(*tiny, **how)
    with pytest.raises(KeyboardInterrupt):
        learn(*tiny, **how, resume=Interrupted(tmp_path / "state", steps))
    resume = Resume(tmp_path / "state", {"stage": "of a test"})
    found = learn(*tiny, **how, resume=resume)
    assert found.scores.tobytes() == expected.scores.tobytes()
    assert found.notes == expected.notes
    for part in ("curves", "tensors"):
        own, others = getattr(found, part), getattr(expected, part)
        assert own.keys() == others.keys()
        assert all(
            own[name].tobytes() == each.tobytes() for name, each in others.items()
        )
    # The model's own parameters are never written.
    after = tiny[0].state_dict()
    assert all(torch.equal(after[name], each) for name, each in before.items())
    assert all(each.grad is None for each in tiny[0].parameters())
    other = learn(*tiny, seed=1, **how)
    assert other.scores.tobytes() != expected.scores.tobytes()


def test_what_is_learned_has_densities_curves_and_masks_of_every_weight(tiny):
    model, _, graph = tiny
    how = {"weight_steps": 9, "weight_learning_rate": 1.0, "edge_learning_rate": 0.6}
    found = learn(*tiny, **how, logits=True)
    masks = unpack_masks(found.tensors, found.notes["weight_shapes"])
    weights = maskable_weights(model)
    assert {k: v.shape for k, v in masks.items()} == {
        k: v.shape for k, v in weights.items()
    }
    total = sum(each.numel() for each in masks.values())
    share = sum(int(each.sum()) for each in masks.values()) / total
    assert found.notes["weight_density"] == share < 1
    for name, mask in masks.items():
        logits = found.tensors[f"weight-logits/{name}"]
        assert logits.dtype == np.float16
        assert ((logits > 0) == mask.numpy()).mean() > 0.99
    assert found.notes["sizes"] == [found.kept.mean()] == [found.notes["edge_density"]]
    assert found.kept[0, input_edges(graph)].all()
    order = np.argsort(-found.scores[0])
    assert found.kept[0, order[: found.kept.sum()]].all()
    names = {"loss", "faithfulness", "completeness", "kl", "weight_density"}
    assert found.curves.keys() == names | {"open_share"}
    assert all(each.shape == (1, 9) for each in found.curves.values())
    assert found.curves["weight_density"][0, -1] == pytest.approx(share)
    assert found.curves["open_share"][0, -1] == pytest.approx(found.kept.mean())


def test_masks_of_weights_alone_keep_all_edges_and_rank_none(tiny):
    how = {"masks": "weights", "weight_steps": 6, "weight_learning_rate": 1.0}
    found = learn(*tiny, **how)
    assert found.kept.all() and np.isnan(found.scores).all()
    assert found.notes["weight_density"] < 1


def test_a_circuit_that_is_empty_is_refused_with_the_remedy(tiny):
    how = {"edge_steps": 60, "edge_learning_rate": 1.0, "completeness": 0.0}
    with pytest.raises(
        ValueError, match=r"empty, no edge .*edge_density_max \(now 1e\+06"
    ):
        learn(*tiny, masks="edges", edge_density_max=1e6, edge_warmup=0.0, **how)
    how = {"weight_steps": 60, "weight_learning_rate": 1.0, "completeness": 0.0}
    with pytest.raises(ValueError, match="no weight is left .* weight_steps"):
        learn(*tiny, masks="weights", weight_density=1e9, **how)


def test_masks_that_prune_nothing_are_refused_with_the_remedy(tiny):
    with pytest.raises(ValueError, match="nothing was pruned.* larger pruning.discogp"):
        learn(*tiny, masks="edges", edge_steps=2)


def test_a_loss_that_is_not_a_number_is_refused_with_the_remedy(tiny):
    model = tiny[0]
    model.get_parameter("model.norm.weight").data[0] = torch.nan
    with pytest.raises(ValueError, match="the loss is nan in step 1 .*learning_rate"):
        learn(*tiny, masks="edges", edge_steps=2)
    with pytest.raises(ValueError, match="no training pairs"):
        learn(model, [], tiny[2])
