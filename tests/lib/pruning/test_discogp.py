"""DiscoGP on planted models, and each of its parts against closed forms."""

import copy
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from planted_cases import planted_case, split_batch, unrotate_
from reference import embed
from reference_edges import ablated_outputs, run_edges
from scipy.stats import kstest, logistic

from circuit_transfer.artifacts.edge_masks import write_edge_masks
from circuit_transfer.circuits.edge_faithfulness import evaluate_edge_masks
from circuit_transfer.circuits.edge_runs import ZERO_NODES, run_edge_circuits
from circuit_transfer.interventions import answer_logits
from circuit_transfer.interventions.other_weights import with_weights
from circuit_transfer.jobs.resume import NO_RESUME, Resume
from circuit_transfer.models.edges import config_graph
from circuit_transfer.models.loading import load_model
from circuit_transfer.prompts.batches import PairBatch, pair_batches
from circuit_transfer.pruning.discogp_gates import EDGE, WEIGHT
from circuit_transfer.pruning.discogp_losses import (
    right_answer_loss,
    same_answers_loss,
    uniform_loss,
)
from circuit_transfer.pruning.discogp_measures import measure_discogp
from circuit_transfer.pruning.discogp_settings import DiscoGP, discogp_settings
from circuit_transfer.pruning.discogp_training import Training
from circuit_transfer.pruning.joint_circuits import JointCircuits, input_edges
from circuit_transfer.pruning.learned import learn_edges
from circuit_transfer.pruning.straight_through import logistic_noise, straight_through
from circuit_transfer.pruning.weight_masks import (
    density,
    maskable_weights,
    masked_weights,
    pack_masks,
    unpack_masks,
)

COUNTERFACTUAL = "counterfactual"


def learn(model, batches, graph, seed=0, resume=NO_RESUME, **settings):
    how = {"settings": {"discogp": settings}, "seed": seed, "resume": resume}
    return learn_edges("discogp", model, batches, graph, **how)


def measured(model, batches, graph, masks, ablation, weights=None):
    masks = np.atleast_2d(masks)
    labels = pl.DataFrame({"circuit": np.arange(len(masks))})
    how = {"ablation": ablation, "weights": weights}
    return measure_discogp(model, batches, graph, labels, masks, **how).rows(named=True)


# Gates


def test_noise_is_logistic_and_gates_open_with_the_probability_of_their_logits():
    generator = torch.Generator().manual_seed(0)
    noise = logistic_noise((20000,), generator)
    assert kstest(noise.numpy(), logistic.cdf).pvalue > 0.01
    for logit in (-2.0, 0.0, 1.0):
        gates = straight_through(torch.full((20000,), logit), noise, 0.01)
        assert set(gates.tolist()) == {0.0, 1.0}
        expected = 1 / (1 + np.exp(-logit))
        assert gates.mean().item() == pytest.approx(expected, abs=0.012)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_gates_have_the_gradient_of_their_relaxation(temperature):
    logits = torch.linspace(-3, 3, 13, dtype=torch.float64, requires_grad=True)
    noise = torch.linspace(1, -2, 13, dtype=torch.float64)
    gates = straight_through(logits, noise, temperature)
    assert torch.equal(gates, (logits + noise > 0).double())
    (found,) = torch.autograd.grad(gates.sum(), logits)
    relaxed = 1 / (1 + torch.exp(-(logits + noise) / temperature))
    torch.testing.assert_close(found, relaxed * (1 - relaxed) / temperature)
    high, low = (
        torch.sigmoid((logits + step + noise) / temperature) for step in (1e-6, -1e-6)
    )
    torch.testing.assert_close(found, (high - low) / 2e-6, rtol=1e-6, atol=1e-8)


# Losses


def test_losses_are_cross_entropies_among_the_answers_that_there_are():
    logits = torch.tensor([[1.0, 3.0, 0.5, -1.0, 9.0], [0.2, 0.1, 2.0, 1.0, 9.0]])
    other = torch.tensor([[0.0, 1.0, 2.0, 0.0, 0.0], [1.0, 0.0, 0.0, 3.0, 0.0]])
    batch = PairBatch(
        torch.zeros(2, 1),
        torch.zeros(2, 1),
        torch.tensor([[1, 0], [3, -1]]),
        torch.tensor([[2], [0]]),
    )
    rows = [(logits[0, [1, 0, 2]], other[0, [1, 0, 2]], 2), (logits[1, [3, 0]],) * 1]
    rows[1] = (logits[1, [3, 0]], other[1, [3, 0]], 1)
    right, uniform, same = [], [], []
    for own, target, count in rows:
        shares = own.exp() / own.exp().sum()
        right.append(-shares[:count].sum().log())
        uniform.append(-shares.log().mean())
        same.append(-(target.exp() / target.exp().sum() * shares.log()).sum())

    def mean(values):
        return torch.stack(values).mean()

    torch.testing.assert_close(right_answer_loss(batch, logits), mean(right))
    torch.testing.assert_close(uniform_loss(batch, logits), mean(uniform))
    torch.testing.assert_close(same_answers_loss(batch, logits, other), mean(same))


def test_the_weight_of_the_density_rises_and_falls_as_published():
    settings = discogp_settings({"preset": "paper"})
    edges = [settings.density_weight("edge", d) for d in (0, 0.1, 0.2, 0.3, 0.4, 1)]
    assert edges == pytest.approx([1, 50.5, 100, 50.005, 0.01, 0.01])
    weights = [settings.density_weight("weight", d) for d in (0, 0.5, 0.999)]
    assert weights == pytest.approx([1, 500.5, 999.001])
    assert (settings.weight_temperature, settings.edge_temperature) == (0.01, 1)
    assert (settings.weight_init, settings.edge_init) == (1, 1)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"masks": "heads"}, "masks is heads; expected one of both, weights, edges"),
        ({"preset": "large"}, "preset is large; expected one of small, paper"),
        ({"edge_steps": 0}, "edge_steps is 0; expected above 0"),
        ({"weight_density_max": -1}, "weight_density_max is -1; expected 0 or above"),
        ({"edge_warmup": 2}, "edge_warmup is 2; expected a share of the steps"),
        ({"temperature": 1}, "temperature: there is no such setting; expected one of"),
    ],
)
def test_bad_settings_are_refused(section, message):
    with pytest.raises(ValueError, match=message):
        discogp_settings(section)


def test_a_setting_that_is_null_has_the_value_of_the_preset():
    found = discogp_settings({"preset": None, "masks": None, "edge_steps": 7})
    assert found == DiscoGP(edge_steps=7)


# Joint circuits

FAMILIES = ["llama", "gemma2", "gpt2", "gpt_neox", "phi3"]


def random_circuit(model, graph, dtype, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def drawn(shape):
        return torch.rand(shape, generator=generator, dtype=torch.float64).to(dtype)

    weights = maskable_weights(model)
    masks = {name: drawn(each.shape) for name, each in weights.items()}
    return drawn((graph.n_edges,)), masks


@pytest.mark.parametrize("ablation", [ZERO_NODES, COUNTERFACTUAL])
@pytest.mark.parametrize("family", FAMILIES)
def test_joint_circuits_equal_a_stream_for_every_reader(
    tiny_model, tiny_pairs, family, ablation
):
    model = tiny_model(family).requires_grad_(False)
    graph, batches = config_graph(model.config), pair_batches(tiny_pairs(4), 2)
    edges, masks = random_circuit(model, graph, torch.float32)
    circuits = JointCircuits(model, batches, graph, ablation, other_weights=True)
    other = copy.deepcopy(model)
    for name, mask in masks.items():
        other.get_parameter(name).mul_(mask)
    matrix = torch.from_numpy(graph.matrix(edges.double().numpy(), 0.0))
    for joint in circuits:
        clean = joint.batch.clean
        if ablation == ZERO_NODES:
            ablated = dict.fromkeys(graph.writers, 0.0) | {"input": embed(model, clean)}
        else:
            ablated = ablated_outputs(model, joint.batch.corrupted)
        expected = run_edges(other, clean, ablated, matrix)[0]
        weights = masked_weights(maskable_weights(model), masks)
        found = joint.logits(edges, weights)
        torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("ablation", [ZERO_NODES, COUNTERFACTUAL])
def test_gradients_of_edges_and_weights_are_those_of_finite_differences(
    tiny_model, tiny_pairs, ablation
):
    # LayerNorm, which transformers computes in float64.
    model = tiny_model("gpt2", dtype=torch.float64).requires_grad_(False)
    graph, batches = config_graph(model.config), pair_batches(tiny_pairs(2), 2)
    edges, masks = random_circuit(model, graph, torch.float64)
    circuits = JointCircuits(model, batches, graph, ablation, other_weights=True)
    joint, theta = circuits[0], maskable_weights(model)
    generator = torch.Generator().manual_seed(1)

    def loss(edges, masks):
        logits = joint.logits(edges, masked_weights(theta, masks))
        return right_answer_loss(joint.batch, logits)

    edges.requires_grad_()
    masks = {name: each.requires_grad_() for name, each in masks.items()}
    loss(edges, masks).backward()
    for name, own in ({"edges": edges} | masks).items():
        direction = torch.randn(own.shape, generator=generator, dtype=torch.float64)
        ends = []
        for sign in (-1, 1):
            # Logits are in float32.
            moved = own.detach() + sign * 1e-2 * direction / direction.norm()
            with torch.no_grad():
                changed = masks | {name: moved} if name in masks else masks
                ends.append(loss(edges if name in masks else moved, changed).item())
        expected = (ends[1] - ends[0]) / 2e-2
        found = (own.grad * direction).sum().item() / direction.norm().item()
        assert found == pytest.approx(expected, rel=5e-3, abs=2e-4), name


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2"])
def test_zero_ablation_that_keeps_the_embeddings_with_weights_replaced(
    tiny_model, tiny_pairs, family
):
    model = tiny_model(family).requires_grad_(False)
    graph, batches = config_graph(model.config), pair_batches(tiny_pairs(4), 2)
    rng = np.random.default_rng(0)
    kept = np.stack([rng.random(graph.n_edges) < share for share in (0.05, 0.9)])
    masks = {
        k: v > 0.3 for k, v in random_circuit(model, graph, torch.float32)[1].items()
    }
    weights = masked_weights(maskable_weights(model), masks)
    how = {"ablation": ZERO_NODES}
    found = with_weights(
        model, weights, lambda: run_edge_circuits(model, batches, graph, kept, **how)
    )
    circuits = JointCircuits(model, batches, graph, ZERO_NODES, other_weights=True)
    for number, mask in enumerate(kept):
        edges = torch.from_numpy(mask).float()
        diffs = [
            each.batch.logit_diff(each.logits(edges, weights)) for each in circuits
        ]
        torch.testing.assert_close(
            found.logit_diff[number], torch.cat(diffs), rtol=1e-4, atol=1e-4
        )
    # Edges of the embeddings make no difference.
    without = run_edge_circuits(
        model, batches, graph, kept & ~input_edges(graph), **how
    )
    torch.testing.assert_close(
        without.logit_diff,
        run_edge_circuits(model, batches, graph, kept, **how).logit_diff,
    )


# Learning


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


@pytest.mark.parametrize("ablation", [COUNTERFACTUAL, "mean"])
def test_circuits_of_any_method_have_the_measures_that_they_have_elsewhere(
    tiny, ablation
):
    model, batches, graph = tiny
    rng = np.random.default_rng(0)
    masks = np.stack([rng.random(graph.n_edges) < share for share in (0.2, 0.7, 2)])
    found = measured(model, batches, graph, masks, ablation)
    every = np.concatenate([masks, ~masks])
    labels = pl.DataFrame({"proportion": every.mean(1)})
    how = {"ablations": [ablation], "model_name": "tiny"}
    frame, _ = evaluate_edge_masks(model, batches, graph, labels, every, **how)
    expected = frame.rows(named=True)
    for number, row in enumerate(found):
        for side, other in (("", number), ("complement_", number + 3)):
            for name in ("kl", "accuracy"):
                value = pytest.approx(expected[other][name], rel=1e-4, abs=1e-5)
                assert row[side + name] == value
            above = np.mean(np.array(expected[other]["logit_diffs"]) > 0)
            assert row[side + "right_above_wrong"] == pytest.approx(above)
        assert row["edge_density"] == masks[number].mean()
        assert row["weight_density"] == 1 and row["pairs"] == 7
    assert measured(model, [], graph, masks, ablation) == []
    with pytest.raises(ValueError, match=rf"expected \(1, {graph.n_edges}\)"):
        measured(model, batches, graph, masks[:1, 1:], ablation)


def test_the_masks_of_a_file_are_used_as_the_page_says(tmp_path, monkeypatch, capsys):
    page = Path("workflow/docs/discogp.md").read_text()
    model = load_model("data/models/llama-small", dtype="float32", device="cpu")
    graph, weights = config_graph(model.config), maskable_weights(model)
    masks = {name: each > 0.01 for name, each in weights.items()}
    kept = np.arange(graph.n_edges)[None] % 4 == 0
    shapes = {name: [*each.shape] for name, each in masks.items()}
    write_edge_masks(
        tmp_path / "results/edge-masks/llama-small/ioi/discogp/seed-0.safetensors",
        kept.astype(np.float32),
        kept,
        sizes=[float(kept.mean())],
        open_share=kept.mean(1),
        curves={},
        extras=pack_masks(masks),
        seed=0,
        weight_shapes=shapes,
        **graph.description(),
    )
    (tmp_path / "data").symlink_to(Path("data").absolute())
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(re.search(r"```python\n(.*?)```", page, re.S)[1], names)
    share = float(capsys.readouterr().out.split()[0])
    assert share == density(masks) and 0.1 < share < 0.9
    other = copy.deepcopy(model)
    for name, mask in masks.items():
        other.get_parameter(name).data.mul_(mask)
    assert torch.equal(names["logits"], other(names["ids"]).logits)
