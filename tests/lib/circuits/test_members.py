"""The nodes of a circuit by name are those that the masks of the evaluation keep."""

import numpy as np
import pytest
import torch

from circuit_transfer.artifacts.scores import Scores
from circuit_transfer.circuits.masks import circuit_masks
from circuit_transfer.circuits.members import MEMBER_SCHEMA, circuit_nodes
from circuit_transfer.models.nodes import node_names

NODES = node_names(3, 4)
PROPORTIONS = (0.0, 0.05, 0.1, 0.2, 0.29, 0.5, 1.0)
LABELS = {"task": "ioi", "method": "nap"}


def scores_of(values) -> Scores:
    return Scores(np.asarray(values, np.float32), NODES, LABELS)


@pytest.mark.parametrize("levels", [2, 3, 1000])
def test_nodes_are_those_of_the_masks_with_ties_too(levels):
    generator = np.random.default_rng(levels)
    values = generator.integers(-levels, levels, len(NODES)) / levels
    found = circuit_nodes(scores_of(values), PROPORTIONS)
    (masks,) = circuit_masks(torch.tensor(values)[None].float(), PROPORTIONS)
    for proportion, mask in zip(PROPORTIONS, masks, strict=True):
        kept = {node for node, inside in zip(NODES, mask, strict=True) if inside}
        circuit = found.filter(proportion=proportion)
        assert len(circuit) == len(kept)
        assert set(circuit["node"]) == kept
        assert circuit["rank"].to_list() == [*range(1, len(kept) + 1)]
        assert (circuit["n_nodes"] == len(kept)).all()


def test_a_circuit_by_hand():
    values = [0.5, 3.0, -2.0, 0.5, *[-9.0] * (len(NODES) - 4)]
    found = circuit_nodes(scores_of(values), [0.2])
    assert dict(found.schema) == MEMBER_SCHEMA
    assert found.rows() == [
        ("ioi", "nap", 0.2, 3, 1, "a0.h1", 3.0),
        ("ioi", "nap", 0.2, 3, 2, "a0.h0", 0.5),
        ("ioi", "nap", 0.2, 3, 3, "a0.h3", 0.5),
    ]


def test_scores_rank_as_their_files_have_them():
    """The difference of the first two is lost in float32, where they are equal."""
    values = np.array([1.0, 1.0 + 1e-9, *[0.0] * (len(NODES) - 2)])
    found = circuit_nodes(Scores(values, NODES, LABELS), [0.1])
    assert found["node"].to_list() == ["a0.h0"]
    assert dict(found.schema) == MEMBER_SCHEMA


def test_unknown_scores_have_no_circuit():
    found = circuit_nodes(scores_of([np.nan] * len(NODES)), [0.2, 1.0])
    assert found.is_empty()
    assert dict(found.schema) == MEMBER_SCHEMA


@pytest.mark.parametrize("wrong", [-0.1, 1.5, float("nan")])
def test_a_proportion_is_a_share(wrong):
    with pytest.raises(ValueError, match=r"proportion .*expected a share"):
        circuit_nodes(scores_of(np.ones(len(NODES))), [wrong])
