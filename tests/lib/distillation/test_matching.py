"""Matching against permuted copies of a model, and distances by hand."""

import itertools

import numpy as np
import polars as pl
import pytest
import torch
from permuted import permuted_copy

from circuit_transfer.circuits.attribution import attribute
from circuit_transfer.distillation.activations import run_features
from circuit_transfer.distillation.cka import cka
from circuit_transfer.distillation.distances import (
    DISTANCES,
    Comparison,
    Heads,
    head_distances,
)
from circuit_transfer.distillation.frames import MATCH_COLUMNS
from circuit_transfer.distillation.head_effects import head_effects
from circuit_transfer.distillation.matching import alignment_weights, match_heads
from circuit_transfer.distillation.matchings import MATCHINGS, MatchSettings
from circuit_transfer.models.nodes import node_names
from circuit_transfer.prompts.batches import pair_batches

NODES = node_names(2, 8)
NAMES = [name for name in NODES if name.startswith("a")]


def named(heads):
    return [f"a0.h{head}" for head in range(heads)]


def comparison(settings=None, weights=None, **both):
    """Return a comparison of what is given by name as `(student's, teacher's)`."""
    sides = []
    for side in (0, 1):
        own = {name: values[side] for name, values in both.items()}
        size = len(next(iter(own.values())))
        sides.append(Heads(own.pop("names", named(size)), **own))
    return Comparison(*sides, weights, settings or MatchSettings())


@pytest.fixture(scope="module")
def copies(tiny_model, tiny_pairs):
    """What is known of a model and of a copy with permuted heads, and its names."""
    model = tiny_model("llama", num_attention_heads=8, hidden_size=48)
    model = model.requires_grad_(False)
    other, names = permuted_copy(model)
    tasks = [pair_batches(tiny_pairs(16, seed=seed), 8) for seed in range(4)]
    for batch in tasks[0]:
        torch.testing.assert_close(other(batch.clean).logits, model(batch.clean).logits)
    return Comparison(known(model, tasks), known(other, tasks)), names


def known(model, tasks):
    effects = head_effects(model, tasks[0]).filter(metric="logit-diff")
    features = run_features(model, tasks[0], NAMES, "answer")
    scores = [attribute(model, task, method="nap").mean().numpy() for task in tasks]
    return Heads(
        names=NAMES,
        layers=2,
        base=effects["base"][0],
        ablated=effects["ablated"].to_numpy(),
        activations=torch.cat(features, dim=1),
        profile=np.stack(scores, 1)[[NODES.index(name) for name in NAMES]],
    )


@pytest.mark.parametrize("assignment", ["one-to-one", "many-to-one"])
@pytest.mark.parametrize(
    "method, settings",
    [
        ("impact", {}),
        ("impact", {"baseline": "own", "scale": "max"}),
        ("cka", {}),
        ("profile", {}),
        ("profile", {"profile": "rank"}),
    ],
)
def test_permuted_heads_are_found_again(copies, method, settings, assignment):
    both, names = copies
    assert any(name != other for name, other in names.items())
    both = Comparison(both.student, both.teacher, None, MatchSettings(**settings))
    frame = match_heads(method, both, assignment=assignment)
    assert frame.schema == pl.Schema(MATCH_COLUMNS)
    assert dict(frame.select("student_head", "teacher_head").rows()) == names
    np.testing.assert_allclose(frame["distance"], 0, atol=1e-4)
    assert frame["rank"].to_list() == [1] * 16
    assert frame["method"].unique().to_list() == [method]


def test_critical_heads_alone_are_matched_in_their_order(copies):
    both, names = copies
    chosen = ["a1.h2", "a0.h5", "a1.h7"]
    among = [names[each] for each in ("a0.h5", "a0.h0", "a1.h7", "a1.h2")]
    frame = match_heads("cka", both, student_heads=chosen, teacher_heads=among)
    assert frame["student_head"].to_list() == chosen
    assert frame["teacher_head"].to_list() == [names[each] for each in chosen]


def test_dfa_matches_by_the_rows_or_columns_of_an_alignment(copies):
    both, names = copies
    matrix = np.random.default_rng(0).normal(0, 0.1, (len(NODES), len(NODES)))
    for student, teacher in names.items():
        matrix[NODES.index(teacher), NODES.index(student)] = 1
    for source, each in (("teacher", matrix), ("student", matrix.T)):
        weights = alignment_weights(each, NODES, NODES, NAMES, NAMES, source=source)
        for assignment in ("one-to-one", "many-to-one"):
            related = Comparison(both.student, both.teacher, weights)
            frame = match_heads("dfa", related, assignment=assignment)
            assert dict(zip(*frame.select(frame.columns[:2]), strict=True)) == names
            np.testing.assert_allclose(frame["distance"], 0, atol=1e-9)
    with pytest.raises(
        ValueError, match="a2.h0 is not one of the alignment's source n"
    ):
        alignment_weights(matrix, NODES, NODES, NAMES, ["a2.h0"])
    with pytest.raises(ValueError, match="source 'both': expected one of teacher, st"):
        alignment_weights(matrix, NODES, NODES, NAMES, NAMES, source="both")


def test_dfa_distances_by_hand():
    weights = np.array([[0.5, 2.0, -1.0], [0.0, 0.0, 0.0]])
    both = comparison(names=(named(2), named(3)), weights=weights)
    expected = [[0.75, 0, 1.5], [1, 1, 1]]
    np.testing.assert_allclose(head_distances("dfa", both), expected)


@pytest.mark.parametrize(
    "settings, expected",
    [
        # Drops of .1 and .3 in the student; .1, .5 and -.1 below its .7 in the teacher.
        ({}, [[0.0, 0.4, 0.2], [0.2, 0.2, 0.4]]),
        # Below the teacher's own .9 they are .3, .7 and .1.
        ({"baseline": "own"}, [[0.2, 0.6, 0.0], [0.0, 0.4, 0.2]]),
        (
            {"baseline": "own", "scale": "max"},
            np.abs(np.array([[1 / 3], [1]]) - np.array([3 / 7, 1, 1 / 7])),
        ),
    ],
)
def test_impact_by_hand(settings, expected):
    both = comparison(
        MatchSettings(**settings),
        names=(named(2), named(3)),
        base=(0.7, 0.9),
        ablated=(np.array([0.6, 0.4]), np.array([0.6, 0.2, 0.8])),
    )
    np.testing.assert_allclose(head_distances("impact", both), expected, atol=1e-9)


def test_the_largest_effect_is_that_of_the_whole_model():
    both = comparison(
        MatchSettings(scale="max", baseline="own"),
        names=(named(2), named(3)),
        base=(1.0, 1.0),
        ablated=(np.array([0.9, 0.0]), np.array([0.0, 0.9, 0.5])),
    )
    frame = match_heads("impact", both, student_heads=["a0.h0"])
    assert frame["teacher_head"].to_list() == ["a0.h1"]
    still = comparison(
        MatchSettings(scale="max", baseline="own"),
        names=(named(2), named(2)),
        base=(1.0, 1.0),
        ablated=(np.ones(2), np.array([0.0, 0.5])),
    )
    expected = [[1, 0.5], [1, 0.5]]
    np.testing.assert_allclose(head_distances("impact", still), expected)


def test_cka_distance_is_that_of_every_two_heads():
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(n, 9, n + 2, generator=generator) for n in (2, 3))
    both = comparison(activations=(student, teacher))
    found = head_distances("cka", both)
    for row, column in np.ndindex(2, 3):
        expected = 1 - cka(student[row], teacher[column]).item()
        assert found[row, column] == pytest.approx(expected, abs=1e-6)


def test_profiles_by_hand():
    student = np.array([[1.0, 4, 2], [3, 0, 2]])
    teacher = np.array([[5.0, 1, 0], [5, 3, 0], [5, 5, 0]])
    both = comparison(profile=(student, teacher))
    # Standardised, (-1, 1, 0) and its opposite; of the teacher the middle task varies
    # alone: (0, -1, 0), (0, 0, 0) and (0, 1, 0) times a constant.
    r = np.corrcoef([-1, 1, 0], [0, 1, 0])[0, 1]
    expected = [[1 + r, 1, 1 - r], [1 - r, 1, 1 + r]]
    np.testing.assert_allclose(head_distances("profile", both), expected, atol=1e-9)
    both = comparison(MatchSettings(profile="rank"), profile=(student, teacher))
    # Ranks as shares: 1/4 and 3/4, both 1/2 if equal; 1/6, 1/2 and 5/6.
    shares = np.array([[0.25, 0.75, 0.5], [0.75, 0.25, 0.5]])
    others = np.array([[0.5, 1 / 6, 0.5], [0.5, 0.5, 0.5], [0.5, 5 / 6, 0.5]])
    expected = np.abs(shares[:, None] - others).mean(2)
    np.testing.assert_allclose(head_distances("profile", both), expected)


@pytest.mark.parametrize(
    "tasks, message", [((2, 2), "2 tasks have no c"), ((3, 4), "3 and 4")]
)
def test_profiles_that_cannot_be_compared_are_refused(tasks, message):
    profiles = [np.random.default_rng(0).normal(size=(3, each)) for each in tasks]
    with pytest.raises(ValueError, match=f"profiles over {message}"):
        head_distances("profile", comparison(profile=profiles))


def test_depth_is_relative_to_the_number_of_layers():
    names = (["a0.h0", "a2.h1", "a3.h0"], ["a0.h0", "a6.h3"])
    both = comparison(names=names, layers=(4, 7))
    expected = [[0, 1], [2 / 3, 1 / 3], [1, 0]]
    np.testing.assert_allclose(head_distances("depth", both), expected)
    alone = comparison(names=(["a0.h0"], ["a0.h0"]), layers=(1, 1))
    assert head_distances("depth", alone) == 0


def test_random_matches_are_permutations_that_the_seed_draws():
    def matched(seed, assignment="one-to-one"):
        both = comparison(MatchSettings(seed=seed), names=(named(5), named(8)))
        return match_heads("random", both, assignment=assignment)["teacher_head"]

    assert matched(0).equals(matched(0)) and not matched(0).equals(matched(1))
    assert all(matched(seed).n_unique() == 5 for seed in range(9))
    every = [name for seed in range(200) for name in matched(seed, "many-to-one")]
    shares = pl.Series(every).value_counts(normalize=True)["proportion"]
    np.testing.assert_allclose(shares, np.full(8, 1 / 8), atol=0.04)


def test_assignment_has_the_least_sum_and_the_rank_of_what_was_taken():
    weights = np.random.default_rng(3).random((4, 6))
    both = comparison(names=(named(4), named(6)), weights=weights)
    distances = head_distances("dfa", both)
    sums = {
        sum(distances[range(4), each])
        for each in itertools.permutations(range(6), 4)
        for each in [list(each)]
    }
    frame = match_heads("dfa", both)
    assert frame["distance"].sum() == pytest.approx(min(sums))
    assert frame["teacher_head"].n_unique() == 4
    order = distances.argsort(1).argsort(1)
    for row, (name, rank) in enumerate(frame.select("teacher_head", "rank").rows()):
        assert rank == 1 + order[row, int(name[-1])]
    nearest = match_heads("dfa", both, assignment="many-to-one")
    wanted = [f"a0.h{each}" for each in distances.argmin(1)]
    assert nearest["teacher_head"].to_list() == wanted
    assert nearest["rank"].to_list() == [1] * 4


def test_heads_in_competition_do_not_all_get_their_nearest():
    weights = np.array([[1.0, 0.9, 0.0], [1.0, 0.1, 0.0]])
    both = comparison(names=(named(2), named(3)), weights=weights)
    one = match_heads("dfa", both)
    assert one["teacher_head"].to_list() == ["a0.h1", "a0.h0"]
    assert one["rank"].to_list() == [2, 1]
    many = match_heads("dfa", both, assignment="many-to-one")
    assert many["teacher_head"].to_list() == ["a0.h0", "a0.h0"]


def test_every_matching_has_a_distance():
    assert [*DISTANCES] == [*MATCHINGS]


def test_what_is_not_known_is_named():
    both = Comparison(Heads(named(2)), Heads(named(2)))
    for method, row in MATCHINGS.items():
        if row.needs or row.aligned:
            what = f"`{row.needs[0]}` of the student" if row.needs else "the weights"
            with pytest.raises(ValueError, match=f"matching {method} needs {what}"):
                match_heads(method, both)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"method": "nearest"}, "matching 'nearest': expected one of impact, cka, "),
        ({"assignment": "all"}, "assignment 'all': expected one of one-to-one, many-"),
        ({"student_heads": ["a9.h0"]}, "a9.h0 is not one of the student's heads; exp"),
        ({"teacher_heads": ["a0.h0"]}, "2 heads of the student, but 1 of the teacher"),
    ],
)
def test_wrong_choices_are_refused(change, message):
    both = comparison(names=(named(2), named(2)))
    with pytest.raises(ValueError, match=message):
        match_heads(**({"method": "random", "both": both} | change))


def test_distances_that_are_not_known_or_of_other_heads_are_refused():
    both = comparison(names=(named(2), named(2)), weights=np.full((2, 2), np.nan))
    with pytest.raises(ValueError, match="matching dfa: some distances are not finite"):
        match_heads("dfa", both)
    both = comparison(names=(named(2), named(2)), weights=np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"distances \(2, 3\) of 2 heads of the stud"):
        match_heads("dfa", both)
    with pytest.raises(ValueError, match="baseline 'teacher': expected one of student"):
        MatchSettings(baseline="teacher")
