"""Pairs that are drawn with replacement."""

import polars as pl
import pytest

from circuit_transfer.prompts.resampling import resampled_pairs


def test_pairs_with_the_same_prompts_are_drawn_together():
    # Of six pairs of prompts, the last one three times, with other answers.
    prompts = [0, 1, 2, 3, 4, 5, 5, 5]
    pairs = pl.DataFrame(
        {
            "row": range(8),
            "clean_ids": [[each, 1] for each in prompts],
            "corrupted_ids": [[1, each] for each in prompts],
        }
    )
    drawn = [resampled_pairs(pairs, number)["row"].to_list() for number in range(400)]
    for rows in drawn:
        times = [rows.count(row) for row in range(8)]
        assert times[5] == times[6] == times[7] and sum(times[:6]) == 6
    # A pair of prompts is left out with the probability (5/6)^6, about a third.
    absent = sum(row not in rows for rows in drawn for row in range(6)) / (6 * 400)
    assert absent == pytest.approx((5 / 6) ** 6, abs=0.03)
    assert drawn[0] != drawn[1]
    assert drawn[0] == resampled_pairs(pairs, 0)["row"].to_list()
    assert resampled_pairs(pairs.clear(), 0).is_empty()
