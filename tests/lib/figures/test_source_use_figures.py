"""Figures of source use: what is drawn where, filled or open, and nothing cut off."""

import polars as pl
import pytest
from drawn import cut_off

from circuit_transfer.figures.source_use import (
    source_use,
    source_use_by_similarity,
)
from circuit_transfer.tables.source_use import ALL_GIVEN, BEST_TARGET_ONLY, SCHEMA

MAPS = ["lineage", "free"]
CONTROLS = ["source-free", "random-source", "other-family", "mean-gold"]
LOOKS = {"method": "nap", "maps": MAPS}


def row(pair, control, difference, **other):
    source, target = pair
    names = {"relation": "pruned", "source": source, "target": target, "method": "nap"}
    names |= {"map": "lineage", "protocol": "family", "measure": "cpr"}
    ends = {"difference_low": difference - 0.1, "difference_high": difference + 0.1}
    tests = {"p_families": 0.01, "p_families_holm": 0.04, "task_similarity": 0.5}
    values = {"control": control, "difference": difference}
    return names | values | ends | tests | other


def frame(*rows):
    return pl.DataFrame(rows, schema=SCHEMA)


def marks(panel):
    """Where marks are, and whether they are filled."""
    found = [each for each in panel.lines if each.get_marker() != "None"]
    return [
        (*each.get_xydata()[0].tolist(), each.get_markerfacecolor() != "white")
        for each in found
    ]


DOWN, UP = ("big", "cut"), ("cut", "big")


def both_ways():
    rows = [row(DOWN, control, 0.1 * n) for n, control in enumerate(CONTROLS)]
    rows += [row(DOWN, BEST_TARGET_ONLY, -0.2, p_families=0.3, p_families_holm=None)]
    rows += [row(DOWN, ALL_GIVEN, 0.15), row(DOWN, "mean-gold", 0.4, map="free")]
    rows += [row(UP, "mean-gold", 0.05, p_families_holm=0.06)]
    rows += [row(UP, ALL_GIVEN, 0.05)]
    # Neither of these is drawn: over pairs, another measure, the weaker protocol.
    rows += [
        row((None, None), "mean-gold", 0.9),
        row(DOWN, "mean-gold", 0.9, measure="cmd"),
    ]
    return [*rows, row(DOWN, "mean-gold", 0.9, protocol="task")]


def test_both_directions_are_below_each_other_with_a_row_for_every_map():
    figure = source_use(frame(*both_ways()), **LOOKS)
    down, up = figure.axes
    assert [each.get_title() for each in (down, up)] == [
        "pruned\nbig →\ncut",
        "pruned\ncut →\nbig",
    ]
    found = marks(down)
    assert [x for x, *_ in found] == pytest.approx([0, 0.1, 0.2, 0.3, -0.2, 0.4])
    # The controls of a map around its row, in order; the other map a row below.
    heights = [y for _, y, _ in found]
    assert heights == pytest.approx([-0.3, -0.15, 0, 0.15, 0.3, 1.15])
    # Filled where it is significant, if adjusted then after that.
    assert [filled for *_, filled in found] == [True] * 4 + [False, True]
    assert marks(up) == [(0.05, pytest.approx(0.15), False)]
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names[1] == "shuffled scores" and names[4:] == [
        BEST_TARGET_ONLY,
        "p < 0.05",
        "not significant",
    ]
    assert not cut_off(figure)


def test_of_edges_the_totals_of_writers_and_readers_are_drawn_too():
    totals = row(DOWN, "degree-source", 0.02, p_families=0.2, p_families_holm=None)
    figure = source_use(frame(*both_ways(), totals), **LOOKS)
    found = marks(figure.axes[0])
    assert found[-1] == (pytest.approx(0.02), pytest.approx(0.375), False)
    # There is room for one more.
    assert [y for _, y, _ in found[:2]] == pytest.approx([-0.375, -0.225])
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names[5] == "totals of writers and readers"
    assert not cut_off(figure)


def test_many_pairs_fill_several_rows_of_panels():
    pairs = [(f"model-with-a-name-{n}", "big") for n in range(7)]
    rows = [row(pair, "mean-gold", 0.1) for pair in pairs] + [row(UP, "mean-gold", 0.1)]
    rows.append(row(DOWN, "mean-gold", 0.2))
    figure = source_use(frame(*rows), **LOOKS)
    titles = [each.get_title() for each in figure.axes if each.get_title()]
    assert len(titles) == 9
    # Five columns, and two directions; the eighth pair is the third below.
    assert len(figure.axes) == 20
    assert not cut_off(figure)


def test_the_difference_is_drawn_over_how_similar_the_models_are():
    rows = both_ways()
    rows += [row(("a", "b"), ALL_GIVEN, 0.3, task_similarity=0.9, relation="finetuned")]
    rows += [row(("c", "d"), ALL_GIVEN, 0.3, task_similarity=None)]
    figure = source_use_by_similarity(frame(*rows), **LOOKS)
    (panel,) = figure.axes
    assert panel.get_title() == "lineage"
    # Both directions beside each other, the second open; of one alone in its place.
    assert marks(panel) == [
        (pytest.approx(0.49), 0.15, True),
        (pytest.approx(0.51), 0.05, False),
        (0.9, 0.3, True),
    ]
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["pruned: big → (open: ←) cut", "finetuned: a → b"]
    assert not cut_off(figure)


@pytest.mark.parametrize("draw", [source_use, source_use_by_similarity])
def test_without_any_difference_there_is_a_message(draw):
    figure = draw(frame(), **LOOKS)
    (text,) = figure.texts
    assert not figure.axes and "there is no" in text.get_text().lower()


def test_controls_differ_by_more_than_colour():
    (panel, _) = source_use(frame(*both_ways()), **LOOKS).axes
    shapes = [each.get_marker() for each in panel.lines if each.get_marker() != "None"]
    assert len(set(shapes)) == 5
