import numpy as np
import pytest
import torch
from permuted import permuted_copy

from circuit_transfer.models.nodes import node_names
from circuit_transfer.prompts.batches import pair_batches
from circuit_transfer.transfer.cka import (
    change_similarity,
    compare_changes,
    node_changes,
)
from circuit_transfer.transfer.correspondences import (
    matched_nodes,
    node_priors,
    recorded_nodes,
)
from circuit_transfer.transfer.maps import CHOSEN, MAPS
from circuit_transfer.transfer.shared_prompts import shared_batches

WHOLE = node_names(3, 2)
# What is kept: layers 0 and 2 with their second head, and layer 1 with its first.
HALF = dict(
    zip(node_names(2, 1), ["a0.h1", "m0", "a2.h1", "m2"], strict=True),
)
OTHER = dict(zip(node_names(1, 2), ["a2.h0", "a2.h1", "m2"], strict=True))


def description(name, nodes, parent=None, above=None):
    """Return a model that was pruned from another one, if there is one."""
    found = {"model": name, "nodes": list(nodes)}
    if parent is None:
        return found
    lineage = {"relation": "pruned", "parent": parent, "teacher": None}
    return found | {"lineage": lineage | {"nodes": nodes, "parent_lineage": above}}


WHOLE_MODEL = description("whole", WHOLE)
HALF_MODEL = description("half", HALF, "whole")
OTHER_MODEL = description("other", OTHER, "whole")


def pairs_in(matrix, source, target):
    assert matrix.dtype == np.float32
    assert set(matrix.ravel().tolist()) <= {0.0, 1.0}
    return {(source[i], target[j]) for i, j in np.argwhere(matrix)}


def test_a_pruned_model_s_nodes_are_those_recorded_in_both_directions():
    found = recorded_nodes(HALF_MODEL, WHOLE_MODEL)
    assert found.shape == (4, 9)
    assert pairs_in(found, [*HALF], WHOLE) == set(HALF.items())
    back = recorded_nodes(WHOLE_MODEL, HALF_MODEL)
    assert np.array_equal(back, found.T)


def test_siblings_have_the_nodes_that_both_kept_of_a_common_ancestor():
    found = recorded_nodes(HALF_MODEL, OTHER_MODEL)
    assert pairs_in(found, [*HALF], [*OTHER]) == {("a1.h0", "a0.h1"), ("m1", "m0")}
    # Of the nearest one, if there are several.
    child = {"a0.h0": "a1.h0", "m0": "m1"}
    nephew = description("nephew", child, "half", HALF_MODEL["lineage"])
    found = recorded_nodes(nephew, HALF_MODEL)
    assert pairs_in(found, [*child], [*HALF]) == set(child.items())
    found = recorded_nodes(nephew, OTHER_MODEL)
    pairs = {("a0.h0", "a0.h1"), ("m0", "m0")}
    assert pairs_in(found, [*child], [*OTHER]) == pairs


def test_models_without_a_common_ancestor_or_node_have_no_correspondence():
    assert recorded_nodes(WHOLE_MODEL, description("apart", WHOLE)) is None
    taught = description("taught", WHOLE, "whole")
    taught["lineage"] |= {"relation": "distilled", "parent": None, "teacher": "whole"}
    taught["lineage"]["nodes"] = {}
    assert recorded_nodes(taught, WHOLE_MODEL) is None
    disjoint = description("disjoint", {"a0.h0": "a0.h0"}, "whole")
    assert recorded_nodes(disjoint, HALF_MODEL) is None


def test_another_model_of_the_ancestor_s_name_is_refused():
    smaller = description("whole", node_names(1, 2))
    for pair in ((HALF_MODEL, smaller), (smaller, HALF_MODEL)):
        with pytest.raises(ValueError, match="half: its lineage has node .+ of wh"):
            recorded_nodes(*pair)


@pytest.fixture(scope="module")
def batches(tiny_pairs):
    pairs = tiny_pairs(40)
    return shared_batches(pairs, pairs, 8, "cpu")


def test_matching_finds_the_nodes_of_a_permuted_copy(tiny_model, batches):
    model = tiny_model("llama", layers=3).requires_grad_(False)
    copy, names = permuted_copy(model, seed=4)
    config = model.config
    nodes = node_names(config.num_hidden_layers, config.num_attention_heads)
    places = {name: names.get(name, name) for name in nodes}
    assert any(name != place for name, place in places.items())
    similarity = compare_changes(model, copy, batches)
    matrix = matched_nodes(nodes, nodes, similarity)
    assert pairs_in(matrix, nodes, nodes) == set(places.items())
    # The model's scores become those of the copy, exactly.
    scores = np.random.default_rng(0).standard_normal(len(nodes)).astype(np.float32)
    of_copy = dict(zip(places.values(), scores.tolist(), strict=True))
    assert (scores @ matrix).tolist() == [of_copy[name] for name in nodes]


def test_similarity_of_changes_is_the_debiased_cka_of_samples(tiny_model, batches):
    model = tiny_model("llama", layers=1).requires_grad_(False)
    kept = [(batch, torch.ones_like(batch.clean, dtype=bool)) for batch, _ in batches]
    nodes = node_changes(model, kept)
    found = change_similarity(nodes, nodes)

    def hsic(x, y):
        """By matrices of products of samples without their diagonals."""
        k, v = (each @ each.T for each in (x, y))
        m = len(k)
        for each in (k, v):
            each.fill_diagonal_(0)
        total = (k @ v).trace() + k.sum() * v.sum() / ((m - 1) * (m - 2))
        return (total - 2 / (m - 2) * (k @ v).sum()) / (m * (m - 3))

    expected = [
        [hsic(x, y) / (hsic(x, x) * hsic(y, y)).sqrt() for y in nodes] for x in nodes
    ]
    np.testing.assert_allclose(found, np.array(expected), rtol=1e-5, atol=1e-6)


def test_nothing_before_the_first_differing_token_is_compared(tiny_model, tiny_pairs):
    model = tiny_model("llama").requires_grad_(False)
    pairs = tiny_pairs(16)[1::2]  # of seven tokens, which begin with two equal ones
    (batch,) = shared_batches(pairs, pairs, 8, "cpu")
    found = compare_changes(model, model, [batch])
    kept = (batch[0].clean != batch[0].corrupted).cumsum(1) > 0
    assert not kept[:, :2].any()
    own = node_changes(model, [(batch[0], kept)])
    assert len(own[0]) == kept.sum()
    np.testing.assert_allclose(found, change_similarity(own, own), atol=1e-6)


def test_too_few_samples_have_no_similarity(tiny_model, tiny_pairs):
    model = tiny_model("llama").requires_grad_(False)
    pairs = tiny_pairs(1)
    (batch,) = pair_batches(pairs, 8)
    short = [
        type(batch)(*(t[:, -1:] for t in (batch.clean, batch.corrupted)), None, None)
    ]
    assert compare_changes(model, model, [(short[0], short[0])]) is None


SIMILARITY = np.array(
    [
        [0.9, 0.8, 0.1, 0.99],
        [0.7, 0.1, 0.2, 0.99],
        [0.99, 0.99, 0.99, 0.3],
    ]
)
SOURCE, TARGET = ["a0.h0", "a0.h1", "m0"], ["a0.h0", "a0.h1", "a0.h2", "m0"]


def test_the_sum_of_similarities_is_the_largest_within_each_type():
    found = pairs_in(matched_nodes(SOURCE, TARGET, SIMILARITY), SOURCE, TARGET)
    # Not the best of each: .8 + .7 is more than .9 + .2.
    assert found == {("a0.h0", "a0.h1"), ("a0.h1", "a0.h0"), ("m0", "m0")}


def test_a_threshold_drops_the_pairs_below_it():
    found = matched_nodes(SOURCE, TARGET, SIMILARITY, threshold=0.7)
    pairs = {("a0.h0", "a0.h1"), ("a0.h1", "a0.h0")}
    assert pairs_in(found, SOURCE, TARGET) == pairs
    found = matched_nodes(SOURCE, TARGET, SIMILARITY, threshold=0.75)
    assert pairs_in(found, SOURCE, TARGET) == {("a0.h0", "a0.h1")}


@pytest.mark.parametrize("chosen", ["cka", "lineage", "matched"])
def test_residual_maps_have_the_correspondence_that_is_chosen(chosen):
    known = {"cka": SIMILARITY, "matched": SIMILARITY, "lineage": np.eye(3, 4)}
    found = node_priors(
        MAPS,
        SOURCE,
        TARGET,
        known,
        depth_width=0.3,
        temperature=0.2,
        correspondence=chosen,
        threshold=0.75,
    )
    assert set(found) == set(MAPS) - {"free"}
    of_map = {"cka": "cka-prior", "lineage": "lineage", "matched": "matched"}[chosen]
    for name in ("prior-residual", "mean-gold-residual"):
        assert np.array_equal(found[name], found[of_map])
    assert MAPS["prior-residual"].correspondence == CHOSEN
    assert found["matched"].sum() == 1
    assert np.array_equal(found["mean-gold-lineage"], np.eye(3, 4))
