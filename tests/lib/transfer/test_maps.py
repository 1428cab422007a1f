import numpy as np
import pytest

from circuit_transfer.models.nodes import is_mlp, node_layers, node_names
from circuit_transfer.transfer.correspondences import node_prior, node_priors
from circuit_transfer.transfer.maps import (
    MAPS,
    TRANSFORMS,
    fits,
    fitted_maps,
    transformed,
)

SCORES = np.array([2.0, -4.0, 0.0, 1.0], np.float32)
SOURCE, TARGET = node_names(3, 2), node_names(5, 3)


@pytest.mark.parametrize(
    ("transform", "expected"),
    [
        ("sum", [2 / 7, -4 / 7, 0.0, 1 / 7]),
        ("raw", [2.0, -4.0, 0.0, 1.0]),
        ("max", [0.5, -1.0, 0.0, 0.25]),
        ("signed-sqrt", [0.5**0.5, -1.0, 0.0, 0.5]),
        ("sqrt-sum", np.array([2**0.5, -2.0, 0.0, 1.0]) / (3 + 2**0.5)),
        ("rank", [1.0, 0.0, 1 / 3, 2 / 3]),
    ],
)
def test_transforms_are_what_they_are_called(transform, expected):
    found = transformed(SCORES, transform)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_a_transform_keeps_the_order_and_what_is_unknown(transform):
    found = transformed(SCORES, transform)
    assert found.argsort().tolist() == SCORES.argsort().tolist()
    unknown = transformed(np.array([1.0, np.nan], np.float32), transform)
    assert np.isnan(unknown).all()
    assert np.isfinite(transformed(np.zeros(3, np.float32), transform)).all()


def test_equal_scores_have_one_rank():
    found = transformed(np.array([1.0, 1.0, 5.0], np.float32), "rank")
    assert found.tolist() == [0.25, 0.25, 1.0]


def test_an_unknown_transform_is_named():
    with pytest.raises(ValueError, match="'log' is not one of sum, raw, max"):
        transformed(SCORES, "log")


def plain_prior(similarity=None, temperature=1.0, width=0.25):
    """The definition, one entry at a time."""
    prior = np.zeros((len(SOURCE), len(TARGET)))
    for i, one in enumerate(SOURCE):
        for j, other in enumerate(TARGET):
            if is_mlp(one) != is_mlp(other):
                continue
            depths = (node_layers((one,))[0] / 2, node_layers((other,))[0] / 4)
            prior[i, j] = np.exp(-((depths[0] - depths[1]) ** 2) / (2 * width**2))
            if similarity is not None:
                prior[i, j] *= np.exp(similarity[i, j] / temperature)
    return prior / prior.sum(1, keepdims=True)


def test_a_prior_is_type_times_depth_times_similarity():
    found = node_prior(SOURCE, TARGET, depth_width=0.25)
    np.testing.assert_allclose(found, plain_prior(), rtol=1e-5, atol=1e-7)
    similarity = np.random.default_rng(0).random(found.shape)
    found = node_prior(
        SOURCE, TARGET, depth_width=0.4, similarity=similarity, temperature=0.3
    )
    expected = plain_prior(similarity, temperature=0.3, width=0.4)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-5)


def test_a_sharp_prior_does_not_overflow():
    similarity = np.eye(len(SOURCE), len(TARGET))
    found = node_prior(
        SOURCE, TARGET, depth_width=1.0, similarity=similarity, temperature=1e-3
    )
    assert np.isfinite(found).all()
    assert found[0, 0] == pytest.approx(1)


def test_models_of_one_layer_have_one_depth():
    found = node_prior(node_names(1, 2), node_names(1, 1), depth_width=0.1)
    assert found.tolist() == [[1, 0], [1, 0], [0, 1]]


def test_every_map_has_its_prior_where_it_can_be_known():
    settings = {"depth_width": 0.25, "temperature": 0.3}
    similarity = np.random.default_rng(1).random((len(SOURCE), len(TARGET)))
    found = node_priors(MAPS, SOURCE, TARGET, {"cka": similarity}, **settings)
    residual = ("prior-residual", "mean-gold-residual")
    assert set(found) == {"depth-prior", "cka-prior", *residual}
    for name in residual:
        assert np.array_equal(found["cka-prior"], found[name])
    np.testing.assert_allclose(found["depth-prior"], plain_prior(), rtol=1e-5)
    assert not np.allclose(found["depth-prior"], found["cka-prior"])
    unknown = {"cka": None, "lineage": None}
    found = node_priors(MAPS, SOURCE, TARGET, unknown, **settings)
    assert set(found) == {"depth-prior"}
    assert node_priors(["free"], SOURCE, TARGET, unknown, **settings) == {}


def test_maps_are_compared_where_something_is_left_out():
    compared = ["depth-prior", "free", "prior-residual"]
    assert fitted_maps("only-a", "free", compared) == ["free"]
    zero_shot = ["free", "depth-prior", "prior-residual"]
    assert fitted_maps("without-a", "free", compared) == zero_shot
    assert fitted_maps("without-family-x", "free", compared) == zero_shot
    assert fitted_maps("all", "cka-prior", compared) == ["cka-prior"]


def test_controls_are_trained_with_the_maps_that_are():
    assert fits(["free", "depth-prior"], ["source-free"]) == [
        ("free", "none"),
        ("free", "source-free"),
        ("depth-prior", "none"),
    ]
