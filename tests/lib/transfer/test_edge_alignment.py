"""All maps of edges of a training set with their trained controls."""

from dataclasses import replace

import numpy as np
import pytest
from small_edge_fits import (
    GRAPHS,
    LIFTED,
    PRIOR,
    SETTINGS,
    SOURCE,
    SOURCES,
    TARGET,
    train,
)

from circuit_transfer.circuits.prepared_edges import prepare_tasks
from circuit_transfer.transfer.edge_alignment import fit_edge_maps
from circuit_transfer.transfer.edge_controls import degree_preserving
from circuit_transfer.transfer.edge_maps import edge_kinds
from circuit_transfer.transfer.edge_sources import edge_control_sources

CURVES = {"loss", "kl", "open_share"}
MATRICES = {"writers", "readers"}
STARTS = {"initial_writers", "initial_readers"}


@pytest.fixture
def prepared(model, batches):
    return prepare_tasks(model, batches, TARGET)


def fit(model, prepared, requested, *, settings=SETTINGS, sources=SOURCES, seeds=(5,)):
    priors = {"prior-residual": PRIOR, "depth-prior": PRIOR}
    how = {"graphs": GRAPHS, "seeds": seeds, "priors": priors}
    return fit_edge_maps(model, prepared, sources, settings, requested, **how)


def test_every_seed_has_every_map_and_control(model, prepared):
    requested = [("prior-residual", "none"), ("prior-residual", "degree-source")]
    requested += [("free", "none"), ("free", "random-source"), ("depth-prior", "none")]
    found = fit(model, prepared, requested, seeds=(5, 2))
    assert list(found) == [5, 2]
    for seed, tensors in found.items():
        biases = {"writer_bias", "reader_bias"}
        assert [set(each) for each in tensors] == [
            MATRICES | STARTS | CURVES | biases,
            MATRICES | CURVES | biases,
            MATRICES | STARTS | CURVES,
            MATRICES | CURVES,
            MATRICES,
        ]
        assert np.array_equal(tensors[-1]["writers"], LIFTED.writers)
        assert np.array_equal(tensors[-1]["readers"], LIFTED.readers)
        alone = train(model, prepared, seed=seed, prior=LIFTED)
        np.testing.assert_allclose(tensors[0]["writers"], alone.writers, atol=1e-4)
        seen = edge_control_sources("random-source", SOURCES, SOURCE, seed=seed)
        alone = train(model, prepared, seed=seed, sources=seen)
        np.testing.assert_allclose(tensors[3]["readers"], alone.readers, atol=1e-4)
    assert not np.allclose(found[5][2]["writers"], found[2][2]["writers"])


def test_controls_are_trained_on_other_scores():
    def made(control, seed=0):
        return edge_control_sources(control, SOURCES, SOURCE, seed=seed)

    (constant,) = {value for each in made("source-free").values() for value in each}
    magnitudes = np.concatenate([*SOURCES.values()]).astype(np.float64)
    assert constant == pytest.approx(np.sqrt(np.square(magnitudes).mean()), rel=1e-5)
    kinds, shuffled = edge_kinds(SOURCE), made("random-source")
    orders = []
    for task, scores in SOURCES.items():
        for kind in np.unique(kinds):
            own = kinds == kind
            assert sorted(shuffled[task][own]) == sorted(scores[own])
        orders.append([scores.tolist().index(each) for each in shuffled[task]])
        expected = degree_preserving(scores, SOURCE)
        assert np.array_equal(made("degree-source")[task], expected)
    assert orders[0] != orders[1] and orders[0] != sorted(orders[0])
    assert not np.array_equal(made("random-source", seed=1)["a"], shuffled["a"])
    assert all(np.array_equal(made("none")[task], SOURCES[task]) for task in SOURCES)
    with pytest.raises(ValueError, match="control 'ridge' is not one of"):
        made("ridge")


def test_without_training_tasks_every_map_is_unknown(model, caplog):
    requested = [("free", "none"), ("depth-prior", "none")]
    for tensors in fit(model, [], requested, sources={}, seeds=(0, 1)).values():
        for each in tensors:
            assert set(each) == MATRICES | STARTS
            assert each["writers"].shape == LIFTED.writers.shape
            assert each["initial_readers"].shape == LIFTED.readers.shape
            assert all(np.isnan(one).all() for one in each.values())
    assert "no training task has usable pairs: the map free is written" in caplog.text


def test_a_map_whose_prior_is_not_known_is_unknown(model, prepared, caplog):
    how = {"graphs": GRAPHS, "seeds": (0,), "priors": {}}
    requested = [("prior-residual", "none"), ("prior-residual", "source-free")]
    found = fit_edge_maps(model, prepared, SOURCES, SETTINGS, requested, **how)
    assert all(np.isnan(one).all() for each in found[0] for one in each.values())
    assert "it is not known which nodes of the models are alike" in caplog.text


@pytest.mark.parametrize(("sparsity", "end"), [(1e4, "closed"), (1.0, None)])
def test_a_mask_that_ends_closed_for_all_edges_is_a_warning(
    model, prepared, caplog, sparsity, end
):
    settings = replace(SETTINGS, sparsity=sparsity, epochs=8)
    requested = [("prior-residual", "none"), ("prior-residual", "source-free")]
    for each in fit(model, prepared, requested, settings=settings)[5]:
        shares = each["open_share"]
        assert shares.shape == (2,)
        assert (shares == 0).all() if end else (shares > 0).all()
    found = [r.message for r in caplog.records if "collapsed" in r.message]
    assert len(found) == (4 if end else 0)
    if end:
        expected = "seed 5: collapsed: the mask of a ended with all 82 "
        assert f"{expected}edges closed" in found[0]


def test_the_share_of_open_edges_is_that_of_the_mask(model, prepared):
    (found,) = fit(model, prepared, [("free", "none")])[5]
    masks = [
        TARGET.flat(found["writers"].T @ SOURCE.matrix(each, 0) @ found["readers"]) > 0
        for each in SOURCES.values()
    ]
    np.testing.assert_allclose(found["open_share"], np.mean(masks, 1), rtol=1e-6)
