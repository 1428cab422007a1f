"""A map of edges at its start: what it gives, and where its parameters are."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_edge_fits import GRAPHS, LIFTED, SETTINGS, SOURCE, SOURCES, TARGET

from circuit_transfer.transfer.edge_maps import blocks, reader_kinds, writer_kinds
from circuit_transfer.transfer.trained_edge_maps import EdgeStart, TrainedEdgeMap

CPU = torch.device("cpu")
ALLOWED = [blocks(*GRAPHS, kinds) for kinds in (writer_kinds, reader_kinds)]


def placed(prior=LIFTED, seed=0, **changes):
    settings = replace(SETTINGS, **changes)
    return TrainedEdgeMap(EdgeStart(SOURCES, seed, prior), settings, GRAPHS, CPU)


def test_projected_scores_are_a_sum_over_edges_and_two_biases():
    trained = placed()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for each in trained.parameters():
            each.copy_(torch.randn(each.shape, generator=generator))
    (writers, readers), (of_writers, of_readers) = trained.factors, trained.biases
    found = trained.project("a")
    for number in range(0, TARGET.n_edges, 7):
        u, v = (ends[number] for ends in TARGET.ends)
        expected = of_writers[u] + of_readers[v] - trained.offsets["a"]
        for score, a, b in zip(SOURCES["a"], *SOURCE.ends, strict=True):
            if ALLOWED[0][a, u] and ALLOWED[1][b, v]:
                expected = expected + score * writers[a, u] * readers[b, v]
        assert found[number].item() == pytest.approx(expected.item(), abs=1e-4)


@pytest.mark.parametrize("prior", [None, LIFTED])
def test_entries_between_kinds_are_zero_and_learn_nothing(prior):
    trained = placed(prior)
    weights = torch.randn(TARGET.n_edges, generator=torch.Generator().manual_seed(1))
    ((trained.project("a") * weights).sum() + trained.penalty()).backward()
    for each, start, allowed in zip(
        trained.factors, trained.initial, ALLOWED, strict=True
    ):
        assert (start.numpy() != 0).tolist() == allowed.tolist()
        assert not each.grad.numpy()[~allowed].any()


def test_a_prior_spreads_the_training_tasks_scores_as_asked_and_centres_them():
    trained = placed(initial_scale=0.0, prior_scale=3.0)
    found = np.stack([trained.project(task).detach().numpy() for task in SOURCES])
    assert found.std(1).mean() == pytest.approx(3, rel=1e-5)
    np.testing.assert_allclose(found.mean(1), 0, atol=1e-5)
    raw = np.stack([scores @ LIFTED for scores in SOURCES.values()])
    centred = raw - raw.mean(1, keepdims=True)
    np.testing.assert_allclose(found, centred * 3 / raw.std(1).mean(), atol=1e-5)
    # Both factors have an equal part in it.
    ratios = [
        factor.detach().numpy()[prior > 0] / prior[prior > 0]
        for factor, prior in zip(
            trained.factors, (LIFTED.writers, LIFTED.readers), strict=True
        )
    ]
    np.testing.assert_allclose(np.concatenate(ratios), ratios[0][0], rtol=1e-5)


def test_the_start_is_small_noise_at_the_prior_and_without_one_has_a_gradient():
    trained = placed(initial_scale=0.05)
    for start, anchor in zip(trained.initial, trained.anchors, strict=True):
        noise = (start - anchor)[start != 0]
        assert 0.02 < noise.std() < 0.08
    free = placed(prior=None, initial_scale=0.05)
    spreads = [each[each != 0].std().item() for each in free.initial]
    assert 0.02 < spreads[0] < 0.08 and 0.6 < spreads[1] < 1.4
    (free.project("a") ** 2).sum().backward()
    assert all(each.grad.abs().max() > 1e-3 for each in free.factors)
    again, other = placed(prior=None), placed(prior=None, seed=1)
    torch.testing.assert_close(again.initial[0] * 2.5, free.initial[0])
    assert torch.equal(again.initial[1], free.initial[1])
    assert not torch.equal(again.initial[0], other.initial[0])


def test_the_penalty_is_the_squared_distance_from_the_prior():
    trained = placed()
    with torch.no_grad():
        for bias in trained.biases:
            bias += 0.1
    far = [
        (each - anchor).square().sum()
        for each, anchor in zip(trained.initial, trained.anchors, strict=True)
    ]
    biases = 0.01 * (len(TARGET.writers) + len(TARGET.readers))
    assert trained.penalty().item() == pytest.approx(sum(far).item() + biases, rel=1e-5)
    assert placed(prior=None).penalty().item() == 0
