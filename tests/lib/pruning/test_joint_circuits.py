"""Circuits of edges and weights together, and what is measured of them."""

import copy
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from reference import embed
from reference_edges import ablated_outputs, run_edges
from small import measured

from circuit_transfer.artifacts.edge_masks import write_edge_masks
from circuit_transfer.circuits.edge_faithfulness import evaluate_edge_masks
from circuit_transfer.circuits.edge_runs import ZERO_NODES, run_edge_circuits
from circuit_transfer.interventions.other_weights import with_weights
from circuit_transfer.models.edges import config_graph
from circuit_transfer.models.loading import load_model
from circuit_transfer.prompts.batches import pair_batches
from circuit_transfer.pruning.discogp_losses import (
    right_answer_loss,
)
from circuit_transfer.pruning.joint_circuits import JointCircuits, input_edges
from circuit_transfer.pruning.weight_masks import (
    density,
    maskable_weights,
    masked_weights,
    pack_masks,
)

COUNTERFACTUAL = "counterfactual"

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


@pytest.fixture
def tiny(tiny_model, tiny_pairs):
    model = tiny_model("llama").requires_grad_(False)
    return model, pair_batches(tiny_pairs(7), 2), config_graph(model.config)


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
