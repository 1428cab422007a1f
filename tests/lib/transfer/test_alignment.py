from dataclasses import replace

import numpy as np
import pytest
from small_fits import AREA, PRIOR, SETTINGS, SOURCES, N, scaled_prior, train

from circuit_transfer.transfer.alignment import fit_maps
from circuit_transfer.transfer.controls import control_sources
from circuit_transfer.transfer.trained_maps import initial_alignment


def fit_one(model, prepared, name="free", control="none", sources=SOURCES, prior=None):
    made = {"shape": (3, N), "seed": 5}
    made["priors"] = {} if prior is None else {name: prior}
    (tensors,) = fit_maps(model, prepared, sources, SETTINGS, [(name, control)], **made)
    return tensors


def test_a_fit_has_its_start_its_matrix_and_its_curves(model, prepared):
    tensors = fit_one(model, prepared)
    assert set(tensors) == {"alignment", "initial", "loss", "kl", "open_share"}
    assert np.array_equal(tensors["initial"], initial_alignment(3, N, 5).numpy())
    plain = train(model, prepared, SOURCES, SETTINGS, seed=5)
    assert np.array_equal(tensors["alignment"], plain.alignment.numpy())


def test_trained_controls_see_other_scores(model, prepared):
    plain = fit_one(model, prepared)["alignment"]
    free = fit_one(model, prepared, control="source-free")
    # A constant source gives every row the same gradient.
    assert set(free) == {"alignment", "loss", "kl", "open_share"}
    moved = free["alignment"] - initial_alignment(3, N, 5).numpy()
    np.testing.assert_allclose(moved, np.tile(moved[:1], (3, 1)), atol=1e-5)
    shuffled = fit_one(model, prepared, control="random-source")["alignment"]
    seen = control_sources("random-source", SOURCES, seed=5)
    expected = train(model, prepared, seen, SETTINGS, seed=5).alignment
    assert np.array_equal(shuffled, expected.numpy())
    assert not np.allclose(shuffled, plain)


@pytest.mark.parametrize(("sparsity", "end"), [(1e4, "closed"), (1.0, None)])
def test_a_mask_that_ends_closed_for_all_nodes_is_a_warning(
    model, prepared, caplog, sparsity, end
):
    settings = replace(SETTINGS, sparsity=sparsity, epochs=8)
    made = {"shape": (3, N), "seed": 5, "priors": {}}
    requested = [("free", "none"), ("free", "source-free")]
    for found in fit_maps(model, prepared, SOURCES, settings, requested, **made):
        shares = found["open_share"]
        assert shares.shape == (2,)
        assert (shares == 0).all() if end else (shares > 0).all()
    # Both maps, both tasks.
    assert [r.levelname for r in caplog.records if "collapsed" in r.message] == (
        ["WARNING"] * 4 if end else []
    )
    if end:
        expected = f"collapsed: the mask of a ended with all {N} nodes closed"
        assert expected in caplog.text


def test_the_share_of_open_nodes_is_that_of_the_mask(model, prepared):
    tensors = fit_one(model, prepared)
    masks = [
        1 / (1 + np.exp(-each @ tensors["alignment"])) for each in SOURCES.values()
    ]
    expected = [(mask > 0.5).mean() for mask in masks]
    np.testing.assert_allclose(tensors["open_share"], expected, rtol=1e-6)
    by_area = train(model, prepared, SOURCES, AREA, seed=5)
    assert by_area.open_share is None


def test_an_untrained_map_is_its_prior(model, prepared):
    tensors = fit_one(model, prepared, name="depth-prior", prior=PRIOR)
    assert set(tensors) == {"alignment"}
    assert np.array_equal(tensors["alignment"], PRIOR)


def test_without_training_tasks_every_matrix_is_unknown(model):
    for name in ("free", "depth-prior", "prior-residual"):
        tensors = fit_one(model, [], name=name, sources={})
        assert set(tensors) == {"alignment", "initial"}
        for each in tensors.values():
            assert each.shape == (3, N)
            assert np.isnan(each).all()


@pytest.mark.parametrize("name", ["cka-prior", "prior-residual"])
def test_a_map_whose_prior_is_not_known_is_unknown(model, prepared, name):
    tensors = fit_one(model, prepared, name=name, prior=None)
    assert all(np.isnan(each).all() for each in tensors.values())


def test_a_prior_is_where_training_starts_spread_as_asked(model, prepared):
    found = fit_one(model, prepared, name="prior-residual", prior=PRIOR)
    anchor = scaled_prior(SOURCES, SETTINGS.prior_scale)
    expected = anchor + initial_alignment(3, N, 5).numpy()
    np.testing.assert_allclose(found["initial"], expected, rtol=1e-5, atol=1e-6)
    assert found["bias"].shape == (N,)
    assert (found["bias"] != 0).any()
