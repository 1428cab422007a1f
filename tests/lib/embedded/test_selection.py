import pytest

from circuit_transfer.embedded.selection import (
    Importance,
    choose,
    equal_importance,
    kept_shape,
)

SHAPE = {"layers": 3, "heads": 4, "kv_heads": 2, "d_model": 6, "d_mlp": 3}
# By layer four heads and the MLP.
NODES = [
    *(1, 0, 3, 3, 0),
    *(0, 0, 0, 0, 1),
    *(9, 5, 7, 8, 2),
]
IMPORTANCE = Importance(
    nodes=NODES,
    neurons=[[3, 1, 2], [0, 0, 0], [1, 2, 3]],
    dimensions=[6, 1, 5, 2, 4, 3],
)


def test_the_most_important_parts_are_kept_in_their_order():
    keep = {"layers": 2, "heads": 2, "d_model": 3, "d_mlp": 2}
    kept = choose(keep, SHAPE, IMPORTANCE)
    assert kept.layers == (0, 2)
    # The group with the larger sum, not the two largest heads.
    assert kept.heads == ((2, 3), (2, 3))
    assert kept.kv_heads == ((1,), (1,))
    assert kept.neurons == ((0, 2), (1, 2))
    assert kept.dimensions == (0, 2, 4)
    assert kept.shape() == kept_shape(keep, SHAPE)


def test_as_many_heads_of_every_group_where_groups_do_not_fit():
    shape = SHAPE | {"heads": 6, "layers": 1}
    importance = equal_importance(shape)
    scores = [1, 2, 3, 9, 8, 7, 0]
    importance = Importance(scores, importance.neurons, importance.dimensions)
    kept = choose({"heads": 4}, shape, importance)
    assert kept.heads == ((1, 2, 3, 4),) and kept.kv_heads == ((0, 1),)
    assert choose({"heads": 3}, shape, importance).heads == ((3, 4, 5),)
    assert choose({"heads": 2}, shape, importance).heads == ((2, 3),)


def test_named_parts_are_kept_whatever_their_importance():
    kept = choose({"layers": [2, 1]}, SHAPE, IMPORTANCE)
    assert kept.layers == (1, 2) and kept.heads == ((0, 1, 2, 3),) * 2
    kept = choose({"heads": ["a2.h3", "a2.h0", "a1.h1", "a1.h2"]}, SHAPE, IMPORTANCE)
    assert kept.layers == (1, 2) and kept.heads == ((1, 2), (0, 3))
    assert kept.kv_heads == ((0, 1), (0, 1))


def test_everything_is_kept_by_default():
    kept = choose({}, SHAPE, IMPORTANCE)
    assert kept.shape() == SHAPE
    assert all(own == parent for own, parent in kept.nodes().items())


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        ({"layers": 4}, "layers: 4, expected at most the 3 "),
        ({"d_model": 7}, "d_model: 7, expected at most the 6 "),
        ({"layers": [0, 3]}, "layers: no layer 3 .* from 0 to 2"),
        ({"heads": 3}, "heads: 3, of 2 groups of 2 .*: one of 2, 4$"),
        ({"heads": ["a3.h0"]}, "heads: no head a3.h0 .* 3 layers of 4 heads"),
        ({"heads": ["a0.h4"]}, "heads: no head a0.h4 "),
        (
            {"heads": ["a0.h0", "a1.h0", "a1.h1"]},
            r"heads: layer 0 has \[1\] .* layer 1 has \[2\]",
        ),
        (
            {"heads": ["a0.h0", "a0.h1", "a0.h2"]},
            r"heads: .* layer 0 has \[1, 2\]; expected as many",
        ),
        ({"heads": ["a0.h0"], "layers": [1]}, "heads: of the layers 0, but .* 1 "),
        ({"heads": ["a0.h0"], "layers": 2}, "heads: of 1 layers, but 2 are kept"),
    ],
)
def test_what_is_no_model_is_refused(keep, message):
    with pytest.raises(ValueError, match=message):
        kept_shape(keep, SHAPE)
