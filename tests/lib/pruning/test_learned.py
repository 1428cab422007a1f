"""Learned circuits: exact sizes, seeds, resuming, checks, and planted circuits."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from small import SIZES, planted, section

from circuit_transfer.circuits.edge_attribution import attribute_edges
from circuit_transfer.circuits.edge_masks import (
    edge_circuits,
    effective_edges,
    node_circuit,
)
from circuit_transfer.jobs.resume import Resume
from circuit_transfer.models.edges import KV_HEAD, config_graph
from circuit_transfer.models.nodes import circuit_size
from circuit_transfer.prompts.batches import pair_batches
from circuit_transfer.pruning.hap import HAP, filtered
from circuit_transfer.pruning.learned import learn_edges

FAST = {"steps": 30, "learning_rate": 0.5}
METHODS = ("edge-pruning", "hap", "soft-top-k", "node-pruning", "node-soft-top-k")
OWN = {method: {} for method in METHODS} | {"hap": {"keep": 0.6}}


@pytest.fixture(scope="module")
def case(tiny_model, tiny_pairs):
    model = tiny_model("llama").requires_grad_(False)
    batches = pair_batches(tiny_pairs(8), 3)
    return model, batches, config_graph(model.config, KV_HEAD)


@pytest.fixture(scope="module")
def scores(case):
    model, batches, graph = case
    found = attribute_edges(model, batches, graph, method="eap").scores
    return graph.flat(found.numpy())


@pytest.fixture(scope="module")
def learn(case, scores):
    def run(method, seed=0, resume=None, sizes=SIZES, objective="kl", **own):
        settings = section(method, sizes, objective, **(FAST | OWN[method] | own))
        more = {} if resume is None else {"resume": resume}
        filter_scores = scores if method == HAP else None
        return learn_edges(
            method,
            *case,
            settings=settings,
            seed=seed,
            filter_scores=filter_scores,
            **more,
        )

    return run


def assert_same(found, expected):
    for name in ("scores", "kept", "open_share"):
        assert getattr(found, name).tobytes() == getattr(expected, name).tobytes()
    for name, curve in expected.curves.items():
        assert found.curves[name].tobytes() == curve.tobytes(), name


@pytest.mark.parametrize("method", METHODS)
def test_a_learned_circuit_has_its_size_and_a_ranking_of_all_edges(case, learn, method):
    graph, found = case[2], learn(method)
    assert found.scores.shape == found.kept.shape == (len(SIZES), graph.n_edges)
    assert found.scores.dtype == np.float32 and np.isfinite(found.scores).all()
    counts = [circuit_size(size, graph.n_edges) for size in SIZES]
    ranked = edge_circuits(found.scores, SIZES)[[0, 1], [0, 1]]
    if "node" in method:
        assert (found.kept.sum(1) <= counts).all() and (found.kept <= ranked).all()
    else:
        assert found.kept.sum(1).tolist() == counts
        assert np.array_equal(found.kept, ranked)
    for curve in found.curves.values():
        assert curve.shape == (len(SIZES), FAST["steps"]) and np.isfinite(curve).all()
    assert {"loss", "kl"} <= found.curves.keys()


@pytest.mark.parametrize("method", METHODS)
def test_a_seed_decides_everything(learn, method):
    assert_same(learn(method, seed=1), learn(method, seed=1))
    others = [learn(method, seed=seed).curves["kl"] for seed in (0, 1)]
    assert not np.array_equal(*others)


@pytest.mark.parametrize("method", METHODS)
def test_an_interrupted_training_resumes_to_the_same_bytes(learn, method, tmp_path):
    class Killed(Exception):
        pass

    class Killing(Resume):
        saved = 0

        def save(self, *, now=False):
            super().save(now=True)
            self.saved += 1
            if self.saved == 11:
                raise Killed

    settings = {"rate_warmup": 0.2, "multiplier": "trained", "multiplier_rate": 40}
    own = settings if method in ("edge-pruning", "node-pruning") else {}
    with pytest.raises(Killed):
        learn(method, resume=Killing(tmp_path / "state"), **own)
    resumed = Resume(tmp_path / "state", seconds=0)
    assert_same(learn(method, resume=resumed, **own), learn(method, **own))


def test_sizes_that_are_trained_side_by_side_do_not_influence_each_other(learn):
    # Few steps, in which rounding cannot grow.
    both, alone = (
        learn("edge-pruning", sizes=sizes, steps=5) for sizes in (SIZES, SIZES[:1])
    )
    for name, curve in alone.curves.items():
        np.testing.assert_allclose(both.curves[name][:1], curve, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("objective", ["kl", "logit-diff"])
def test_training_lowers_the_loss_of_the_final_size(learn, objective):
    early, late = (
        learn("edge-pruning", objective=objective, warmup=0, steps=steps)
        for steps in (12, 120)
    )
    assert late.curves["loss"][:, -10:].mean() < early.curves["loss"].mean()


def test_the_target_falls_in_the_warm_up_and_the_open_share_follows(learn):
    found = learn("edge-pruning", steps=60, warmup=0.5)
    target = found.curves["target"]
    ratios = target[:, 1:30] / target[:, :29]
    np.testing.assert_allclose(ratios, ratios[:, :1].repeat(29, 1), rtol=1e-4)
    np.testing.assert_allclose(target[:, 29:], np.array(SIZES)[:, None].repeat(31, 1))
    linear = learn("edge-pruning", steps=60, warmup=0.5, ramp="linear")
    falls = np.diff(linear.curves["target"][:, :30])
    np.testing.assert_allclose(falls, falls[:, :1].repeat(29, 1), atol=1e-5)
    assert (falls < 0).all()


@pytest.mark.parametrize("method", ["edge-pruning", "hap"])
def test_the_share_of_open_gates_is_the_target_in_the_end(learn, method):
    found = learn(method, steps=200, learning_rate=0.3)
    np.testing.assert_allclose(found.open_share, SIZES, rtol=0.1)


def test_node_gates_multiply_those_of_their_edges(case, learn):
    found = learn("edge-pruning", node_gates=True, steps=100)
    plain = learn("edge-pruning", steps=100)
    assert not np.array_equal(found.scores, plain.scores)
    # The score is the logarithm of a probability.
    assert (found.scores <= 0).all()
    np.testing.assert_allclose(found.open_share, SIZES, rtol=0.15)


def test_the_circuit_of_nodes_is_the_largest_that_the_size_allows(case, learn):
    graph = case[2]
    for method in ("node-pruning", "node-soft-top-k"):
        found = learn(method)
        for kept, nodes, size in zip(
            found.kept, found.tensors["nodes"], SIZES, strict=True
        ):
            order = np.argsort(-nodes, kind="stable")
            fitting = []
            for count in range(len(order) + 1):
                chosen = np.isin(np.arange(len(order)), order[:count])
                edges = effective_edges(graph, node_circuit(graph, chosen))
                if edges.sum() <= circuit_size(size, graph.n_edges):
                    fitting.append(edges)
            assert np.array_equal(kept, fitting[-1])


def test_gradients_are_clipped_for_each_size_by_itself(learn, monkeypatch):
    norms, original = [], torch.optim.AdamW.step

    def watch(self, *arguments):
        (gates,) = self.param_groups[0]["params"]
        norms.append(gates.grad.norm(dim=1).numpy())
        return original(self, *arguments)

    monkeypatch.setattr(torch.optim.AdamW, "step", watch)
    learn("edge-pruning", steps=1, gradient_norm=1e9)
    limit = float(norms[0].mean())
    learn("edge-pruning", steps=1, gradient_norm=limit)
    assert norms[0].min() < 0.9 * limit
    np.testing.assert_allclose(norms[1], norms[0].clip(max=limit), rtol=1e-5)


def test_hap_has_no_parameter_for_edges_that_its_filter_leaves_out(
    case, learn, scores, monkeypatch
):
    support, seen = filtered(scores, 0.6), []
    original = torch.optim.AdamW.__init__

    def watch(self, groups, **settings):
        seen.append([each.shape for group in groups for each in group["params"]])
        original(self, groups, **settings)

    monkeypatch.setattr(torch.optim.AdamW, "__init__", watch)
    found = learn("hap", warm_start="rank")
    assert support.sum() == circuit_size(0.6, len(scores))
    assert seen == [[(len(SIZES), support.sum())]]
    # What was left out follows, in the order of the filter.
    outside = found.scores[:, ~support]
    assert (outside.max(1) < found.scores[:, support].min(1)).all()
    order = np.argsort(-np.abs(scores[~support]), kind="stable")
    assert (np.diff(outside[:, order], axis=1) < 0).all()
    assert not (found.kept & ~support).any()
    # The targets are shares of the whole graph, and start at what is open then.
    start = found.curves["target"][:, 0]
    assert (start < 0.6).all() and (start > max(SIZES)).all()
    assert found.notes["filtered_edges"] == support.sum()
    assert np.array_equal(found.tensors["filtered"], support)
    used = effective_edges(case[2], support)
    assert used.sum() > 0 and not (used & ~support).any()
    assert found.notes["filtered_effective"] == used.sum() / support.sum()


def test_a_filter_must_be_there_and_leave_enough(case, learn):
    with pytest.raises(ValueError, match="hap filters by scores of edges"):
        learn_edges("hap", *case, settings=section("hap"), seed=0)
    with pytest.raises(ValueError, match=r"pruning.hap.keep is 0.2.*at least"):
        learn("hap", keep=0.2)


def test_gates_that_never_close_stop_the_training(learn):
    stuck = {"multiplier": "trained", "multiplier_rate": 0, "steps": 3}
    with pytest.raises(ValueError, match=r"nothing was pruned.*multiplier_rate \(0\)"):
        learn("edge-pruning", **stuck)
    with pytest.raises(ValueError, match="nothing was pruned"):
        learn("node-pruning", **stuck)


def test_a_loss_that_is_not_a_number_stops_the_training(case):
    model, batches, graph = case
    broken = deepcopy(model)
    broken.get_output_embeddings().weight[0] = torch.nan
    given = section("edge-pruning", **FAST)
    with pytest.raises(ValueError, match=r"the loss is \[nan.*learning_rate \(0.5\)"):
        learn_edges("edge-pruning", broken, batches, graph, settings=given, seed=0)


def test_an_empty_circuit_stops_the_training(case, learn, caplog):
    one_edge = 1.01 / case[2].n_edges
    with pytest.raises(ValueError, match="are empty: none of their edges.*larger"):
        learn("edge-pruning", sizes=(one_edge / 2,), seed=3)
    found = learn("edge-pruning", sizes=(0.3, one_edge / 2))
    assert found.kept[1].sum() == 0
    assert "of the edges is empty" in caplog.text


def test_unknown_methods_and_settings_are_named(case, learn):
    with pytest.raises(ValueError, match="'eap' learns no circuits|eap learns no"):
        learn_edges("eap", *case, settings=section("eap"), seed=0)
    with pytest.raises(ValueError, match="pruning.edge-pruning.rate: there is no such"):
        learn("edge-pruning", rate=3)


@pytest.mark.parametrize(
    ("entry", "kind"),
    [({"construction": "subspaces"}, None), ({"construction": "induction"}, "mix")],
    ids=["subspaces", "induction"],
)
def test_a_ranking_has_planted_circuits_first(entry, kind):
    model, batches, graph, truth = planted(entry, kind, pairs=192, batch_size=16)
    # Just above the true share, so that rounding down gives the true number.
    given = section("soft-top-k", [truth.mean() + 1e-9])
    found = learn_edges("soft-top-k", model, batches, graph, settings=given, seed=0)
    (kept,) = found.kept
    assert np.array_equal(kept, truth)
