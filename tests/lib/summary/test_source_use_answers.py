"""What the page says of source use, by differences that are known."""

import polars as pl
import pytest

from circuit_transfer.summary.source_use import (
    source_use_answer,
    source_use_overview,
)
from circuit_transfer.tables.source_use import ALL_GIVEN, BEST_TARGET_ONLY, SCHEMA

GIVEN = ["source-free", "random-source", "other-family", "mean-gold"]
START = "From big to cut (pruned) by nap, over 12 families of tasks alone, "
SIGNS = {"cpr": 1, "cmd": -1, "right_above_wrong_area": 1}


def rows(name, gain, p=0.001, *, best=-0.1, n=12, protocol="family", **other):
    """All rows of a map that gains as much over every control."""
    names = {"relation": "pruned", "source": "big", "target": "cut", "method": "nap"}
    names |= {"map": name, "protocol": protocol, "n_families": n, "n_pairs": 1} | other
    for measure, sign in SIGNS.items():
        for control in (*GIVEN, ALL_GIVEN, BEST_TARGET_ONLY):
            value = sign * (best if control == BEST_TARGET_ONLY else gain)
            row = names | {"measure": measure, "control": control, "difference": value}
            row |= {"difference_low": value - 0.01, "difference_high": value + 0.01}
            row |= {"p_families": p, "p_families_least": 2.0 ** (1 - n)}
            row |= {"p_families_holm": p if control in GIVEN else None}
            yield row | {"equivalent": abs(value) + 0.01 < 0.05}


def frame(*of_maps):
    return pl.DataFrame([r for each in of_maps for r in each], schema=SCHEMA)


def test_maps_that_exceed_every_control_use_their_source():
    found = frame(rows("lineage", 0.2), rows("free", 0.01, p=0.4))
    (answer,) = source_use_answer(found)
    assert answer.lead == (
        f"{START}lineage was shown to use the source; free was shown to be within 0.05 "
        "of every control by CPR; no map was shown to exceed the best target-only "
        "control."
    )
    assert answer.details == (
        "CPR minus the mean of controls: lineage 0.20 [0.19, 0.21] and free 0.01 "
        "[0.00, 0.02]."
    )


@pytest.mark.parametrize("control", [*GIVEN])
@pytest.mark.parametrize("measure", ["cpr", "cmd"])
@pytest.mark.parametrize("how", ["not significant", "worse"])
def test_one_control_that_is_not_exceeded_is_enough(control, measure, how):
    changed = {"p_families_holm": pl.lit(0.06)}
    if how == "worse":
        changed = {"difference": -pl.col("difference")}
    this = (pl.col("control") == control) & (pl.col("measure") == measure)
    found = frame(rows("lineage", 0.2)).with_columns(
        pl.when(this).then(each).otherwise(pl.col(name)).alias(name)
        for name, each in changed.items()
    )
    (answer,) = source_use_answer(found)
    assert "no map was shown to use the source" in answer.lead


def test_two_maps_may_exceed_what_needs_no_source():
    found = frame(rows("lineage", 0.2, best=0.1), rows("matched", 0.2, best=0.1))
    (answer,) = source_use_answer(found)
    assert answer.lead.endswith(
        "lineage and matched were shown to use the source; lineage and matched were "
        "shown to exceed the best target-only control."
    )
    without = found.filter(pl.col("control") != BEST_TARGET_ONLY)
    (answer,) = source_use_answer(without)
    assert "target-only" not in answer.lead


def test_only_the_strictest_protocol_counts_and_pairs_have_an_answer_each():
    found = frame(
        rows("lineage", 0.2, protocol="task"),
        rows("lineage", 0.0, p=1.0),
        rows("lineage", 0.2, source="cut", target="big"),
        rows("lineage", 0.2, source=None, target=None, n_pairs=2),
    )
    down, up = source_use_answer(found)
    assert "no map was shown to use the source" in down.lead
    assert up.lead.startswith("From cut to big") and "lineage was shown" in up.lead
    overview = source_use_overview(found).frame
    assert len(overview) == 3 * 2
    assert set(overview["control"]) == {ALL_GIVEN, BEST_TARGET_ONLY}


def test_where_too_few_families_show_nothing_one_sentence_says_so():
    found = frame(rows("lineage", 0.2, p=0.25, n=3), rows("free", 0.2, p=0.25, n=3))
    (answer,) = source_use_answer(found)
    assert answer == (
        "Over 3 families of tasks alone, no map can be shown to exceed all controls: p "
        "is at least 1.00."
    )
    # Seven, of which each gives .0156: .0625 for four controls. Eight are enough.
    (answer,) = source_use_answer(frame(rows("lineage", 0.2, n=7)))
    assert answer.endswith("p is at least 0.06.")
    (answer,) = source_use_answer(frame(rows("lineage", 0.2, n=8)))
    assert "over 8 families" in answer.lead
    assert [*source_use_answer(frame())] == []
