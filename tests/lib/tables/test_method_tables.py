"""All methods side by side: which numbers belong together, and what tests compare."""

import numpy as np
import polars as pl
import pytest
import synthetic_methods as study

from circuit_transfer.statistics import t_interval
from circuit_transfer.tables.method_measures import (
    cost_measures,
    curve_measures,
    size_measures,
    stability_measures,
)
from circuit_transfer.tables.method_statistics import DOCUMENTATION, method_statistics
from circuit_transfer.tables.methods import comparisons_table, methods_table

CIRCUIT = {"control": "none", "ranking": "signed", "seed": None, "own_size": False}


def circuit(method="eap", proportion=0.1, **changes):
    numbers = {"faithfulness": 0.5, "kl": 1.0, "accuracy": 0.25, "n_edges": 40}
    labels = {"task": "ioi", "method": method, "proportion": proportion}
    return pl.DataFrame([labels | CIRCUIT | numbers | changes])


def stacked(*circuits):
    return pl.concat(circuits, how="diagonal_relaxed")


def of_sizes(*circuits, sizes=(0.1, 0.03)):
    found = size_measures([stacked(*circuits)], sizes, ["hap"])
    return found.filter(measure="faithfulness").drop("measure", "task").rows()


def test_learned_circuits_count_at_their_own_size_and_rankings_at_the_same():
    own = {"own_size": True, "seed": 2, "method": "hap"}
    found = of_sizes(
        # On the curve of the ranking that was learned, not of the circuit itself.
        circuit("hap", seed=2, faithfulness=0.1),
        circuit(**own, faithfulness=0.9),
        circuit(**own | {"proportion": 0.03}, faithfulness=0.8),
        circuit(**own, control="random-effective", faithfulness=0.2),
        circuit(proportion=0.1, faithfulness=0.4),
        circuit(proportion=0.2, faithfulness=0.6),
        circuit(ranking="absolute", faithfulness=0.5),
        circuit("nap", control="lifted", faithfulness=0.3),
        circuit(control="random-effective", seed=0, faithfulness=0.0),
    )
    assert found == [
        ("hap", "learned", 2, 0.1, 0.9),
        ("hap", "learned", 2, 0.03, 0.8),
        ("eap", "signed", None, 0.1, 0.4),
        ("eap", "absolute", None, 0.1, 0.5),
        ("nap", "lifted", None, 0.1, 0.3),
    ]


def test_a_size_that_was_not_chosen_stands_at_the_nearest_one():
    own = {"method": "hap", "own_size": True, "seed": 0}
    found = of_sizes(circuit(**own | {"proportion": 0.4}))
    assert found == [("hap", "learned", 0, 0.1, 0.5)]
    # All of a method at one: the geometric mean of .1 and .02 is nearer to .03.
    other = circuit(**own | {"proportion": 0.02, "seed": 1})
    found = of_sizes(circuit(**own), other)
    assert [row[3] for row in found] == [0.03, 0.03]
    # A ranking that was measured at another size has no row.
    assert of_sizes(circuit(proportion=0.09)) == []


def test_what_is_unknown_has_no_row():
    frame = circuit(faithfulness=None, complement_accuracy=float("nan"))
    found = size_measures([frame, frame.clear()], [0.1], [])
    assert set(found["measure"]) == {"kl", "accuracy", "share", "n_edges"}


def test_areas_are_of_found_circuits_and_learned_ones_have_one_for_each_seed():
    row = {"task": "ioi", "method": "hap", "control": "none", "ranking": "signed"}
    areas = {"cpr": 0.8, "cmd": 0.1, "right_above_wrong_area": 0.7}
    frame = pl.DataFrame(
        [
            row | {"seed": 0} | areas,
            row | {"seed": 1} | areas,
            row | {"seed": 0, "control": "random-effective"} | areas,
        ]
    )
    found = curve_measures(frame, ["hap"])
    assert found.filter(measure="cpr").select("circuit", "seed", "value").rows() == [
        ("learned", 0, 0.8),
        ("learned", 1, 0.8),
    ]
    assert found["size"].null_count() == len(found) == 6


def test_costs_are_of_one_seed_and_of_hap_with_its_filter():
    def part(name, seconds, forwards=1):
        counts = {"forwards": forwards, "forward_backwards": 2 * forwards}
        return {"part": name, "seconds": seconds} | counts

    costs = {
        ("hap", "ioi"): [part("seed-0", 5.0, 10), part("seed-3", 7.0, 20)],
        ("eap", "ioi"): [part("eap", 1.0, 3)],
    }
    shown = [("hap", "learned"), ("eap", "absolute"), ("eap", "signed")]
    found = cost_measures(costs, shown, {"hap": "eap"})
    assert found.filter(measure="seconds").select(
        "method", "circuit", "seed", "value"
    ).rows() == [
        ("hap", "learned", 0, 6.0),
        ("hap", "learned", 3, 8.0),
        ("eap", "absolute", None, 1.0),
        ("eap", "signed", None, 1.0),
    ]
    passes = found.filter(measure="passes")["value"].to_list()
    assert passes == [30 + 9, 60 + 9, 9, 9]


def test_stability_is_read_from_its_table():
    rankings = {"signed": 0.5, "x": None, "learned": 0.25, "resampled": 0.75}
    table = {"task": "a", "method": ["eap", "hap", "hap", "hap"]}
    table |= {"ranking": [*rankings], "size": ["0.1", None, "0.1", "0.1"]}
    frame = pl.DataFrame(table | {"jaccard": rankings.values()})
    # Seeds tell nothing of resamples; of rankings there are no seeds.
    assert stability_measures(frame).rows() == [
        ("a", "eap", "signed", None, 0.1, "jaccard", 0.5),
        ("a", "hap", "learned", None, 0.1, "jaccard", 0.25),
        ("a", "eap", "signed", None, 0.1, "jaccard_resampled", 0.5),
        ("a", "hap", "learned", None, 0.1, "jaccard_resampled", 0.75),
    ]


def level(row="level", size=0.1, measure="faithfulness", task="mean", **names):
    found = study.statistics().filter(
        pl.col("size").eq_missing(size), row=row, task=task, measure=measure, **names
    )
    return found.row(0, named=True)


def test_levels_are_means_over_seeds_then_tasks():
    ours = {"method": "edge-pruning", "circuit": "learned"}
    of_task = level(task="ioi", **ours)
    # Student's interval of .89, .90 and .91: t of two degrees is 4.303.
    half = 4.302653 * 0.01 / 3**0.5
    assert of_task["value"] == pytest.approx(0.9) and of_task["n_seeds"] == 3
    assert (of_task["low"], of_task["high"]) == pytest.approx((0.9 - half, 0.9 + half))
    mean = level(**ours)
    assert mean["value"] == pytest.approx(0.85) and mean["n_tasks"] == 2
    # Bootstrap over tasks, .9 and .8, and seeds within.
    assert 0.79 <= mean["low"] < 0.81 and 0.89 < mean["high"] <= 0.91
    alone = level(task="ioi", method="eap", circuit="absolute")
    assert (alone["value"], alone["low"], alone["n_seeds"]) == (0.4, None, 1)
    seeds = study.statistics().filter(
        row="seed", task="mean", size=0.1, measure="faithfulness", **ours
    )
    assert seeds["value"].to_list() == pytest.approx([0.84, 0.85, 0.86])
    assert method_statistics(study.measures().clear(), []).columns == [*DOCUMENTATION]


def test_learned_circuits_are_paired_with_rankings_of_equal_size():
    names = {"method": "hap", "against": "eap-ig-inputs"}
    found = level("difference", **names)
    assert found["value"] == pytest.approx(0.29) and found["n_tasks"] == 2
    assert found["p_tasks"] == 0.5 and found["least_p_tasks"] == 0.5
    # All six cells have one sign: two of 2 ** 6 patterns.
    assert found["p_permutation"] == pytest.approx(2 / 64)
    # Two methods at two sizes are tested together.
    assert found["p_permutation_holm"] == pytest.approx(4 * 2 / 64)
    times = level("ratio", measure="seconds", size=None, **names)
    assert times["value"] == pytest.approx(5)
    assert level("ratio", measure="kl", **names)["value"] == pytest.approx(0.2)


def test_hap_is_compared_with_edge_pruning():
    names = {"method": "hap", "against": "edge-pruning"}
    times = level("ratio", measure="seconds", size=None, **names)
    bounds = [times[name] for name in ("value", "low", "high")]
    assert bounds == pytest.approx([0.5] * 3)
    assert level("difference", **names)["value"] == pytest.approx(-0.01)
    assert level("ratio", measure="kl", **names)["value"] == pytest.approx(2)
    others = study.statistics().filter(against="edge-pruning")["method"]
    assert set(others) == {"hap"}


def test_circuits_of_other_sizes_are_not_compared():
    def counted(hap):
        counts = (
            study.measures()
            .filter(measure="kl")
            .with_columns(
                measure=pl.lit("share"),
                value=pl.when(method="hap").then(hap).otherwise(0.1),
            )
        )
        frame = pl.concat([study.measures(), counts])
        found = method_statistics(frame, study.LEARNED).filter(
            row="difference", method="hap"
        )
        return len(found.drop_nulls("size"))

    assert counted(0.105) > 0 and counted(0.3) == 0


def test_the_table_has_the_mean_first_and_every_method_at_every_size():
    table = methods_table(study.statistics(), tasks=study.TASKS, **study.NAMES)
    frame = table.frame
    assert frame["task"].unique(maintain_order=True).to_list() == [
        "mean",
        *study.TASKS,
    ]
    assert frame.height == 3 * 2 * 7
    first = frame.row(0, named=True)
    assert (first["size_percent"], first["method"]) == ("10", "edge-pruning")
    assert first["faithfulness"] == pytest.approx(0.85) and first["seconds"] == 10
    assert first["complement_accuracy"] is None
    circuits = frame["circuit"].head(7).to_list()
    assert circuits == ["learned"] * 2 + ["absolute", "signed"] * 2 + ["lifted"]
    # One task alone is no mean.
    one = methods_table(study.statistics(), tasks=["ioi"], **study.NAMES).frame
    assert set(one["task"]) == {"ioi"}


def test_the_tests_have_differences_and_ratios_side_by_side():
    names = {"tasks": study.TASKS, "learned_methods": study.LEARNED}
    frame = comparisons_table(study.statistics(), **names).frame
    assert frame["method"].unique(maintain_order=True).to_list() == study.LEARNED
    row = frame.filter(
        method="hap", against="edge-pruning", measure="kl", size_percent="10"
    )
    assert row["task"].to_list() == ["mean", *study.TASKS]
    mean = row.row(0, named=True)
    assert mean["difference"] == pytest.approx(0.1)
    assert mean["ratio"] == pytest.approx(2)
    assert row["p_tasks"].null_count() == 2
    seconds = frame.filter(method="hap", measure="seconds")
    assert set(seconds["size_percent"]) == {"all"}
    assert seconds["difference"].null_count() == len(seconds)
    nothing = comparisons_table(study.statistics().clear(), **names)
    assert nothing.frame.is_empty()


def test_students_interval_needs_two_values():
    assert np.isnan(t_interval(np.array([1.0]))).all()
    low, high = t_interval(np.array([0.0, 2.0]))
    # t of one degree of freedom is 12.706; the standard error is 1.
    assert (low, high) == pytest.approx((1 - 12.7062, 1 + 12.7062), abs=1e-3)
