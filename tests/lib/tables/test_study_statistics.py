"""Levels, intervals and differences of a study against plain loops and by hand."""

from itertools import pairwise

import numpy as np
import polars as pl
import pytest
import synthetic_study as study

from circuit_transfer import statistics as plain
from circuit_transfer.tables import curve_areas, summarise
from circuit_transfer.tables.differences import differences
from circuit_transfer.tables.resampling import example_draws
from circuit_transfer.tables.statistics import (
    DOCUMENTATION,
    study_statistics,
)

PLACE = {"source": study.SOURCE, "target": study.TARGET, "ablation": "counterfactual"}


@pytest.fixture(scope="module")
def statistics():
    return study.statistics()[0]


@pytest.fixture(scope="module")
def intervals():
    return study.statistics()[1]


def one(frame, **labels):
    (row,) = frame.filter(**labels).to_dicts()
    return row


def resampled_areas(frames, task, *, resamples=200):
    """CPR and CMD of circuits of one task in every resample, one after another."""
    weights = plain.resampling_weights(
        np.arange(study.N_EXAMPLES),
        resamples,
        plain.generator(0, study.TARGET, task, 8),
    )
    areas = []
    for shares in weights:
        drawn = np.repeat(np.arange(8), np.rint(shares * 8).astype(int))
        of_circuits = []
        for frame in frames:
            means = [
                [np.mean(np.array(values, dtype=float)[drawn]) for values in column]
                for column in frame.select(
                    "logit_diffs", "empty_logit_diffs", "full_logit_diffs"
                )
            ]
            circuit, empty, full = map(np.array, means)
            faithfulness = (circuit - empty) / (full - empty)
            of_circuits.append(curve_areas(study.PROPORTIONS, faithfulness))
        areas.append(np.mean(of_circuits, axis=0))
    return np.array(areas)


def aligned_seeds(task, method, **labels):
    frame = study.aligned_frame(task, method).filter(**labels)
    return frame.partition_by("seed")


def test_a_level_has_the_interval_of_its_seeds_mean(statistics):
    seeds = aligned_seeds(
        "ioi", "nap", training_set="without-ioi", map="free", control="none"
    )
    cpr, cmd = resampled_areas(seeds, "ioi").T
    row = one(
        statistics,
        row="level",
        method="nap",
        circuit="zero-shot",
        map="free",
        task="ioi",
    )
    expected = [*np.quantile(cpr, [0.025, 0.975]), *np.quantile(cmd, [0.025, 0.975])]
    names = ("cpr_low", "cpr_high", "cmd_low", "cmd_high")
    assert [row[name] for name in names] == pytest.approx(expected)
    assert row["cpr"] == pytest.approx(0.999 * 0.6)
    assert row["cmd"] == pytest.approx(0.999 * 0.4)
    assert (row["n_seeds"], row["n_examples"], row["n_tasks"]) == (3, 8, 1)
    assert row["seed_deviation"] == pytest.approx(0.999 * 0.02)
    assert row["protocol"] == "task"


def test_the_accuracy_area_is_resampled_with_the_same_examples(statistics):
    seeds = study.random_frame("ioi").partition_by("seed")
    weights = plain.resampling_weights(
        np.arange(8), 200, plain.generator(0, study.TARGET, "ioi", 8)
    )
    shares = np.array([np.array(each["logit_diffs"].to_list()) > 0 for each in seeds])
    areas = [
        # Over three decades: the mean of neighbouring sizes, the mean of them.
        np.mean([(a + b) / 2 for a, b in pairwise(shares.mean(0) @ drawn)])
        for drawn in weights
    ]
    row = one(statistics, row="level", circuit="random-rankings", task="ioi")
    ends = row["right_above_wrong_area_low"], row["right_above_wrong_area_high"]
    assert ends == pytest.approx(tuple(np.quantile(areas, [0.025, 0.975])))
    even = [np.mean([(a + b) / 2 for a, b in pairwise(s.mean(1))]) for s in shares]
    assert row["right_above_wrong_area"] == pytest.approx(np.mean(even))
    assert 0 < row["right_above_wrong_area"] < 1


def test_the_largest_faithfulness_is_that_of_the_mean_curve():
    frames = [study.aligned_frame(task, "nap") for task in ("ioi", "addition")]
    # Every seed, and every task, has its peak at another size.
    shift = pl.when(pl.col("proportion") == 0.01 * 10 ** pl.col("seed")).then(1.2)
    taller = pl.col("logit_diffs").list.eval(pl.element() + 4 * 1.2)
    frames = [
        frame.with_columns(
            pl.when(shift.is_not_null()).then(taller).otherwise("logit_diffs")
        )
        for frame in frames
    ]
    _, cpr = summarise([], [], frames, **study.NAMES)
    named = study.named_frames(aligned=frames)
    found, _ = study_statistics(study.named_cpr(cpr), named, resamples=9)
    rows = found.filter(row="level", circuit="in-distribution", map="free").sort("task")
    peaks = dict(rows.select("task", "max_faithfulness").iter_rows())
    # Of three seeds each, so that the mean has a third of each one's peak.
    expected = {"ioi": 0.7 + 0.4, "addition": 0.71 + 0.4, "mean": 0.705 + 0.4}
    assert peaks == pytest.approx(expected)


def test_recovery_divides_the_same_examples(statistics):
    of_task = {}
    for task in study.TASKS:
        seeds = aligned_seeds(
            task, "exact", training_set=f"only-{task}", control="none"
        )
        aligned = resampled_areas(seeds, task)[:, 0]
        gold = resampled_areas([study.gold_frame(task, "exact")], task)[:, 0]
        of_task[task] = aligned / gold
    labels = {"row": "level", "method": "exact", "circuit": "in-distribution"}
    row = one(statistics, **labels, task="addition")
    ends = np.quantile(of_task["addition"], [0.025, 0.975])
    assert [row["recovery_low"], row["recovery_high"]] == pytest.approx(list(ends))
    assert row["recovery"] == pytest.approx(0.71 / 0.81)
    # Tasks are resampled each by itself, and then averaged.
    row = one(statistics, **labels, task="mean")
    ends = np.quantile(np.mean(list(of_task.values()), axis=0), [0.025, 0.975])
    assert [row["recovery_low"], row["recovery_high"]] == pytest.approx(list(ends))
    shares = [0.7 / 0.8, 0.71 / 0.81, 0.72 / 0.82]
    assert row["recovery"] == pytest.approx(np.mean(shares))
    assert (row["n_tasks"], row["n_examples"]) == (3, 24)


def test_seeds_of_a_mean_are_means_over_tasks(statistics):
    row = one(
        statistics,
        row="level",
        method="nap",
        circuit="source-free",
        protocol="family",
        task="mean",
    )
    # All tasks move together from seed to seed.
    assert row["seed_deviation"] == pytest.approx(0.999 * 0.02)
    # Of ioi, which is a family by itself, as under the other protocol.
    assert row["cpr"] == pytest.approx(0.999 * (0.55 + 0.51 + 0.52) / 3)
    gold = one(statistics, row="level", method="nap", circuit="gold", task="mean")
    assert gold["seed_deviation"] is None and gold["recovery"] is None


def test_best_is_the_best_of_the_papers_regimes(statistics):
    of = {"row": "level", "method": "nap", "map": "free", "task": "ioi"}
    best = one(statistics, **of, circuit="best")
    same = one(statistics, **of, circuit="in-distribution")
    names = ("cpr", "cpr_low", "cpr_high", "seed_deviation", "recovery_low")
    for name in (*names, "cmd_seed_deviation", "right_above_wrong_area_low"):
        assert best[name] == same[name]
    cpr = study.named_cpr(study.summary()[1]).filter(
        pl.col("circuit") != "in-distribution"
    )
    rest, _ = study_statistics(cpr, [], resamples=9)
    # `all` has seen the task, and the family's protocol is none of the paper's.
    assert one(rest, **of, circuit="best")["cpr"] == pytest.approx(0.999 * 0.6)


def test_curves_have_the_mean_and_its_band(intervals):
    curve = intervals.filter(
        method="nap", circuit="zero-shot-family", map="free", task="mean"
    )
    assert curve["proportion"].to_list() == study.PROPORTIONS
    mean = (0.6 + 0.56 + 0.57) / 3
    assert curve["faithfulness"].to_list() == pytest.approx([mean] * 4)
    assert (curve["low"] < mean).all() and (curve["high"] > mean).all()
    task = intervals.filter(
        method="nap", circuit="zero-shot-family", map="free", task="ioi"
    )
    # The mean over three tasks varies less than each of them.
    assert (curve["high"] - curve["low"]).mean() < (task["high"] - task["low"]).mean()


def test_the_order_of_files_means_nothing(statistics):
    kinds = {"aligned": study.aligned_frames()[::-1]}
    kinds |= {"random": study.random_frames()[::-1], "gold": study.gold_frames()[::-1]}
    cpr = study.named_cpr(study.summary()[1]).reverse()
    again, curves = study_statistics(cpr, study.named_frames(**kinds), resamples=200)
    assert again.equals(statistics) and curves.equals(study.statistics()[1])


def test_every_column_is_documented(statistics):
    assert statistics.columns == list(DOCUMENTATION)
    assert all(DOCUMENTATION.values())


def test_where_corruption_changes_nothing_there_is_no_level():
    same = pl.col("empty_logit_diffs")
    gold = study.gold_frame("ioi", "nap").with_columns(
        faithfulness=pl.lit(None, dtype=pl.Float64), full_logit_diffs=same
    )
    frames = [gold, study.gold_frame("addition", "nap")]
    _, cpr = summarise(frames, [], [], **study.NAMES)
    named = study.named_frames(gold=frames)
    found, curves = study_statistics(study.named_cpr(cpr), named, resamples=20)
    assert sorted(found["task"]) == ["addition", "mean"]
    assert found["n_tasks"].to_list() == [1, 1]
    assert sorted(set(curves["task"])) == ["addition", "mean"]


def test_nothing_has_no_statistics():
    _, cpr = summarise([], [], [], **study.NAMES)
    found, curves = study_statistics(study.named_cpr(cpr), [])
    assert found.is_empty() and curves.is_empty()
    assert found.columns == list(DOCUMENTATION)


def test_circuits_of_a_level_have_the_same_sizes():
    frame = study.random_frame("ioi")
    broken = frame.filter((pl.col("seed") != 1) | (pl.col("proportion") < 1))
    (named,) = study.named_frames(random=[broken])
    with pytest.raises(ValueError, match="'task': 'ioi'.*not all at the sizes"):
        example_draws(named, resamples=5)


def areas(rows):
    """Areas of circuits: circuit, protocol, map, task, seed and CPR, of one pair."""
    names = ("circuit", "protocol", "map", "task", "seed", "cpr")
    schema = dict.fromkeys(names[:4], pl.String) | {"seed": pl.Int64, "cpr": float}
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    frame = frame.with_columns(cmd=1 - pl.col("cpr"), right_above_wrong_area=0.5)
    own = pl.col("circuit").is_in(["gold", "random-rankings"])
    method = pl.when(pl.col("circuit") == "random-rankings").then(pl.lit("random"))
    return frame.with_columns(
        source=pl.when(~own).then(pl.lit("s")),
        target=pl.lit("t"),
        ablation=pl.lit("a"),
        method=method.otherwise(pl.lit("m")),
    )


def zero_shot(cells, name="free"):
    return [("zero-shot", "task", name, *cell) for cell in cells]


OURS = [("x", 0, 0.5), ("x", 1, 0.7), ("y", 0, 0.6), ("y", 1, 0.6)]


def difference(rows, against):
    frame = areas(rows)
    found = [row for row in differences(frame) if row["against"] == against]
    (row,) = [row for row in found if row["measure"] == "cpr"]
    return row


def test_every_measure_is_tested_by_itself():
    control = [("x", 0, 0.4), ("x", 1, 0.5), ("y", 0, 0.3), ("y", 1, 0.6)]
    rows = [("source-free", "task", "free", *cell) for cell in control]
    cpr, cmd, area = differences(areas(zero_shot(OURS) + rows))
    assert [cpr["measure"], cmd["measure"]] == ["cpr", "cmd"]
    assert cmd["mean_difference"] == pytest.approx(-cpr["mean_difference"])
    # No more comparisons to adjust for than by one measure.
    assert cmd["p_wilcoxon_holm"] == pytest.approx(cpr["p_wilcoxon"])
    assert area["mean_difference"] == 0 and area["p_permutation"] == 1


def test_seeds_are_paired_with_their_own():
    control = [("x", 0, 0.4), ("x", 1, 0.5), ("y", 0, 0.3), ("y", 1, 0.6)]
    rows = [("source-free", "task", "free", *cell) for cell in control]
    row = difference(zero_shot(OURS) + rows, "source-free")
    cells = [np.array([0.1, 0.2]), np.array([0.3, 0.0])]
    expected = plain.compare(cells)
    assert row["mean_difference"] == pytest.approx(0.15)
    assert row["d_z"] == pytest.approx(expected.d_z)
    assert row["p_permutation"] == expected.p_permutation == 0.25
    assert (row["n_cells"], row["n_tasks"], row["least_p_tasks"]) == (4, 2, 0.5)


def test_what_has_no_seed_stands_against_each():
    gold = [("gold", None, None, "x", None, 0.9), ("gold", None, None, "y", None, 0.9)]
    row = difference(zero_shot(OURS) + gold, "gold")
    assert row["n_cells"] == 4 and row["comparison"] == "gold"
    assert row["mean_difference"] == pytest.approx(-0.3)
    prior = [("x", None, 0.8), ("y", None, 0.8)]
    rows = zero_shot(OURS) + zero_shot(prior, "depth-prior")
    row = difference(rows, "free")
    assert row["map"] == "depth-prior" and row["comparison"] == "map"
    assert (row["n_cells"], row["mean_difference"]) == (4, pytest.approx(0.2))


def test_random_rankings_are_one_number():
    rankings = [
        ("random-rankings", None, None, task, seed, value)
        for task in "xy"
        for seed, value in enumerate([0.1, 0.2, 0.6])
    ]
    row = difference(zero_shot(OURS) + rankings, "random-rankings")
    # Their seeds have nothing to do with those of the alignments.
    assert (row["n_cells"], row["mean_difference"]) == (4, pytest.approx(0.3))


def test_tasks_that_only_one_was_measured_on_are_left_out():
    ridge = [("ridge", "task", None, "y", None, 0.5)]
    row = difference(zero_shot(OURS) + ridge, "ridge")
    assert (row["n_cells"], row["n_tasks"]) == (2, 1)
    other = [("ridge", "task", None, "z", None, 0.5)]
    assert list(differences(areas(zero_shot(OURS) + other))) == []


def test_controls_of_another_protocol_or_map_do_not_count():
    rows = zero_shot(OURS) + [
        ("source-free", "family", "free", "x", 0, 0.1),
        ("source-free", "task", "depth-prior", "x", 0, 0.1),
        ("in-distribution", None, "free", "x", 0, 0.1),
        ("mlps-first", None, None, "x", None, 0.1),
    ]
    found = list(differences(areas(rows)))
    assert [row["against"] for row in found] == ["mlps-first"] * 3


def test_holm_is_over_the_controls_of_one_map(statistics):
    place = {"row": "difference", "method": "nap", "protocol": "task", "map": "free"}
    place["measure"] = "cpr"
    rows = statistics.filter(**place, comparison="control").to_dicts()
    assert len(rows) == 5
    for test in ("p_permutation", "p_wilcoxon", "p_tasks"):
        adjusted = plain.holm([row[test] for row in rows])
        assert [row[f"{test}_holm"] for row in rows] == pytest.approx(list(adjusted))
    gold = one(statistics, **place, comparison="gold")
    assert gold["p_wilcoxon_holm"] == gold["p_wilcoxon"]
    assert gold["mean_difference"] == pytest.approx(-0.999 * 0.2)
    compared = statistics.filter(row="difference", measure="cpr")
    kinds = compared.group_by("comparison").len()
    # Of 2 methods and 2 protocols: 5 controls of the free map, 2 of the other.
    assert dict(kinds.iter_rows()) == {"control": 4 * 7, "gold": 8, "map": 4}
