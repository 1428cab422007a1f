from fractions import Fraction

import numpy as np
import pytest
import torch

from circuit_transfer.circuits.masks import (
    circuit_masks,
    size_weights,
    soft_circuit,
)

PROPORTIONS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
N = 10


@pytest.mark.parametrize("n_nodes", [10, 20, 54, 360, 528, 1056])
def test_circuits_have_the_sizes_of_the_benchmark(n_nodes):
    scores = torch.randn(2, n_nodes, generator=torch.Generator().manual_seed(0))
    masks = circuit_masks(scores, PROPORTIONS)
    assert masks.shape == (2, len(PROPORTIONS), n_nodes)
    expected = [int(Fraction(str(p)) * n_nodes) for p in PROPORTIONS]
    for ranking_masks, ranked in zip(masks, scores, strict=True):
        assert ranking_masks.sum(-1).tolist() == expected
        for mask, size in zip(ranking_masks, expected, strict=True):
            best = ranked.sort(descending=True).indices[:size]
            assert set(mask.nonzero()[:, 0].tolist()) == set(best.tolist())


def test_ties_rank_in_the_order_of_the_nodes_and_signs_count():
    masks = circuit_masks(torch.tensor([[1.0, 2.0, 1.0, -5.0, 1.0]]), (0.2, 0.4, 0.8))
    assert masks[0].tolist() == [
        [0, 1, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 1],
    ]
    # Long enough for an unstable sort to show.
    constant = circuit_masks(torch.zeros(1, 1056), (0.5,))
    assert constant[0, 0].nonzero()[:, 0].tolist() == list(range(528))


def test_a_hard_edge_makes_the_circuit_of_the_evaluation():
    scores = torch.tensor(np.random.default_rng(0).permutation(N), dtype=torch.float32)
    for kept, proportion in ((2, 0.2), (5, 0.5)):
        hard = circuit_masks(scores[None], [proportion])[0, 0]
        soft = soft_circuit(scores, kept, softness=1e-3)
        torch.testing.assert_close(soft, hard, atol=1e-6, rtol=0)
        softer = soft_circuit(scores, kept, softness=1.0)
        assert torch.equal(softer > 0.5, hard.bool())
        # Scale and origin of the scores do not matter.
        moved = soft_circuit(5 * scores - 3, kept, softness=1.0)
        torch.testing.assert_close(softer, moved, rtol=1e-4, atol=1e-6)


def test_sizes_count_as_the_trapezoid_rule_weighs_them():
    found = size_weights([0.05, 0.2, 0.25, 0.5, 1.0], N)
    # Of 10 nodes: none, 2, 2, 5 and all.
    assert list(found) == [2, 5]
    assert found[2] == pytest.approx((0.25 - 0.05) / 2 + (0.5 - 0.2) / 2)
    assert found[5] == pytest.approx((1.0 - 0.25) / 2)
    # A curve that is 1 at these sizes and 0 elsewhere has this area.
    curve = [0, 1, 1, 1, 0]
    area = np.trapezoid(curve, [0.05, 0.2, 0.25, 0.5, 1.0])
    assert sum(found.values()) == pytest.approx(area)
