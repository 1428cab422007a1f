"""Table and figure of the number of training families, against planted truth."""

from itertools import product

import numpy as np
import polars as pl
import pytest

from circuit_transfer.artifacts.alignments import Alignment
from circuit_transfer.figures.style import save
from circuit_transfer.figures.training_families import (
    STYLES,
    training_families_figure,
)
from circuit_transfer.models.nodes import node_names
from circuit_transfer.statistics import holm
from circuit_transfer.study.sensitivity import SCHEMA
from circuit_transfer.tables.training_families import (
    GIVEN,
    family_means,
    training_families_table,
)
from circuit_transfer.transfer.controls import RIDGE_CONTROLS
from circuit_transfer.transfer.family_draws import ALL, drawn_tasks
from circuit_transfer.transfer.projection import projected_rankings
from circuit_transfer.transfer.training_sets import left_out_sets, study_families

TASKS = [f"t{number}" for number in range(13)]
FAMILIES = study_families(TASKS, {"two": TASKS[:2]})
SEEDS, N_FAMILIES = (0, 1, 2), (1, 4, 8, 11, ALL)
SOURCE_NODES, TARGET_NODES, RANK = node_names(2, 9), node_names(5, 8), 5
RIDGE = ("ridge", *RIDGE_CONTROLS.values(), "mean-gold")
LABELS = {"setting": "training_families", "kind": "aligned"}
LABELS |= {"source": "small", "target": "big", "method": "nap"}


def planted(related, seed=0):
    """Areas of a source whose scores are the target's by a linear map, or unrelated.

    The area of a ranking is its correlation with the gold scores.
    """
    random = np.random.default_rng(seed)
    causes = random.standard_normal((len(TASKS), RANK))
    of_source = causes if related else random.standard_normal(causes.shape)
    sources, gold = (
        each @ random.standard_normal((RANK, len(nodes)))
        for each, nodes in ((of_source, SOURCE_NODES), (causes, TARGET_NODES))
    )
    sources, gold = (dict(zip(TASKS, each, strict=True)) for each in (sources, gold))
    rows = []
    for task, n_families, fit_seed in product(TASKS, N_FAMILIES, SEEDS):
        fit = unfitted(left_out_sets(task, FAMILIES)["family"], n_families, fit_seed)
        options = {"controls": RIDGE, "families": FAMILIES}
        found = projected_rankings(task, sources, gold, [fit], [], **options)
        found = found.filter(pl.col("control") != "none")
        for control, scores in found.select("control", "scores").iter_rows():
            cpr = np.corrcoef(scores, gold[task])[0, 1]
            row = LABELS | {"task": task, "control": control, "cpr": cpr}
            rows.append(row | {"value": str(n_families), "seed": fit_seed})
    return pl.DataFrame(rows, schema=SCHEMA)


def unfitted(training_set, n_families, seed):
    """An alignment that says what it would have been trained on."""
    tasks = drawn_tasks(training_set, TASKS, FAMILIES, n_families, seed=seed)
    labels = {"training_set": training_set, "seed": seed, "tasks": tasks}
    labels |= {"maps": ["free"], "transform": "raw"}
    labels |= {"source_nodes": SOURCE_NODES, "target_nodes": TARGET_NODES}
    matrix = np.zeros((len(SOURCE_NODES), len(TARGET_NODES)), np.float32)
    return Alignment({"alignment": matrix, "initial": matrix}, labels)


@pytest.fixture(scope="module")
def related():
    return planted(related=True)


def rows_of(areas, against):
    frame = training_families_table(areas, FAMILIES).frame
    assert frame["map"].unique().to_list() == ["ridge"]
    return frame.filter(against=against)


AGAINST = ("shuffled", "other family", "mean gold")


@pytest.mark.parametrize("against", AGAINST)
def test_a_source_that_is_the_target_by_a_linear_map_is_found(related, against):
    rows = rows_of(related, against)
    assert rows["training_families"].to_list() == [*map(str, N_FAMILIES)]
    first, *_, most, of_all = rows["difference"].to_list()
    assert most == pytest.approx(of_all) and most > first + 0.1
    assert (rows["families"] == 12).all()
    assert rows["p_families_holm"][-1] <= 3 * 2.0**-11
    assert rows["difference_low"][-1] > 0


def test_an_unrelated_source_is_of_no_use():
    for against in AGAINST:
        rows = rows_of(planted(related=False), against)
        assert (rows["p_families_holm"] > 0.05).all()
        assert not (rows["difference_low"] > 0).any()


LEVELS = {"none": 0.7, "source-free": 0.5, "scrambled-source": 0.4}
LEVELS |= {"other-family": 0.6, "ridge": 0.55, "ridge-scrambled-source": 0.5}
LEVELS |= {"ridge-other-family": 0.65, "mean-gold": 0.45}


def planted_levels(values=("1", "8", ALL)):
    """Areas that lie .1 higher for every value, and by family and seed around it."""
    rows = []
    for place, value in enumerate(values):
        for number, task in enumerate(TASKS):
            for control, level in LEVELS.items():
                seeds = (-1, 1) if control != "mean-gold" or value != ALL else (None,)
                name = None if control in RIDGE else "free"
                slope = number / 100 if control in ("none", "ridge") else 0.0
                for seed in seeds:
                    cpr = level + 0.1 * place + slope + (seed or 0) / 10
                    row = LABELS | {"task": task, "control": control, "map": name}
                    rows.append(row | {"value": value, "seed": seed, "cpr": cpr})
    return pl.DataFrame(rows, schema=SCHEMA)


def test_families_of_several_tasks_count_once():
    areas = planted_levels()
    means = family_means(areas, FAMILIES)
    assert len(means) == 12 * 3 * len(LEVELS)
    of_two = means.filter(map="free", given="real", value="8", family="two")
    # Mean of two tasks, .7 + .1 and .01 more.
    assert of_two["cpr"].to_list() == pytest.approx([0.805])
    frame = training_families_table(areas, FAMILIES).frame
    slope = np.mean([0.005, *(number / 100 for number in range(2, 13))])
    real = {"free": LEVELS["none"], "ridge": LEVELS["ridge"]}
    for row in frame.iter_rows(named=True):
        place = ["1", "8", ALL].index(row["training_families"])
        assert row["real"] == pytest.approx(real[row["map"]] + slope + 0.1 * place)
        controls = [c for c, given in GIVEN.items() if given == row["against"]]
        control = next(c for c in controls if (c in RIDGE) == (row["map"] == "ridge"))
        assert row["other"] == pytest.approx(LEVELS[control] + 0.1 * place)
        assert row["difference"] == pytest.approx(row["real"] - row["other"])
        assert row["p_least"] == 2.0**-11
    for _, rows in frame.group_by("map", "training_families"):
        assert len(rows) == 3
        expected = holm(rows["p_families"])
        np.testing.assert_array_equal(rows["p_families_holm"], expected)
    # Where the difference is large, all families agree.
    of_free = frame.filter(pl.col("difference") > 0.1)
    assert (of_free["p_families"] == 2.0**-11).all()


def test_other_settings_are_no_part_of_it(tmp_path):
    other = planted_levels().with_columns(setting=pl.lit("epochs"))
    assert training_families_table(other, FAMILIES).frame.is_empty()
    save(training_families_figure(other, FAMILIES), tmp_path / "nothing.png")


def test_the_figure_has_a_panel_per_map_and_pair_and_a_line_per_source(tmp_path):
    areas = planted_levels(("1", "8", "11", ALL))
    areas = pl.concat([areas, areas.with_columns(target=pl.lit("else"))])
    figure = training_families_figure(areas, FAMILIES)
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == [
        f"small → {target}\n{name}, nap"
        for target in ("big", "else")
        for name in ("free", "ridge")
    ]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [*STYLES]
    means = family_means(areas, FAMILIES)
    for axes, name in zip(figure.axes, ["free", "ridge"] * 2, strict=True):
        for container in axes.containers:
            line = container[0]
            drawn = means.filter(map=name, given=container.get_label(), target="big")
            # Eleven are all others: one point for both.
            levels = [
                drawn.filter(value=value)["cpr"].mean() for value in ("1", "8", "11")
            ]
            assert line.get_ydata().tolist() == pytest.approx(levels)
            np.testing.assert_allclose(line.get_xdata(), [1, 8, 11], rtol=0.05)
    save(figure, tmp_path / "figure.png")
