"""Figures of the benchmark, against known measurements."""

import polars as pl
import pytest
from drawn import cut_off
from matplotlib.colors import to_hex

from circuit_transfer.benchmarking.entries import FORWARD, FORWARD_BACKWARD, MEASURED
from circuit_transfer.figures.benchmark import (
    BARS,
    benchmark_figure,
    scaling_figure,
)
from circuit_transfer.tables.benchmark import ON, SCALING

CASES = {"capture": (2, None), "nap": (4, 1.15), "nap-ig-inputs": (10, 1.1)}
MACHINE = "a processor, 2 cores, 1 used, torch 2, float32"


def row(case, seconds, peak, limit=None, memory_limit=None):
    """Return one measurement, with bare passes of one second each."""
    made = {"case": case, "repetition": 0, "seconds": seconds, "peak_bytes": peak}
    made |= {"forward_seconds": 1.0, "forward_backward_seconds": 1.0}
    made |= {"ideal_forwards": 4.0, "ideal_forward_backwards": 0.0}
    made |= {"run_forwards": 4.0, "run_forward_backwards": 0.0}
    return made | {"limit": limit, "memory_limit": memory_limit}


def ratios(shared=(0, 12)):
    """Return measurements in which a shared prefix halves seconds and memory."""
    rows = []
    for number, count in enumerate(shared):
        labels = {"benchmark": "b", "machine": MACHINE, "examples": 2, "positions": 24}
        labels |= {"shared": count, "circuits": 3}
        bare = [row(FORWARD, 1.0, 5), row(FORWARD_BACKWARD, 1.0, 100)]
        found = [
            row(case, seconds / (1 + number), 150, limit, limit and 2.0)
            for case, (seconds, limit) in CASES.items()
        ]
        rows += [labels | each for each in [*bare, *found]]
    return pl.DataFrame(rows, schema_overrides=MEASURED)


def bars(panel):
    """Widths by colour, from the top."""
    found = {}
    for patch in sorted(panel.patches, key=lambda each: each.get_y()):
        colour = to_hex(patch.get_facecolor()).upper()
        found.setdefault(colour, []).append(patch.get_width())
    return found


def test_bars_are_ratios_and_lines_are_limits():
    figure = benchmark_figure(ratios())
    seconds, memory = figure.axes
    assert [text.get_text() for text in seconds.get_yticklabels()] == [*CASES]
    assert seconds.yaxis_inverted()  # from the top
    assert bars(seconds) == {BARS[0]: [0.5, 1, 2.5], BARS[1]: [0.25, 0.5, 1.25]}
    assert bars(memory) == dict.fromkeys(BARS, [1.5] * 3)
    for panel, limits in ((seconds, {1: 1.15, 2: 1.1}), (memory, {1: 2.0, 2: 2.0})):
        (lines,) = panel.collections
        drawn = {round(s[:, 1].mean()): s[0, 0] for s in lines.get_segments()}
        assert drawn == pytest.approx(limits)
    assert seconds.get_title() == "seconds relative to ideal bare passes"
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "shared prefix: 0 of 24 tokens",
        "shared prefix: 12 of 24 tokens",
        "limit",
    ]
    assert figure.get_suptitle() == f"b\n{MACHINE}"
    assert cut_off(figure) == []


def test_one_kind_of_prompts_has_one_bar_each():
    figure = benchmark_figure(ratios(shared=(0,)))
    assert list(bars(figure.axes[0])) == [BARS[0]]


def growth(power=2.0, axes=("layers", "positions")):
    rows = []
    for axis in axes:
        for value in (2, 4, 8):
            place = {"benchmark": "b", "machine": MACHINE, "axis": axis, "value": value}
            rows += [place | row(FORWARD, float(value), 5)]
            rows += [place | row(case, value**power, 5) for case in CASES]
    return pl.DataFrame(rows, schema_overrides=SCALING).select(*SCALING)


def test_lines_have_their_slopes():
    figure = scaling_figure(growth())
    assert [panel.get_xlabel() for panel in figure.axes] == ["layers", "positions"]
    for panel in figure.axes:
        assert panel.get_xscale() == panel.get_yscale() == "log"
        texts = [text.get_text() for text in panel.get_legend().get_texts()]
        assert texts == ["1.00  forward", *(f"2.00  {case}" for case in CASES)]
        assert [list(line.get_ydata()) for line in panel.lines] == [
            [2, 4, 8],
            *[[4, 16, 64]] * 3,
        ]
        looks = {(line.get_color(), line.get_linestyle()) for line in panel.lines}
        assert len(looks) == len(panel.lines)
    assert cut_off(figure) == []


def test_a_single_size_has_no_slope():
    figure = scaling_figure(growth().filter(value=2))
    texts = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert texts[0] == "-  forward"


def test_without_measurements_the_figures_say_so():
    nothing = ratios().clear()
    assert "nothing to draw" in benchmark_figure(nothing).texts[0].get_text()
    empty = pl.DataFrame(schema=SCALING)
    assert "nothing to draw" in scaling_figure(empty).texts[0].get_text()
    assert set(ON) <= set(nothing.columns)
