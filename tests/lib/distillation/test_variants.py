import pytest

from circuit_transfer.distillation.pairing import variant_pairs
from circuit_transfer.distillation.settings import (
    DistillationSettings,
    distillation_settings,
)
from circuit_transfer.distillation.variants import VARIANTS, variant_of

STUDENT = [f"a{layer}.h{head}" for layer in range(2) for head in range(4)]
TEACHER = [f"a{layer}.h{head}" for layer in range(3) for head in range(4)]
MATCHED = [("a0.h1", "a2.h3"), ("a1.h0", "a2.h3"), ("a1.h2", "a0.h0")]


def pairs(name, seed=0, matched=MATCHED):
    return variant_pairs(variant_of(name), matched, STUDENT, TEACHER, seed)


def test_random_teacher_heads_are_never_the_matched_ones():
    for seed in range(40):
        found = pairs("random-cka", seed)
        assert [own for own, _ in found] == [own for own, _ in MATCHED]
        assert all(a[1] != b[1] for a, b in zip(found, MATCHED, strict=True))
    drawn = {pairs("random-cka", seed)[0][1] for seed in range(200)}
    assert drawn == {*TEACHER} - {"a2.h3"}
    assert pairs("random-cka", 3) == pairs("random-cka", 3)


def test_random_student_heads_are_as_many_others():
    drawn = set()
    for seed in range(60):
        found = pairs("random-heads", seed)
        own = [own for own, _ in found]
        assert len({*own}) == 3 and not {*own} & {own for own, _ in MATCHED}
        assert [other for _, other in found] == [other for _, other in MATCHED]
        drawn |= {*own}
    assert drawn == {*STUDENT} - {own for own, _ in MATCHED}


def test_too_few_other_student_heads_are_completed_by_matched_ones():
    matched = [(head, "a0.h0") for head in STUDENT[:6]]
    own = [own for own, _ in pairs("random-heads", matched=matched)]
    assert len({*own}) == 6 and {*STUDENT[6:]} <= {*own}


@pytest.mark.parametrize("name", sorted({*VARIANTS} - {"random-cka", "random-heads"}))
def test_all_other_variants_work_with_the_matched_pairs(name):
    assert pairs(name) == MATCHED


@pytest.mark.parametrize(
    ("matched", "message"),
    [
        ([], "at least one"),
        ([("a2.h0", "a0.h0")], "a2.h0 not among the heads of the student"),
        ([("a0.h0", "a3.h0")], "a3.h0 not among the heads of the teacher"),
        ([("a0.h0", "a0.h0"), ("a0.h0", "a0.h1")], "a0.h0 of the student in several"),
    ],
)
def test_pairs_that_are_not_of_the_models_are_refused(matched, message):
    with pytest.raises(ValueError, match=message):
        pairs("matched-cka", matched=matched)


def test_an_unknown_variant_is_refused():
    with pytest.raises(ValueError, match="expected one of ce-heads, matched-cka"):
        variant_of("cka")


def test_the_paper_compares_the_heads_of_a_batch_by_the_biased_estimator():
    paper = distillation_settings({"preset": "paper", "steps": None})
    assert (paper.estimator, paper.queue) == ("biased", 0)
    assert (paper.learning_rate, paper.steps) == (2e-5, 3500)
    assert distillation_settings({}) == DistillationSettings()


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"preset": "large"}, "preset is large: expected one of small, paper"),
        ({"lambda": 1}, "distillation.lambda: there is no such setting"),
        ({"steps": 0}, "distillation.steps is 0: expected above 0"),
        ({"cka_weight": -1}, "cka_weight is -1: expected at least 0"),
        ({"positions": "last"}, "positions is last: expected one of answer, all"),
        ({"queue": 127}, "queue is 127: expected at least 128 features"),
        ({"temperature": float("nan")}, "temperature is nan: expected above 0"),
    ],
)
def test_settings_out_of_range_are_refused(section, message):
    with pytest.raises(ValueError, match=message):
        distillation_settings(section)
