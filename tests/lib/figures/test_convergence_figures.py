"""Table and figure of compared numbers of steps, against known comparisons."""

import polars as pl
import pytest
from drawn import cut_off

from circuit_transfer.circuits.convergence import SCORES, no_scores
from circuit_transfer.figures.convergence import AGREEMENT, ERRORS, convergence_figure
from circuit_transfer.tables.convergence import comparisons, convergence_table
from circuit_transfer.tables.typesetting import to_html, to_tex

INPUTS, ACTIVATIONS = "nap-ig-inputs", "nap-ig-activations"
NODES = 40


def scores(task, method, wrong):
    """Scores with 5, 10 and 20 steps, the first `wrong` of them with 5 steps others."""
    last = [float(node) for node in range(NODES, 0, -1)]
    first = last[wrong:] + last[:wrong]
    known = method == INPUTS
    rows = [
        (steps, each, 1.0, 1 / steps if known else None)
        for steps, each in ((5, first), (10, last), (20, last))
    ]
    return labelled(pl.DataFrame(rows, schema=SCORES, orient="row"), task, method)


def labelled(frame, task, method):
    labels = {"model": "small", "task": task, "method": method}
    return frame.with_columns(
        pl.lit(value).alias(name) for name, value in labels.items()
    )


FRAMES = [
    scores("ioi", INPUTS, 1),
    scores("mcqa", INPUTS, 3),
    labelled(no_scores([5, 10, 20]), "none", INPUTS),
    scores("ioi", ACTIVATIONS, 0),
]


def test_the_table_has_the_mean_over_tasks_and_every_task():
    table = convergence_table(FRAMES)
    rows = table.frame
    assert rows["task"].to_list() == [
        *(name for task in ("mean", "ioi", "mcqa", "none") for name in [task] * 3),
        *("mean", "mean", "mean", "ioi", "ioi", "ioi"),
    ]
    # A node less in the five highest, and three nodes less; none is no task.
    first = rows.filter(method=INPUTS, steps=5, more_steps=20)
    assert first["top_5"].to_list() == pytest.approx([0.6, 0.8, 0.4, None])
    assert first["effect_error"].to_list() == pytest.approx([0.2, 0.2, 0.2, None])
    html = to_html(table, "x")
    assert "<td>-</td>" in html and "effect error of more" in html
    assert "top 5\\%" in to_tex(table)


def drawn(panel):
    """What a panel shows: the means and the bars of its lines, by label."""
    lines = {line.get_label(): list(line.get_ydata()) for line in panel.lines}
    bars = [
        [tuple(end[1] for end in ends) for ends in bar.get_segments()]
        for bar in panel.collections
    ]
    return lines, bars


def test_the_figure_has_agreement_and_errors_of_every_method():
    figure = convergence_figure(
        comparisons(FRAMES), title="small", methods=[INPUTS, ACTIVATIONS], configured=10
    )
    above, beside, below, _ = figure.axes
    lines, bars = drawn(above)
    names = [label for label, *_ in AGREEMENT.values()]
    assert list(lines)[: len(names)] == names
    # From the worst to the best task, with 5 steps and with 10.
    assert lines[names[1]] == pytest.approx([0.6, 1])
    assert bars[1] == [pytest.approx((0.4, 0.8)), pytest.approx((1, 1))]
    assert above.get_ylim()[0] == 0
    assert drawn(beside)[0][names[1]] == [1, 1]
    errors, _ = drawn(below)
    # The error of the effect with the most steps, too.
    assert errors[ERRORS["effect_error"][0]] == pytest.approx([1 / 5, 1 / 10, 1 / 20])
    assert len(errors[ERRORS["largest_change"][0]]) == 2
    assert below.get_yscale() == "log"
    for panel in figure.axes:
        (configured,) = (line for line in panel.lines if line.get_linestyle() == ":")
        assert list(configured.get_xdata()) == [10, 10]
        assert list(panel.get_xticks()) == [5, 10, 20]
    assert cut_off(figure) == []


def test_a_method_without_a_score_is_a_dash():
    frames = [labelled(no_scores([5, 10]), "none", INPUTS)]
    figure = convergence_figure(
        comparisons(frames), title="small", methods=[INPUTS], configured=5
    )
    texts = [text.get_text() for panel in figure.axes for text in panel.texts]
    assert texts == ["-", "-"]
