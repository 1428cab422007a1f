"""Whether transfers use their source: planted differences by family, tests by hand."""

import numpy as np
import polars as pl
import pytest
from scipy import stats

from circuit_transfer.tables.curves import named_rows
from circuit_transfer.tables.source_use import (
    ALL_GIVEN,
    BEST_TARGET_ONLY,
    SCHEMA,
    source_use,
)
from circuit_transfer.tables.source_use_table import source_use_table
from circuit_transfer.tables.typesetting import to_csv, to_html

# Six families, of which the first has two tasks.
FAMILIES = {"a": ["a1", "a2"], **{name: [f"{name}1"] for name in "bcdef"}}
TASKS = [task for tasks in FAMILIES.values() for task in tasks]
FAMILY = {task: family for family, tasks in FAMILIES.items() for task in tasks}
SEEDS = (0, 1)
# What the real scores add to each family, and its statistics by hand.
GAINS = dict(zip(FAMILIES, [0.1, 0.12, 0.08, 0.14, 0.06, 0.1], strict=True))
GAIN = np.array([*GAINS.values()])
DOWN, UP, APART = ("big", "cut"), ("cut", "big"), ("other", "big")
RELATIONS = {APART: "apart", DOWN: "pruned", UP: "pruned"}


def left_out(task):
    """The training set that leaves out the family of a task."""
    family = FAMILY[task]
    alone = len(FAMILIES[family]) == 1
    return f"without-{task}" if alone else f"without-family-{family}"


def circuit(pair, control, value, name="lineage", seeds=SEEDS):
    """Rows of a circuit, whose CPR is a function of family, task and seed."""
    aligned = control == "none"
    return [
        {
            "kind": "aligned",
            "source": pair[0],
            "target": pair[1],
            "method": "nap",
            "ablation": "mean",
            "map": name,
            "control": control,
            "regime": "zero-shot-family" if aligned else "control",
            "training_set": left_out(task),
            "task": task,
            "seed": seed,
            "cpr": value(task, seed),
            "cmd": 1 - value(task, seed),
            "right_above_wrong_area": value(task, seed),
        }
        for task in TASKS
        for seed in seeds
    ]


def base(task, seed=0):
    """What every circuit has in common, which differences must not depend on."""
    # What has no seed is as the mean of those that have one.
    return 0.3 + 0.05 * TASKS.index(task) + 0.01 * (0.5 if seed is None else seed)


def gained(task, seed):
    """Of the two tasks of a family the one gains more, of two seeds the second."""
    more = {"a1": 0.03, "a2": -0.03}.get(task, 0.0)
    shift = 0.0 if seed is None else 0.02 * seed - 0.01
    return base(task, seed) + GAINS[FAMILY[task]] + more + shift


def frame_of(*rows):
    schema = {"seed": pl.Int64, "map": pl.String, "cpr": pl.Float64}
    frame = pl.DataFrame([r for each in rows for r in each], schema_overrides=schema)
    return named_rows(frame, FAMILIES)


def used(cpr, **options):
    options = {"relations": RELATIONS, "similarities": {}} | options
    return source_use(
        cpr, families=FAMILIES, methods=["nap"], maps=["lineage", "free"], **options
    )


def planted(pair=DOWN, real=gained, **maps):
    """A pair whose real scores exceed four controls that are all the same."""
    alone = {"name": None, "seeds": [None]}
    return [
        circuit(pair, "none", real, **maps),
        circuit(pair, "source-free", base, **maps),
        circuit(pair, "random-source", base, **maps),
        circuit(pair, "other-family", base, **maps),
        circuit(pair, "mean-gold", base, **alone),
    ]


def row_of(frame, control, *, source="big", measure="cpr", protocol="family"):
    rows = frame.filter(control=control, measure=measure, protocol=protocol)
    rows = rows.filter(pl.col("source").eq_missing(source))
    assert len(rows) == 1
    return rows.row(0, named=True)


@pytest.mark.parametrize(
    "control", ["source-free", "random-source", "other-family", "mean-gold", ALL_GIVEN]
)
def test_differences_are_means_over_the_tasks_and_seeds_of_a_family(control):
    row = row_of(used(frame_of(*planted())), control)
    assert row["difference"] == pytest.approx(GAIN.mean())
    half = stats.t.ppf(0.975, 5) * GAIN.std(ddof=1) / np.sqrt(6)
    assert row["difference_low"] == pytest.approx(GAIN.mean() - half)
    assert row["difference_high"] == pytest.approx(GAIN.mean() + half)
    assert (row["better"], row["n_families"], row["n_pairs"]) == (6, 6, 1)
    assert row["d_z"] == pytest.approx(GAIN.mean() / GAIN.std(ddof=1))
    assert row["p_families"] == row["p_families_least"] == 2 / 2**6
    assert row["relation"] == "pruned"


def test_of_a_measure_that_is_better_lower_signs_are_turned():
    row = row_of(used(frame_of(*planted())), "source-free", measure="cmd")
    assert row["difference"] == pytest.approx(-GAIN.mean())
    assert row["better"] == 6 and row["families_needed"] == 6


def test_p_values_are_adjusted_for_the_four_controls_of_the_source():
    same = frame_of(*planted())
    for control in ("source-free", "random-source", "other-family", "mean-gold"):
        assert row_of(used(same), control)["p_families_holm"] == 4 * 2 / 2**6
    # Families b and c are below another family's scores by as much as the others are
    # above them: 2 of 6 signs, hence p = 44 / 64, which is the largest of the four.
    mixed = planted()
    mixed[3] = circuit(DOWN, "other-family", swapped)
    frame = used(frame_of(*mixed))
    assert row_of(frame, "other-family")["p_families"] == 44 / 64
    assert row_of(frame, "other-family")["p_families_holm"] == 44 / 64
    assert row_of(frame, "mean-gold")["p_families_holm"] == 4 * 2 / 2**6
    # What pools controls, or is no control of the source, is not one of the four.
    assert row_of(frame, ALL_GIVEN)["p_families_holm"] is None


def swapped(task, seed):
    """A control that is .1 above the real scores in two families, .1 below in four."""
    return gained(task, seed) + (0.1 if FAMILY[task] in "bc" else -0.1)


def test_an_effect_is_equivalent_to_none_by_two_one_sided_tests():
    wobble = dict(zip(FAMILIES, [0.02, -0.02, 0.01, -0.01, 0.03, -0.03], strict=True))

    def noisy(task, seed):
        return base(task, seed) + wobble[FAMILY[task]]

    row = row_of(used(frame_of(*planted(real=noisy))), "source-free")
    half = stats.t.ppf(0.95, 5) * np.std([*wobble.values()], ddof=1) / np.sqrt(6)
    assert row["difference"] == pytest.approx(0, abs=1e-12)
    assert row["equivalence_bound"] == pytest.approx(half)
    assert row["equivalent"] is True
    assert row["families_needed"] is None or row["d_z"] > 0
    shown = row_of(used(frame_of(*planted())), "source-free")
    half = stats.t.ppf(0.95, 5) * GAIN.std(ddof=1) / np.sqrt(6)
    assert shown["equivalence_bound"] == pytest.approx(GAIN.mean() + half)
    assert shown["equivalent"] is False


def test_the_best_target_only_control_is_chosen_in_every_family():
    odd = {task: 0.02 * (-1) ** n for n, task in enumerate(TASKS)}
    odd |= {"a1": 0.02, "a2": 0.02}

    def higher(task, seed):
        return gained(task, None) + odd[task]

    def lower(task, seed):
        return gained(task, None) - odd[task]

    alone = {"name": None, "seeds": [None]}
    rows = [
        *planted(),
        circuit(DOWN, "node-changes", higher, **alone),
        circuit(DOWN, "self-stitched", lower, **alone),
        circuit(DOWN, "source-free", base, name="stitched", seeds=[None]),
    ]
    row = row_of(used(frame_of(*rows)), BEST_TARGET_ONLY)
    assert row["difference"] == pytest.approx(-0.02)
    assert row["better"] == 0 and row["families_needed"] is None
    assert row["p_families_holm"] is None
    # Of CMD the best is the lowest.
    cmd = row_of(used(frame_of(*rows)), BEST_TARGET_ONLY, measure="cmd")
    assert cmd["difference"] == pytest.approx(0.02)
    # Where the others are not known, the one that is.
    one = row_of(used(frame_of(*rows[:5], rows[7])), BEST_TARGET_ONLY)
    assert one["difference"] == pytest.approx(GAIN.mean())


def test_totals_of_writers_and_readers_are_no_control_of_the_source():
    """They are compared too, but the other p values are not adjusted for it."""
    half = [circuit(DOWN, "degree-source", lambda *cell: gained(*cell) - 0.02)]
    frame = used(frame_of(*planted(), *half))
    row = row_of(frame, "degree-source")
    assert row["difference"] == pytest.approx(0.02)
    assert row["p_families_holm"] is None and row["better"] == 6
    without = used(frame_of(*planted()))
    assert row_of(frame, ALL_GIVEN) == row_of(without, ALL_GIVEN)
    assert row_of(frame, "mean-gold") == row_of(without, "mean-gold")


def test_pairs_of_a_relation_are_averaged_in_every_family():
    def little(task, seed):
        return base(task, seed) + 0.02

    rows = [*planted(), *planted(UP, real=little), *planted(APART, real=base)]
    frame = used(frame_of(*rows), similarities={(*DOWN, "nap"): 0.7})
    over = row_of(frame, "mean-gold", source=None)
    values = (GAIN + 0.02) / 2
    assert over["difference"] == pytest.approx(values.mean())
    half = stats.t.ppf(0.975, 5) * values.std(ddof=1) / np.sqrt(6)
    assert over["difference_high"] == pytest.approx(values.mean() + half)
    assert (over["n_families"], over["n_pairs"]) == (6, 2)
    assert over["target"] is None and over["task_similarity"] is None
    assert row_of(frame, "mean-gold")["task_similarity"] == 0.7
    # One pair alone is no mean of several. The closest relation is first.
    pairs = frame.select("relation", "source").unique(maintain_order=True).rows()
    names = [("pruned", None), ("pruned", "big"), ("pruned", "cut")]
    assert pairs == [*names, ("apart", "other")]


def test_no_effect_at_all_is_equivalent_and_has_no_number_of_families():
    row = row_of(used(frame_of(*planted(real=base))), "source-free")
    assert row["difference"] == row["equivalence_bound"] == 0
    assert row["p_families"] == 1 and row["better"] == 0
    assert row["equivalent"] is True
    assert row["d_z"] is None and row["families_needed"] is None


def test_the_main_map_has_scrambled_scores_in_place_of_shuffled_ones():
    scrambled = circuit(DOWN, "scrambled-source", lambda task, seed: 0.0)
    frame = used(frame_of(*planted(), scrambled))
    assert "random-source" not in frame["control"]
    assert row_of(frame, "scrambled-source")["difference"] > 0.3


def test_what_is_not_known_is_left_out():
    # A constant that gives mean-gold has no row of its own: three are adjusted.
    frame = used(frame_of(*(each for n, each in enumerate(planted()) if n != 1)))
    assert "source-free" not in frame["control"]
    assert row_of(frame, "mean-gold")["p_families_holm"] == 3 * 2 / 2**6
    # One family alone has no interval.
    alone = frame_of(*planted()).filter(pl.col("task").is_in(["a1", "a2"]))
    assert used(alone).is_empty()
    nothing = used(frame_of(*planted()).clear())
    assert nothing.is_empty() and nothing.schema == SCHEMA


def test_the_table_has_an_interval_and_a_block_for_every_map():
    rows = [*planted(), *planted(name="free", real=base)]
    table = source_use_table(used(frame_of(*rows)))
    assert table.frame["map"].unique(maintain_order=True).to_list() == [
        "lineage",
        "free",
    ]
    assert to_csv(table).startswith("relation,source,target,method,map,left_out,")
    page = to_html(table, "title")
    assert "<td>0.100 [0.070, 0.130]</td>" in page
    assert "accuracy area" in page and "right_above" not in page
    assert "<td>yes</td>" in page
