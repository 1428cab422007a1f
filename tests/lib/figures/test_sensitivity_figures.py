"""Table and figures of a sensitivity study, against known areas."""

import polars as pl
import pytest
from drawn import cut_off

from circuit_transfer.figures.sensitivity import STYLES, sensitivity_figure
from circuit_transfer.study.sensitivity import SCHEMA
from circuit_transfer.tables.sensitivity import lines, sensitivity_table
from circuit_transfer.tables.typesetting import to_html, to_tex

TASKS = ["ioi", "addition"]
LEVELS = {"gold": 0.8, "in-distribution": 0.7, "zero-shot": 0.6}
LEVELS |= {"zero-shot-family": 0.55, "source-free": 0.5, "random-rankings": 0.3}
DIFFERENCE = "zero-shot-family_minus_source-free"


def level(circuit, task, seed, slope):
    """Seeds lie around their mean, the second task .1 above, every value higher."""
    spread = 0.04 if circuit == "zero-shot-family" else 0.02
    return LEVELS[circuit] + 0.1 * TASKS.index(task) + spread * (seed or 0) + slope


def areas_of(setting, values, configured, **names):
    """Areas that rise by .01 a value; two protocols of source-free, the other's 0."""
    rows = []
    pair = {"source": "small", "target": "big", "method": "nap"} | names
    for number, value in enumerate(values):
        for task in TASKS:
            for circuit in LEVELS:
                for seed in (None,) if circuit == "gold" else (-1, 1):
                    cpr = level(circuit, task, seed, 0.01 * number)
                    row = {"setting": setting, "value": value, "task": task, **pair}
                    row |= {"configured": value == configured, "circuit": circuit}
                    row |= {"seed": seed, "cpr": cpr, "cmd": 1 - cpr}
                    row |= {"right_above_wrong_area": cpr / 2, "max_faithfulness": 1.0}
                    if circuit == "source-free":
                        rows.append(row | {"control": circuit, "protocol": "family"})
                        row |= {"control": circuit, "protocol": "task", "cpr": 0.0}
                    elif seed is not None and circuit != "random-rankings":
                        row |= {"control": "none"}
                        row |= {"protocol": "family" if "family" in circuit else "task"}
                    rows.append(row)
    return pl.DataFrame(rows, schema=SCHEMA)


def empty(setting, value):
    """A value that the method cannot have."""
    rows = areas_of(setting, [value], None).filter(circuit="gold")
    return rows.with_columns(cpr=None, cmd=None).cast(SCHEMA)


def test_the_table_has_means_over_tasks_and_seeds_and_the_difference():
    areas = areas_of("sparsity", ["1", "4"], "4")
    whole = sensitivity_table(areas).frame
    # A block for each measure, a row for each value.
    measures = ["CPR"] * 2 + ["CMD"] * 2 + ["accuracy area"] * 2
    assert whole["measure"].to_list() == measures
    frame, cmd, area = (whole[start : start + 2] for start in (0, 2, 4))
    assert frame["value"].to_list() == ["1", "4"]
    assert frame["as"].to_list() == ["", "configured"]
    assert frame["pair"].unique().to_list() == ["small → big"]
    assert lines(areas) == tuple(LEVELS)
    for line in LEVELS:
        expected = [LEVELS[line] + 0.05, LEVELS[line] + 0.06]
        assert frame[line].to_list() == pytest.approx(expected)
        assert cmd[line].to_list() == pytest.approx([1 - x for x in expected])
        assert area[line].to_list() == pytest.approx([x / 2 for x in expected])
        assert frame[f"{line}_exaggerates"].to_list() == [False] * 2
        assert cmd[f"{line}_exaggerates"].to_list() == [None] * 2
    assert frame[DIFFERENCE].to_list() == pytest.approx([0.05, 0.05])
    # Seeds are paired: .04 - .02 to either side of the mean, so 2 ** .5 * .02.
    deviations = frame[f"{DIFFERENCE}_half_width"].to_list()
    assert deviations == pytest.approx([0.02 * 2**0.5] * 2)


def test_a_value_that_the_method_cannot_have_is_a_row_without_numbers():
    areas = [areas_of("ablation", ["counterfactual"], "counterfactual")]
    areas = pl.concat([*areas, empty("ablation", "zero")])
    table = sensitivity_table(areas)
    rows = table.frame.filter(value="zero").select(*LEVELS, DIFFERENCE).rows()
    assert len(rows) == 3 and {value for row in rows for value in row} == {None}
    assert "the method cannot score nodes under this ablation" in to_html(table, "x")
    assert "zero" in to_tex(table)


def test_a_study_without_families_has_no_difference():
    areas = areas_of("sparsity", ["1"], "1")
    alone = areas.filter(pl.col("protocol").is_null() | (pl.col("protocol") == "task"))
    frame = sensitivity_table(alone).frame
    assert frame[DIFFERENCE].to_list() == [None] * 3
    assert frame["source-free"].to_list() == [None] * 3
    assert frame["zero-shot"].to_list() == pytest.approx([0.65, 0.35, 0.325])


def drawn(panel):
    """What a panel shows, by line: places, means and deviations."""
    lines = {}
    for bars in panel.containers:
        line, _, (segments,) = bars.lines
        low, high = (
            [end[1] for end in ends]
            for ends in zip(*segments.get_segments(), strict=True)
        )
        halves = [(h - n) / 2 for n, h in zip(low, high, strict=True)]
        lines[bars.get_label()] = (*(each.tolist() for each in line.get_data()), halves)
    return lines


def test_values_whose_circuits_exaggerate_are_marked():
    areas = areas_of("sparsity", ["1", "4"], "4")
    largest = pl.when(circuit="gold", value="4").then(1.06).otherwise(1.05)
    table = sensitivity_table(areas.with_columns(max_faithfulness=largest))
    marked = table.frame["gold_exaggerates"].to_list()
    assert marked == [False, True, None, None, None, None]
    assert to_html(table, "x").count("▲") == 2  # and once in the note


def test_marks_are_at_the_cpr_of_the_circuits_that_exaggerate():
    areas = areas_of("sparsity", ["1", "4"], "4")
    largest = pl.when(circuit="gold", value="4").then(1.06).otherwise(1.05)
    areas = areas.with_columns(max_faithfulness=largest)
    figure = sensitivity_figure(areas, title="t", setting="sparsity", tasks=TASKS)
    found = [
        [text.xy for text in panel.texts if text.get_text() == "▲"]
        for panel in figure.axes
    ]
    levels = [level("gold", task, None, 0.01) for task in TASKS]
    # Of the mean over tasks, and of each of them.
    for marks, value in zip(found[::3], [sum(levels) / 2, *levels], strict=True):
        assert marks == [(4.0, pytest.approx(value))]
    assert not any(found[1::3]) and not any(found[2::3])


def test_the_figure_has_a_panel_for_the_mean_and_every_task():
    areas = areas_of("sparsity", ["16", "1", "4"], "4")
    figure = sensitivity_figure(areas, title="t", setting="sparsity", tasks=TASKS)
    titles = [panel.get_title() for panel in figure.axes]
    assert titles[::3] == ["mean over tasks", *TASKS] and len(titles) == 9
    labels = [panel.get_ylabel() for panel in figure.axes[:3]]
    assert labels == ["CPR", "CMD", "accuracy area"]
    gold = drawn(figure.axes[1])["gold"]
    assert gold[1] == pytest.approx([1 - 0.86, 1 - 0.87, 1 - 0.85])
    for panel, shift in zip(figure.axes[::3], (0.05, 0.0, 0.1), strict=True):
        shown = drawn(panel)
        assert list(shown) == list(LEVELS)
        for name, (places, means, deviations) in shown.items():
            assert places == [1.0, 4.0, 16.0]
            base = LEVELS[name] + shift
            assert means == pytest.approx([base + 0.01, base + 0.02, base])
            spread = {"gold": 0.0, "zero-shot-family": 0.04}.get(name, 0.02)
            assert deviations == pytest.approx([spread * 2**0.5] * 3, abs=1e-9)
        assert panel.get_xscale() == "log"
        assert list(panel.get_xticks()) == [16.0, 1.0, 4.0]
        (configured,) = [line for line in panel.lines if line.get_linestyle() == ":"][
            -1:
        ]
        assert list(configured.get_xdata()) == [4.0, 4.0]
    assert cut_off(figure) == []


def test_numbers_of_similar_size_are_on_a_linear_scale():
    areas = areas_of("epochs", ["2", "4"], "4")
    figure = sensitivity_figure(areas, title="t", setting="epochs", tasks=TASKS)
    assert figure.axes[0].get_xscale() == "linear"


def test_names_are_side_by_side_with_a_gap_for_a_missing_one():
    values = ["counterfactual", "mean"]
    areas = areas_of("ablation", values, "counterfactual")
    areas = pl.concat(
        [
            areas.filter(value=values[0]),
            empty("ablation", "zero"),
            areas.filter(value="mean"),
        ]
    )
    figure = sensitivity_figure(areas, title="t", setting="ablation", tasks=TASKS)
    panel = figure.axes[0]
    labels = [label.get_text() for label in panel.get_xticklabels()]
    assert labels == ["counterfactual", "zero", "mean"]
    shown = drawn(panel)
    # Side by side without overlap, and nearest to their own name.
    places = [shown[name][0] for name in LEVELS]
    assert [[round(at) for at in each] for each in places] == [[0, 2]] * len(LEVELS)
    assert places == sorted(places) and len({at for at, _ in places}) == len(LEVELS)
    assert cut_off(figure) == []


def test_a_task_without_circuits_is_an_empty_panel():
    areas = areas_of("epochs", ["2", "4"], "4").filter(task="ioi")
    figure = sensitivity_figure(areas, title="t", setting="epochs", tasks=TASKS)
    assert [text.get_text() for text in figure.axes[6].texts] == ["-"]


def test_without_any_circuit_the_figure_says_so():
    figure = sensitivity_figure(
        empty("ablation", "zero"), title="t", setting="ablation", tasks=TASKS
    )
    assert "nothing to draw" in figure.texts[0].get_text()


def test_lines_can_be_distinguished():
    assert set(STYLES) >= set(LEVELS)
    assert len({STYLES[line] for line in LEVELS}) == len(LEVELS)


def test_protocols_that_are_one_are_shown_once():
    seen = pl.col("circuit") == "in-distribution"
    of_family = pl.col("protocol").is_null() | (pl.col("protocol") == "family") | seen
    names = {"zero-shot-family": "zero-shot(-family)", "family": "task (its family)"}
    areas = areas_of("sparsity", ["1", "4"], "4").filter(of_family)
    areas = areas.with_columns(pl.col("circuit", "protocol").replace(names))
    table = sensitivity_table(areas)
    frame = table.frame
    shown = frame.filter(measure="CPR")
    assert shown["zero-shot(-family)"].to_list() == pytest.approx([0.6, 0.61])
    difference = shown["zero-shot(-family)_minus_source-free"].to_list()
    assert difference == pytest.approx([0.05, 0.05])
    assert "zero-shot" not in frame.columns
    assert "zero-shot(-family)" in table.explanations
    figure = sensitivity_figure(areas, title="t", setting="sparsity", tasks=TASKS)
    shown = {"gold", "in-distribution", "zero-shot(-family)", "source-free"}
    assert drawn(figure.axes[0]).keys() == shown | {"random-rankings"}
