"""Comparing numbers of steps: against hand computation, and closed forms."""

import polars as pl
import pytest
import torch

from circuit_transfer.circuits.attribution import Attribution
from circuit_transfer.circuits.convergence import (
    COMPARED,
    SCORES,
    compare_counts,
    no_scores,
    scores_by_steps,
)

# Twenty nodes, the first the highest.
SCORED = [float(20 - node) for node in range(20)]


def swapped(*pairs):
    """The scores with those of some pairs of nodes exchanged."""
    scores = list(SCORED)
    for one, other in pairs:
        scores[one], scores[other] = scores[other], scores[one]
    return scores


def frame(**scores):
    rows = [
        (int(name[1:]), each, 1.0, 1 / int(name[1:])) for name, each in scores.items()
    ]
    return pl.DataFrame(rows, schema=SCORES, orient="row")


def test_scores_are_compared_by_rank_by_their_highest_and_by_value():
    # Of the 5 highest two leave, for 12 and 13; of the 10 highest the same two.
    fewer = swapped((0, 12), (1, 13))
    (row,) = compare_counts(frame(n5=fewer, n10=SCORED)).rows(named=True)
    assert (row["steps"], row["more_steps"]) == (5, 10)
    # 1 - 6 sum d^2 / (n (n^2 - 1)), four ranks moved by 12.
    assert row["spearman"] == pytest.approx(1 - 6 * 4 * 144 / (20 * 399))
    assert (row["top_5"], row["top_10"]) == (0.6, 0.8)
    assert row["top_5%"] == 0  # the highest alone
    assert row["largest_change"] == pytest.approx(12 / 20)
    assert (row["effect_error"], row["effect_error_of_more"]) == (1 / 5, 1 / 10)


def test_the_largest_change_is_relative_to_the_largest_size():
    many = [-40.0, *SCORED[1:]]
    (row,) = compare_counts(frame(n1=SCORED, n2=many)).rows(named=True)
    assert row["largest_change"] == pytest.approx(60 / 40)


def test_every_two_numbers_are_compared_in_their_order():
    found = compare_counts(frame(n40=SCORED, n5=SCORED, n10=SCORED))
    assert found.select("steps", "more_steps").rows() == [(5, 10), (5, 40), (10, 40)]
    assert found["spearman"].to_list() == pytest.approx([1, 1, 1])
    assert found["largest_change"].to_list() == [0, 0, 0]


def test_a_number_of_nodes_that_chooses_nothing_is_empty():
    few = compare_counts(frame(n1=SCORED[:5], n2=SCORED[:5]))
    # All nodes are among the 5 highest, and 5 % of five are none.
    assert few.select("top_5", "top_10", "top_5%").row(0) == (None, None, None)
    constant = compare_counts(frame(n1=[0.0] * 20, n2=[0.0] * 20)).row(0, named=True)
    assert constant["spearman"] is None and constant["largest_change"] is None


def test_without_usable_pairs_all_but_the_numbers_is_empty():
    assert no_scores([5, 10]).schema == pl.Schema(SCORES)
    found = compare_counts(no_scores([5, 10]))
    assert found.schema == pl.Schema(COMPARED)
    assert found.row(0) == (5, 10, *[None] * 7)


def test_the_error_of_the_effect_does_not_cancel_over_examples():
    nodes, effect = torch.tensor([[1.0, 3.0], [3.0, 5.0]]), torch.tensor([2.0, -2.0])
    results = {
        1: Attribution(nodes, effect, torch.tensor([3.0, -3.0])),
        2: Attribution(nodes, effect, effect),
        3: Attribution(nodes, effect),
    }
    found = scores_by_steps(results)
    assert found["scores"].to_list() == [[2.0, 4.0]] * 3
    assert found["effect"].to_list() == [0, 0, 0]
    assert found["effect_error"].to_list() == [0.5, 0, None]
