"""Sentences about all methods, against numbers that are known."""

import polars as pl
import synthetic_methods as study

from circuit_transfer.summary.methods import methods_answer
from circuit_transfer.tables.methods import MethodLevels


def answers(frame=None):
    frame = study.statistics() if frame is None else frame
    return methods_answer(MethodLevels(frame), target="big", **study.NAMES)


def test_it_is_said_what_is_best_at_which_size_and_what_it_takes():
    first, second, *_ = answers()
    assert first.lead == (
        "With 10 % of the edges, the circuits of big that diverge least are those of "
        "edge-pruning (KL 0.1, 10 s for a task), whose faithfulness is also closest to "
        "1 (0.85)."
    )
    assert "hap 0.2, eap, absolute 4, " in first.details
    assert first.details.endswith("Means over 2 tasks.")
    assert second.lead.startswith("With 5 % of the edges")
    closer = pl.when(method="eap", measure="faithfulness", row="level")
    other = study.statistics().with_columns(
        value=closer.then(pl.lit(1.02)).otherwise("value")
    )
    assert "; closest to faithfulness 1 is eap, absolute (1.02, 0.5 s" in (
        answers(other)[0].lead
    )


def test_learned_methods_are_said_to_be_better_only_where_tests_show_it():
    start = (
        "By both KL and the distance of the faithfulness from 1, tests over tasks x "
        "seeds show "
    )
    assert answers()[2].lead == (
        f"{start}no learned method better than eap-ig-inputs (absolute scores)."
    )
    details = answers()[2].details
    assert (
        "hap at 10 % distance -0.29 [-0.30, -0.28] (p = 0.125) and kl -0.80" in details
    )
    p = (
        pl.when(method="hap", size=0.1)
        .then(pl.lit(0.01))
        .otherwise("p_permutation_holm")
    )
    shown = study.statistics().with_columns(p_permutation_holm=p)
    better = "better than eap-ig-inputs (absolute scores): hap at 10 %."
    assert answers(shown)[2].lead == start + better


def test_what_hap_saves_and_costs_is_one_answer():
    of_hap = answers()[-1]
    assert of_hap.lead == (
        "hap takes 0.50 [0.50, 0.50] of the seconds of edge-pruning, its filter "
        "included."
    )
    assert "at 10 % faithfulness -0.01 [-0.01, -0.01], KL 2.00 [2.00, 2.00] times" in (
        of_hap.details
    )


def test_without_numbers_the_answer_says_so():
    (only,) = answers(study.statistics().clear())
    assert only.lead == "No circuit of big was measured at a learned size."
