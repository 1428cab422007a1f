import pytest

from circuit_transfer.transfer.training_sets import (
    evaluated_training_sets,
    family_of,
    family_sets,
    leaves_out,
    left_out_sets,
    study_families,
    training_sets,
    training_tasks,
    zero_shot_sets,
)

TASKS = ["a", "b", "c", "d"]
FAMILIES = {"letters": ["b", "a"], "unused": ["x"], "last": ["d"]}


def test_families_hold_the_study_s_tasks_each_of_them_once():
    expected = {"letters": ["a", "b"], "last": ["d"], "c": ["c"]}
    assert study_families(TASKS, FAMILIES) == expected
    assert study_families(["a"], {}) == {"a": ["a"]}
    assert [family_of(task, FAMILIES) for task in "abcd"] == [
        *("letters", "letters", "c", "last"),
    ]


def test_training_sets_are_one_all_but_one_all_but_a_family_and_all():
    assert training_sets(TASKS, FAMILIES) == [
        *("only-a", "only-b", "only-c", "only-d"),
        *("without-a", "without-b", "without-c", "without-d"),
        "without-family-letters",
        "all",
    ]


def test_nothing_is_left_out_where_nothing_would_be_left():
    assert training_sets(["a"], FAMILIES) == ["only-a", "all"]
    one_family = training_sets(["a", "b"], FAMILIES)
    assert one_family == ["only-a", "only-b", "without-a", "without-b", "all"]


@pytest.mark.parametrize(
    ("name", "tasks"),
    [
        ("only-b", "b"),
        ("without-b", "acd"),
        ("without-family-letters", "cd"),
        ("all", "abcd"),
    ],
)
def test_a_training_set_has_its_tasks(name, tasks):
    assert training_tasks(name, TASKS, FAMILIES) == list(tasks)


def test_every_task_is_in_all_sets_but_those_that_leave_it_out():
    for name in training_sets(TASKS, FAMILIES):
        for task in TASKS:
            left_out = name in zero_shot_sets(task, TASKS, FAMILIES)
            others = name.startswith("only-") and name != f"only-{task}"
            inside = task in training_tasks(name, TASKS, FAMILIES)
            assert inside == (not left_out and not others)


def test_every_protocol_has_a_set_for_every_task():
    studied = study_families(TASKS, FAMILIES)
    sets = {task: left_out_sets(task, studied) for task in TASKS}
    assert sets == {
        "a": {"task": "without-a", "family": "without-family-letters"},
        "b": {"task": "without-b", "family": "without-family-letters"},
        "c": {"task": "without-c", "family": "without-c"},
        "d": {"task": "without-d", "family": "without-d"},
    }
    families = ["without-family-letters", "without-d", "without-c"]
    assert sorted(family_sets(TASKS, FAMILIES)) == sorted(families)
    # Of a family one task is studied: it is left out by itself, once.
    alone = study_families(["a", "c"], FAMILIES)
    assert left_out_sets("a", alone) == {"task (its family)": "without-a"}
    assert family_sets(["a", "c"], FAMILIES) == ["without-a", "without-c"]
    assert family_sets(["a", "b"], FAMILIES) == family_sets(["a"], FAMILIES) == []


def test_tasks_with_hyphens_keep_their_names():
    tasks = ["arc-easy", "without-easy"]
    assert training_tasks("only-arc-easy", tasks, {}) == ["arc-easy"]
    assert training_tasks("without-without-easy", tasks, {}) == ["arc-easy"]


@pytest.mark.parametrize(
    "name", ["only-x", "some", "without-", "without-family-x", "without-family-c"]
)
def test_an_unknown_training_set_is_an_error(name):
    with pytest.raises(ValueError, match="is not one of this study's"):
        training_tasks(name, TASKS, FAMILIES)


def test_a_task_is_evaluated_with_the_sets_that_left_it_out_and_no_others():
    sets = ["without-a", "without-family-letters"]
    assert zero_shot_sets("a", TASKS, FAMILIES) == sets
    assert zero_shot_sets("a", ["a", "b"], FAMILIES) == ["without-a"]
    assert zero_shot_sets("a", ["a"], FAMILIES) == []
    assert zero_shot_sets("c", TASKS, FAMILIES) == ["without-c"]
    assert evaluated_training_sets("b", TASKS, FAMILIES) == [
        *("only-a", "only-b", "only-c", "only-d"),
        *("without-b", "without-family-letters", "all"),
    ]
    assert [leaves_out(name) for name in ("all", "only-a", "without-a")] == [
        *(False, False, True),
    ]
