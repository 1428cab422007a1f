"""Costs of a study and break-even points, against hand computation."""

import polars as pl
import pytest
from drawn import cut_off

from circuit_transfer.figures.costs import break_even_figure
from circuit_transfer.figures.style import COLOURS
from circuit_transfer.models.shape import model_shape
from circuit_transfer.study.costs import work_flops
from circuit_transfer.study.work import Work
from circuit_transfer.tables.costs import (
    ALL,
    COST_SCHEMA,
    FAMILY,
    NOTHING,
    break_even,
    break_even_table,
    costs_table,
    flop_unit,
    verdict,
    with_flops,
)
from circuit_transfer.tables.typesetting import to_html

TRAINING = {"all": ["a", "b"], "without-family-x": ["b"], "without-family-y": ["a"]}


def cost(stage, model, passes, seconds, part="attribute", **more):
    """A row whose FLOPs are a thousand million a pass and unit of its model."""
    forwards, forward_backwards = passes
    flop = 1e9 * (forwards + 3 * forward_backwards) * {"small": 1, "large": 10}[model]
    job = "/".join([stage, model, *map(str, more.values())])
    row = {"stage": stage, "job": job, "part": part, "model": model, **more}
    counts = {"forwards": forwards, "forward_backwards": forward_backwards}
    tokens = {"tokens": 5 * forwards, "backward_tokens": 5 * forward_backwards}
    return row | counts | tokens | {"seconds": seconds, "flop": flop}


def attribution(model, task, passes, seconds, method="nap"):
    return cost("attribute_nodes", model, passes, seconds, task=task, method=method)


def fit(training_set, part, passes, seconds, seed=None, method="nap"):
    pair = {"source": "small", "target": "large", "method": method}
    more = {"part": part, "training_set": training_set, "seed": seed}
    return cost("fit_alignment", "large", passes, seconds, **more, **pair)


def frame(rows):
    return pl.DataFrame(rows, schema=COST_SCHEMA | {"flop": pl.Float64})


ROWS = [
    attribution("large", "a", (10, 10), 4.0),
    attribution("large", "b", (10, 30), 8.0),
    attribution("large", "c", (10, 99), 99.0),  # the source has no pair of it
    attribution("small", "a", (10, 10), 1.0),
    attribution("small", "b", (10, 10), 3.0),
    fit("all", "prepare", (7, 0), 5.0),
    fit("all", "similarity", (1, 0), 50.0),
    fit("all", "free", (0, 40), 10.0, seed=0),
    fit("all", "free", (0, 40), 20.0, seed=1),
    fit("all", "free/source-free", (0, 999), 999.0, seed=0),
    fit("without-family-x", "free", (0, 20), 9.0, seed=0),
    fit("without-family-y", "free", (0, 20), 17.0, seed=0),
]


def balance(rows=ROWS, *maps):
    found = frame(rows)
    by_method = dict.fromkeys(found["method"].unique(), maps or ["free"])
    return break_even(found, training=TRAINING, maps=by_method)


def cell(balance, trained_on, unit):
    row = balance.filter(trained_on=trained_on, unit=unit).row(0, named=True)
    return [row[key] for key in ("gold", "training", "further", "break_even")]


def test_flops_are_those_of_the_estimate(tiny_model):
    shape = model_shape(tiny_model("qwen2").config)
    row = {"model": "m", "forwards": 3 * 4, "forward_backwards": 5 * 4}
    row |= {"tokens": 3 * 4 * 7, "backward_tokens": 5 * 4 * 7, "weight_tokens": None}
    work = Work("s", "m", {"t": 4}, 3, 5, batch_size=2, copies=1, logits=1)
    rows = pl.DataFrame([row, dict.fromkeys(row, 0) | {"model": "m"}])
    flops = with_flops(rows, {"m": shape})["flop"].to_list()
    assert flops == pytest.approx([work_flops(work, shape, {"t": 7}), 0.0])


@pytest.mark.parametrize(
    "flops, unit",
    [(0, "megaFLOP"), (9e9, "megaFLOP"), (10e9, "gigaFLOP"), (1e20, "petaFLOP")],
)
def test_units_leave_two_digits_before_the_point(flops, unit):
    assert flop_unit(flops) == unit


def test_costs_are_added_up_by_stage_and_model():
    parts = [row | {"job": "fit"} for row in ROWS[5:9]]
    seconds = {ROWS[0]["job"]: 6.0, ROWS[1]["job"]: 9.0, "fit": 100.0, "unused": 1.0}
    table = costs_table(frame([*ROWS[:2], *parts]), seconds).frame
    assert table.columns[5:7] == ["tokens", "gigaFLOP"]
    assert table.rows() == [
        ("attribute_nodes", "large", 2, 20, 40, 300, 1400.0, 12.0, 15.0),
        ("fit_alignment", "large", 1, 8, 80, 440, 2480.0, 85.0, 100.0),
        ("all", "", 3, 28, 120, 740, 3880.0, 97.0, 115.0),
    ]


def test_a_job_that_runs_two_models_counts_once_in_all():
    both = [row | {"job": "fit"} for row in (ROWS[0], ROWS[3])]
    table = costs_table(frame(both), {"fit": 100.0}).frame
    columns = ("stage", "model", "jobs", "seconds_of_whole_jobs")
    assert table.select(columns).rows() == [
        ("attribute_nodes", "large", 1, 100.0),
        ("attribute_nodes", "small", 1, 100.0),
        ("all", "", 1, 100.0),
    ]


def test_a_study_without_jobs_costs_nothing():
    table = costs_table(frame([]), {}).frame
    assert table.is_empty() and "megaFLOP" in table.columns


def test_break_even_by_hand():
    found = balance()
    # Gold 4 and 8 seconds, source 1 and 3; training 5 + (10 + 20) / 2 + 1 + 3.
    assert cell(found, ALL, "seconds") == pytest.approx([6, 24, 2, 24 / 4])
    # 9 + 3 without family x, 17 + 1 without family y.
    assert cell(found, FAMILY, "seconds") == pytest.approx([6, 15, 2, 15 / 4])
    # The source does not run the target.
    assert cell(found, ALL, "target passes") == pytest.approx([30, 47, 0, 47 / 30])
    assert cell(found, FAMILY, "target passes") == pytest.approx([30, 20, 0, 2 / 3])
    gold, training, further = 700e9, 70e9 + 1200e9 + 80e9, 40e9
    expected = [gold, training, further, training / (gold - further)]
    assert cell(found, ALL, "FLOP") == pytest.approx(expected)


def test_both_ways_cost_the_same_where_they_break_even():
    for row in balance().iter_rows(named=True):
        transfer = row["training"] + row["break_even"] * row["further"]
        assert transfer == pytest.approx(row["break_even"] * row["gold"])


STITCHES = [
    cost("stitch_alignment", model, (20, 0), seconds, **pair, task=task)
    for task in ("a", "b")
    for model, seconds in (("small", 0.0), ("large", 1.5))
    for pair in ({"source": "small", "target": "large"},)
]


def test_stitching_costs_its_runs_for_every_task_and_no_training():
    found = balance([*ROWS, *STITCHES])
    assert found.filter(pl.col("trained_on") != NOTHING).equals(balance())
    # Source attribution of 20 passes, and 20 of each model in its units.
    gold, training, further, tasks = cell(found, NOTHING, "FLOP")
    assert further == pytest.approx(1e9 * (10 + 3 * 10 + 20 + 10 * 20))
    assert (training, tasks) == (0, 0)
    assert cell(found, NOTHING, "seconds")[2] == pytest.approx(2.0 + 1.5)
    assert cell(found, NOTHING, "target passes")[2] == 20
    assert gold == cell(found, ALL, "FLOP")[0]
    figure = break_even_figure(found, source="small", target="large", methods=["nap"])
    (panel, _) = figure.axes
    assert [line.get_linestyle() for line in panel.lines][:3] == ["-", "-", "--"]


@pytest.mark.parametrize("seconds", [6.0, 7.0])
def test_a_source_that_costs_no_less_never_pays(seconds):
    rows = [*ROWS[:3], attribution("small", "a", (1, 1), seconds), *ROWS[5:]]
    rows.append(attribution("small", "b", (1, 1), seconds))
    found = balance(rows)
    assert cell(found, ALL, "seconds")[-1] is None
    assert cell(found, ALL, "FLOP")[-1] is not None
    table = break_even_table(found)
    cells = table.frame.filter(trained_on=ALL)
    assert cells["break_even_seconds"].item() is None
    assert cells["break_even_gigaFLOP"].item() is not None
    start = "Counted in seconds, transfer is"
    said = f"{start} never cheaper than direct attribution (nap)."
    assert verdict(found, "seconds") == said and said in to_html(table, "")


@pytest.mark.parametrize(
    "map_name, training",
    [("depth-prior", 0), ("cka-prior", 50), ("prior-residual", 59)],
)
def test_a_map_costs_what_it_needs(map_name, training):
    assert cell(balance(ROWS, map_name), ALL, "seconds")[1] == training


def test_compared_maps_cost_what_they_need():
    left_out = [
        fit(f"without-family-{name}", part, (6, 0), seconds)
        for name, seconds in (("x", 2.0), ("y", 4.0))
        for part in ("matching", "prepare")
    ]
    names = ("lineage", "matched", "matched-filled", "mean-gold-matched", "stitched")
    found = balance([*ROWS, *left_out, *STITCHES], "free", *names)
    ways = found["trained_on"].unique(maintain_order=True).to_list()
    assert ways == [ALL, FAMILY, NOTHING, *(f"{FAMILY} ({name})" for name in names[:4])]
    costs = [cell(found, each, "seconds") for each in ways[3:]]
    # Nothing; the mean of 2 and 4; the same, and 1.5 more a task; the same as the
    # second, and scores of b (3 and 8) or a (1 and 4).
    assert costs[0] == [6, 0, 2, 0]
    assert costs[1] == [6, 3, 2, pytest.approx(3 / 4)]
    assert costs[2] == [6, 3, 3.5, pytest.approx(3 / 2.5)]
    assert costs[3] == [6, 3 + (11 + 5) / 2, 2, pytest.approx(11 / 4)]
    without = balance([*ROWS, *left_out], "free", *names)["trained_on"]
    assert f"{FAMILY} (matched-filled)" not in without.to_list()


def test_methods_and_pairs_are_separate():
    others = [
        attribution("large", "a", (0, 0), 2.0, method="exact"),
        attribution("small", "a", (0, 0), 1.0, method="exact"),
        fit("all", "free", (0, 0), 0.5, seed=0, method="exact"),
    ]
    found = balance([*ROWS, *others])
    assert found.filter(method="nap").equals(balance())
    exact = cell(found.filter(method="exact"), ALL, "seconds")
    assert exact == pytest.approx([2, 1.5, 1, 1.5])
    said = "from 2 new tasks on (exact), from 7 on (nap)."
    assert verdict(found, "seconds").endswith(f"than direct attribution {said}")


@pytest.mark.parametrize(
    ("tasks", "said"),
    [
        ([0.0], "cheaper than direct attribution from the first new task on (m0)."),
        ([0.9, 1.0], "attribution from the first new task on (m0), from 2 on (m1)."),
        ([2.5, 2.1], "attribution from 3 new tasks on (m0, m1)."),
        ([None, 4.2, 2.5], "from 3 new tasks on (m2), from 5 on (m1), never (m0)."),
        ([None, None], "is never cheaper than direct attribution (m0, m1)."),
    ],
)
def test_the_fewest_tasks_for_which_a_transfer_is_cheaper_are_said(tasks, said):
    rows = [
        balance()
        .filter(unit="FLOP", trained_on=ALL)
        .with_columns(method=pl.lit(f"m{i}"), break_even=pl.lit(each, pl.Float64))
        for i, each in enumerate(tasks)
    ]
    sentence = verdict(pl.concat(rows), "FLOP")
    assert sentence.startswith("Counted in FLOPs, transfer is ")
    assert sentence.endswith(said)


def test_methods_of_several_pairs_are_named_with_their_pair():
    other = balance().with_columns(target=pl.lit("xl"))
    sentence = verdict(pl.concat([balance(), other]), "seconds")
    named = "(small → large by nap, small → xl by nap)"
    assert sentence.endswith(f"from 7 new tasks on {named}.")


def test_a_pair_without_a_common_task_has_no_rows():
    found = balance([row for row in ROWS if row["model"] == "large"])
    assert found.is_empty() and verdict(found, "FLOP") == ""
    assert break_even_table(found).frame.is_empty()


def test_every_column_has_one_unit_and_flops_a_readable_one():
    table = break_even_table(balance()).frame
    amounts = ("gold", "training", "further", "break_even")
    units = ("target_passes", "gigaFLOP", "seconds")
    columns = [f"{amount}_{unit}" for unit in units for amount in amounts]
    assert table.columns == ["pair", "method", "trained_on", *columns]
    assert table.select("pair", "method", "trained_on").rows() == [
        ("small → large", "nap", ALL),
        ("small → large", "nap", FAMILY),
    ]
    row = table.filter(trained_on=ALL).row(0, named=True)
    passes, flops, seconds = ([row[f"{a}_{u}"] for a in amounts] for u in units)
    assert passes == pytest.approx([30, 47, 0, 47 / 30])
    assert flops == pytest.approx([700, 1350, 40, 1350 / 660])
    assert seconds == pytest.approx([6, 24, 2, 6])


def drawn(balance, methods=("nap",)):
    return break_even_figure(balance, source="small", target="large", methods=methods)


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_lines_cross_at_the_break_even():
    figure = drawn(balance())
    flops, seconds = figure.axes
    assert texts(seconds) == ["6.0 tasks"]
    lines = {line.get_color(): line.get_xydata().tolist() for line in seconds.lines}
    ends = {name: lines[COLOURS[name]] for name in ("gold", "zero-shot")}
    assert ends == {"gold": [[0, 0], [10, 60]], "zero-shot": [[0, 24], [10, 44]]}
    assert [[6, 36]] in [line.get_xydata().tolist() for line in seconds.lines]
    assert flops.get_ylabel() == "gigaFLOP" and seconds.get_ylabel() == "seconds"
    assert "from 7 new tasks on (nap)" in figure.get_supxlabel()
    assert cut_off(figure) == []


def test_a_transfer_that_is_never_cheaper_is_labelled():
    never = balance().with_columns(break_even=pl.lit(None, pl.Float64))
    figure = drawn(never, methods=("nap", "exact"))
    assert [texts(axes) for axes in figure.axes] == [
        ["transfer is never cheaper"],
        ["-"],
    ] * 2
    assert "never cheaper than direct attribution (nap)" in figure.get_supxlabel()


@pytest.mark.parametrize("count", [1, 2, 4])
def test_the_sentences_of_a_figure_fit_below_its_panels(count):
    names = [f"nap-ig-activations-{i}" for i in range(count)]
    rows = [
        balance().with_columns(method=pl.lit(name), break_even=pl.lit(10.0**i))
        for i, name in enumerate(names)
    ]
    figure = drawn(pl.concat(rows), methods=names)
    figure.draw_without_rendering()
    below = next(t for t in figure.texts if t.get_text() == figure.get_supxlabel())
    box = below.get_window_extent()
    assert 0 <= box.x0 < box.x1 <= figure.bbox.width


def test_a_figure_without_costs_has_a_message():
    (text,) = drawn(balance().clear()).texts
    assert "no cost to compare" in text.get_text()


def test_edges_break_even_as_nodes_do():
    stages = {"attribute_nodes": "attribute_edges"}
    stages["fit_alignment"] = "fit_edge_alignment"
    edges = [row | {"stage": stages[row["stage"]], "method": "eap"} for row in ROWS]
    alone, both = balance(), balance([*ROWS, *edges])
    assert both.filter(method="nap").equals(alone)
    assert both.filter(method="eap").drop("method").equals(alone.drop("method"))
