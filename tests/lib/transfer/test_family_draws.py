import pytest

from circuit_transfer.transfer.family_draws import ALL, drawn_tasks
from circuit_transfer.transfer.training_sets import (
    family_of,
    study_families,
    training_tasks,
)

TASKS = [*"abcdefgh"]
FAMILIES = {"first": ["a", "b"], "second": ["c", "h"]}
LEFT_OUT = ["without-family-first", "without-d"]
SEEDS = range(4)


def drawn(training_set, n_families, seed, tasks=TASKS):
    return drawn_tasks(training_set, tasks, FAMILIES, n_families, seed=seed)


def families_of(tasks):
    return [*study_families(tasks, FAMILIES)]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("training_set", LEFT_OUT)
def test_a_smaller_draw_is_part_of_a_larger_one(training_set, seed):
    known = training_tasks(training_set, TASKS, FAMILIES)
    n_others = len(families_of(known))
    before = []
    for n_families in range(1, n_others + 1):
        found = drawn(training_set, n_families, seed)
        assert set(before) < set(found)
        assert len(families_of(found)) == n_families
        # Whole families, in the study's order.
        members = families_of(found)
        assert found == [t for t in known if family_of(t, FAMILIES) in members]
        before = found
    assert before == known == drawn(training_set, ALL, seed)


def test_a_draw_depends_on_the_seed_and_on_what_is_left_out_alone():
    of_seeds = {tuple(drawn("without-d", 2, seed)) for seed in range(20)}
    assert len(of_seeds) > 3
    # With another task left out, the same order of as many names would be by chance.
    one, two = (
        ["".join(drawn(f"without-{task}", 1, seed)) for seed in range(20)]
        for task in "de"
    )
    assert one != [tasks.replace("d", "e") for tasks in two]
    # Known answers: a later run draws the same, whatever the order of the tasks.
    assert [drawn("without-d", 2, seed) for seed in range(2)] == KNOWN
    assert drawn("without-d", 2, 0, tasks=TASKS[::-1]) == KNOWN[0][::-1]


KNOWN = [["e", "f"], ["f", "g"]]


def test_no_more_families_are_drawn_than_there_are():
    message = "^6 families drawn of training set 'without-d', which has 5$"
    with pytest.raises(ValueError, match=message):
        drawn("without-d", 6, 0)
