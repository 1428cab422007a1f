from fractions import Fraction

import pytest

from circuit_transfer.models.nodes import circuit_size, is_mlp, node_layers, node_names

PROPORTIONS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


def test_nodes_come_layer_by_layer_heads_first():
    names = node_names(layers=2, heads=2)
    assert names == ("a0.h0", "a0.h1", "m0", "a1.h0", "a1.h1", "m1")
    assert node_layers(names) == [0, 0, 0, 1, 1, 1]
    assert [is_mlp(name) for name in names] == [False, False, True] * 2


def test_layers_and_heads_of_two_digits_are_read():
    assert node_layers(("a11.h10", "m12")) == [11, 12]


@pytest.mark.parametrize(("layers", "heads", "n_nodes"), [(16, 32, 528), (24, 14, 360)])
def test_the_models_of_the_paper_have_its_number_of_nodes(layers, heads, n_nodes):
    assert len(node_names(layers, heads)) == n_nodes


@pytest.mark.parametrize("proportion", [*PROPORTIONS, 0.29, 0.57, 0.07])
def test_sizes_round_down_in_decimal(proportion):
    for n_nodes in (1, 10, 20, 54, 100, 360, 528, 700, 1056):
        exact = int(Fraction(str(proportion)) * n_nodes)
        assert circuit_size(proportion, n_nodes) == exact
