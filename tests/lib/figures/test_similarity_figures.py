"""Table and figures of similarity and stability, against known values."""

import polars as pl
import pytest
from drawn import cut_off

from circuit_transfer.figures import similarity as figures
from circuit_transfer.tables.similarity import correlations_table, similarity_means
from circuit_transfer.transfer.correlation import (
    AFTER,
    CHANCE,
    CORRELATION_SCHEMA,
    DEPTH,
    GOLD,
    RANDOM,
)

PAIR = {"source": "small", "target": "large"}
TASKS = ("ioi", "mcqa")
SEEDS = (0, 1, 2)


def row(left, right, measure, value, *, task, **more):
    keys = PAIR | {"method": "nap", "left": left, "right": right, "task": task}
    return keys | {"measure": measure, "value": value} | more


def rows(left, level, *, seeds=SEEDS, right=GOLD, **more):
    """The levels of two tasks are .1 apart, those of neighbouring seeds .02."""
    for shift, task in ((-0.05, "ioi"), (0.05, "mcqa")):
        for seed in seeds:
            value = level + shift + (0 if seed is None else 0.02 * (seed - 1))
            keys = {"task": task, "seed": seed, **more}
            yield row(left, right, "pearson", value, **keys)
            yield row(left, right, "spearman", value - 0.1, **keys)
            # Of four nodes .5 and .6 keep the same two.
            for size, nodes in ((0.25, 1), (0.5, 2), (0.6, 2)):
                of_size = {"proportion": size, "n_nodes": nodes}
                yield row(left, right, "jaccard", value * size, **of_size, **keys)
            of_size = {"proportion": 1.0, "n_nodes": 4}
            yield row(left, right, "jaccard", 1.0, **of_size, **keys)


@pytest.fixture(scope="module")
def likeness():
    trained = {"map": "free", "regime": "zero-shot", "training_set": "without-x"}
    parts = [
        *rows(DEPTH, 0.3, seeds=[None]),
        *rows(RANDOM, 0.1, map="free"),
        *rows(AFTER, 0.6, **trained),
        *rows(AFTER, 0.2, right=DEPTH, **trained),
        *rows(AFTER, 0.4, seeds=[None], **(trained | {"map": "depth-prior"})),
        row(CHANCE, GOLD, "jaccard", 0.05, task="ioi", proportion=0.25, n_nodes=1),
        row(CHANCE, GOLD, "jaccard", 0.05, task="mcqa", proportion=0.25, n_nodes=1),
        # A flat vector, and another pair: neither counts.
        row(RANDOM, GOLD, "pearson", None, task="ioi", map="free", seed=0),
        row(DEPTH, GOLD, "pearson", -1.0, task="ioi") | {"target": "other"},
    ]
    return pl.DataFrame(parts, schema=CORRELATION_SCHEMA)


def test_means_are_over_tasks_then_seeds(likeness):
    means = similarity_means(likeness.filter(target="large", map="free", right=GOLD))
    cell = means.filter(projection="zero-shot", measure="pearson")
    assert cell.select("mean", "deviation").row(0) == pytest.approx((0.6, 0.02))


def test_table_lists_projections_before_and_after(likeness):
    frame = correlations_table(likeness, **PAIR, methods=["nap", "exact"]).frame
    assert frame.select("method", "map", "projection").rows() == [
        ("nap", None, CHANCE),
        ("nap", None, DEPTH),
        ("nap", "depth-prior", "zero-shot"),
        ("nap", "free", RANDOM),
        ("nap", "free", "zero-shot"),
    ]
    assert frame.columns[3:] == [
        "pearson",
        "pearson_sd",
        "spearman",
        "spearman_sd",
        "jaccard_0.25",
        "jaccard_0.5",
        "pearson_to_source",
        "spearman_to_source",
    ]
    last = frame.row(-1)[3:]
    assert last == pytest.approx((0.6, 0.02, 0.5, 0.02, 0.15, 0.3, 0.2, 0.1))
    depth = frame.row(1)[3:]
    assert depth[1] is None and depth[0] == pytest.approx(0.3)
    assert frame.row(0)[3:] == (None, None, None, None, 0.05, None, None, None)


def test_table_of_nothing_has_its_columns(likeness):
    frame = correlations_table(likeness.clear(), **PAIR, methods=["nap"]).frame
    assert frame.is_empty() and frame.columns[:4][-1] == "pearson"


def draw_likeness(likeness, methods=("nap", "exact"), map_name="free"):
    maps = dict.fromkeys(methods, [map_name])
    return figures.correlations_figure(likeness, **PAIR, maps=maps)


def points(axes):
    """Correlations by the place on the axis that they stand next to."""
    lines = [line for line in axes.lines if line.get_marker() in ("o", "D")]
    drawn = [line for line in lines if len(line.get_xdata()) == 1]
    return {
        (line.get_marker(), round(line.get_xdata()[0])): line.get_ydata()[0]
        for line in drawn
    }


def test_figure_shows_the_main_map_with_source_and_untrained(likeness):
    figure = draw_likeness(likeness)
    above, empty, below, _ = figure.axes
    labels = [label.get_text() for label in above.get_xticklabels()]
    assert labels[:2] == [DEPTH, RANDOM] and labels[3] == "zero-shot"
    expected = {("o", 0): 0.3, ("o", 1): 0.1, ("o", 3): 0.6}
    expected |= {("D", 0): 0.2, ("D", 1): 0.0, ("D", 3): 0.5}
    found = points(above)
    # One of the start's values is not known.
    assert found.pop(("o", 1)) == pytest.approx(0.1, abs=0.02)
    expected.pop(("o", 1))
    assert found == pytest.approx(expected)
    lines = {line.get_color(): line for line in below.lines}
    zero_shot = lines[figures.SERIES["zero-shot"]]
    assert zero_shot.get_xdata().tolist() == [0.25, 0.5, 1.0]
    assert zero_shot.get_ydata().tolist() == pytest.approx([0.15, 0.3, 1.0])
    assert lines[figures.SERIES[CHANCE]].get_linestyle() == ":"
    assert [text.get_text() for text in empty.texts] == ["-"]
    assert cut_off(figure) == []


def test_figure_of_nothing_says_so(likeness):
    (text,) = draw_likeness(likeness.clear()).texts
    assert "No projection was compared" in text.get_text()


@pytest.fixture(scope="module")
def stability():
    keys = {"task": "ioi", "training_set": None, "seed": None}
    # .5 and .6 round to the same circuit.
    sizes = [(0.1, 1, 0.7, 0.5, 0.9), (0.5, 4, 0.99, 1.0, 1.0)]
    sizes.append((0.6, 4, 0.99, 1.0, 1.0))
    names = ("proportion", "n_nodes", "jaccard", "low", "high")
    lines = [dict(zip(names, size, strict=True)) for size in sizes]
    frames = [keys | {"circuit": "gold"} | line for line in lines]
    for seed in (0, 1):
        shift = {"jaccard": lines[0]["jaccard"] + 0.1 * seed, "seed": seed}
        frames.append(keys | {"circuit": "zero-shot-family"} | lines[0] | shift)
    return pl.DataFrame(frames)


def test_stability_has_its_bar_and_its_intervals(stability):
    figure = figures.stability_figure(
        stability, title="t", names={"gold": "gold large"}, tasks=TASKS
    )
    panel, empty = figure.axes
    lines = {line.get_color(): line for line in panel.lines}
    gold = lines[figures.SERIES["gold"]]
    assert gold.get_ydata().tolist() == [0.7, 0.99]
    assert gold.get_xdata() == pytest.approx([0.1, 0.5], rel=0.1)
    transferred = lines[figures.SERIES["zero-shot-family"]]
    assert transferred.get_ydata().tolist() == pytest.approx([0.75])
    (bar,) = [line for line in panel.lines if line.get_linestyle() == "--"]
    assert set(bar.get_ydata()) == {0.8}
    assert [text.get_text() for text in panel.texts] == ["0.8"]
    ends = [path.vertices[:, 1].tolist() for path in panel.collections[0].get_paths()]
    assert ends == [[0.5, 0.9], [1.0, 1.0]]
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["gold large", "zero-shot-family"]
    assert [text.get_text() for text in empty.texts] == ["-"]
    assert cut_off(figure) == []


def test_stability_of_nothing_says_so(stability):
    figure = figures.stability_figure(
        stability.clear(), title="t", names={}, tasks=TASKS
    )
    assert "no circuit to resample" in figure.texts[0].get_text()
