"""The tables of circuits and scores of edges, against values computed by hand."""

import numpy as np
import polars as pl
import pytest
import synthetic_edges as study

from circuit_transfer.circuits.similarity import chance_jaccard
from circuit_transfer.tables.edge_agreement import (
    CORRELATIONS,
    agreement_rows,
    agreement_table,
    verified_rows,
)
from circuit_transfer.tables.edge_levels import edges_table
from circuit_transfer.tables.edge_stability import (
    resamples_of,
    stability_rows,
    stability_table,
)
from circuit_transfer.tables.measures import AREAS
from circuit_transfer.tables.typesetting import to_csv, to_html, to_tex

NAMES = {"target": study.TARGET, "tasks": study.TASKS, "methods": ["nap"]}
NAMES["edge_methods"] = ["eap", "eap-gim"]
ROWS = [
    *(("eap", each) for each in ("signed", "absolute")),
    *(("eap-gim", each) for each in ("signed", "absolute")),
    *(("nap", each) for each in ("lifted", "nodes")),
    *((each, "random-effective") for each in ("eap", "eap-gim")),
    ("random", "random"),
]


def area(values):
    return np.array([0.09, 0.4, 0.5]) @ (np.add(values[1:], values[:-1]) / 2)


def test_the_table_has_every_circuit_beside_random_ones():
    table = edges_table(study.statistics()[0], **NAMES)
    assert table.frame["task"].unique(maintain_order=True).to_list() == [
        *study.TASKS,
        "mean",
    ]
    ioi = table.frame.filter(task="ioi")
    assert ioi.select("method", "circuit").rows() == ROWS
    values = {
        "signed": study.LEVELS["eap", "none", "signed"],
        "absolute": study.LEVELS["eap", "none", "absolute"],
    }
    for circuit, curve in values.items():
        row = ioi.filter(method="eap", circuit=circuit).row(0, named=True)
        assert row["cpr"] == pytest.approx(area(curve))
        assert row["cpr_half_width"] == pytest.approx(0, abs=1e-6)
        assert row["cpr_exaggerates"] == (circuit == "absolute")
    random = ioi.filter(circuit="random").row(0, named=True)
    assert random["cpr"] == pytest.approx(area([0, 0.1, 0.3, 1]))
    assert random["edges_needed"] is None
    signed = ioi.row(0, named=True)
    large = [signed[each] for each in ("edges_needed", "n_edges_needed")]
    assert large == [0.1, 100] and signed["effective_needed"] == 80
    nodes = ioi.filter(circuit="nodes").row(0, named=True)
    assert (nodes["edges_needed"], nodes["n_edges_needed"]) == (0.5, None)


def test_a_ranking_is_bold_only_where_all_measures_agree():
    table = edges_table(study.statistics()[0], **NAMES)
    bold = [
        (row["task"], row["method"], row["circuit"])
        for row, is_bold in zip(table.frame.to_dicts(), table.best["cpr"], strict=True)
        if is_bold
    ]
    best = ("eap", "signed")
    assert bold == [("ioi", *best), ("addition", *best), ("mean", *best)]
    assert table.best.keys() == {*AREAS}
    # By CPR the absolute ranking is first; by the others it is not.
    higher = pl.when(row="level", method="eap", ranking="absolute", control="none")
    by_cpr = study.statistics()[0].with_columns(
        cpr=higher.then(pl.lit(2.0)).otherwise(pl.col("cpr"))
    )
    assert not any(edges_table(by_cpr, **NAMES).best["cpr"])


def test_the_table_is_shown_as_readers_see_it():
    table = edges_table(study.statistics()[0], **NAMES)
    page = to_html(table, "Edges")
    assert "<b>0.91 ± 0.00</b>" in page and "▲" in page
    # A share has a decimal more: .005 is no .01.
    assert ">0.100<" in page and ">0.500<" in page
    assert "n edges needed" in page and r"\midrule" in to_tex(table)
    assert to_csv(table).startswith("task,method,circuit,cpr,cpr_half_width")


@pytest.mark.parametrize("methods", [["nap"], []])
def test_a_study_without_results_has_empty_cells(methods):
    nothing = study.statistics()[0].clear()
    names = NAMES | {"methods": methods, "tasks": ["ioi"]}
    table = edges_table(nothing, **names)
    assert table.frame.height == 7 + 2 * len(methods)
    cells = table.frame.drop("task", "method", "circuit")
    assert cells.null_count().sum_horizontal().item() == cells.width * cells.height
    assert not any(table.best["cpr"])
    assert ">-<" in to_html(table, "Edges")
    # Without a method that scores edges, there is nothing.
    alone = edges_table(nothing, **names | {"edge_methods": []})
    assert alone.frame.height == 1 + 2 * len(methods)


def test_the_agreement_of_scores_in_closed_form():
    scores = {
        "eap": np.array([4.0, 3, 2, 1]),
        "eap-exact": np.array([8.0, 6, 4, 2]),
        "lifted, nap": np.array([1.0, 1, 2, 2]),
        "lifted, exact": np.array([1.0, 1, 2, 2]),
    }
    rows = [*agreement_rows(scores, [0.5, 0.01, 1.0], task="a")]
    pairs = [(row["method"], row["against"]) for row in rows]
    assert len(pairs) == 5 and ("lifted, nap", "lifted, exact") not in pairs
    same, opposite = rows[0], rows[1]
    assert (same["pearson"], same["spearman"]) == pytest.approx((1, 1))
    assert same["jaccard_0.5"] == 1 and same["edges"] == 4
    # Of the two highest, {0, 1} against {2, 3}; a size without an edge is left out.
    assert opposite["jaccard_0.5"] == 0 and "jaccard_0.01" not in opposite
    assert opposite["pearson"] == pytest.approx(-4 / np.sqrt(20))


def test_the_agreement_has_a_mean_over_tasks_that_have_a_value():
    one, two = np.array([4.0, 3, 2, 1]), np.array([1.0, 2, 3, 4])
    tasks = {"a": {"x": one, "y": one}, "b": {"x": one, "y": two}}
    tasks["none"] = {"x": np.full(4, np.nan), "y": np.full(4, np.nan)}
    rows = [
        row
        for task, scores in tasks.items()
        for row in agreement_rows(scores, [0.5], task=task)
    ]
    frame = agreement_table(rows, tasks=[*tasks], proportions=[0.01, 0.5, 1]).frame
    assert frame["task"].to_list() == ["a", "b", "none", "mean"]
    assert frame["spearman"].to_list() == pytest.approx([1, -1, None, 0])
    assert frame["jaccard_0.5"].to_list() == pytest.approx([1, 0, None, 0.5])
    # No task has an edge at .01.
    assert "jaccard_0.01" not in frame.columns
    # Nothing was patched.
    assert not {"covered", "pearson_low"} & {*frame.columns}
    alone = agreement_table(rows[:1], tasks=["a"], proportions=[0.5]).frame
    assert alone["task"].to_list() == ["a"]
    assert agreement_table([], tasks=["a"], proportions=[0.5]).frame.is_empty()


def test_patched_edges_are_compared_with_their_scores():
    frame = pl.DataFrame({"score": [3.0, -2.0, 1.0], "exact": [6.0, -4.0, 2.0]})
    [row] = verified_rows(frame, 8.0, method="eap", task="a")
    assert row["against"] == "exact, highest edges" and row["edges"] == 3
    names = [f"{name}{end}" for name in CORRELATIONS for end in ("", "_low", "_high")]
    assert [row[name] for name in names] == pytest.approx([1] * 6)
    assert row["covered"] == 0.75
    assert not [*verified_rows(frame.clear(), 8.0, method="eap", task="a")]
    table = agreement_table([row], tasks=["a", "b"], proportions=[0.5])
    assert table.frame.row(0)[:3] == ("eap", "exact, highest edges", "a")
    assert table.frame["covered"].to_list() == [0.75, None, 0.75]
    assert table.frame["pearson_low"].to_list() == pytest.approx([1, None, None])
    assert "1.00 [1.00, 1.00]" in to_html(table, "Agreement")


def test_stability_is_of_both_rankings():
    # Signed, the first edge leads; by absolute value the last, whatever is drawn.
    by_example = np.array([[2.0, 1, 0, -9], [2.0, 1, 0, -9]], np.float16)
    names = {"task": "a", "method": "eap"}
    rows = [*stability_rows(by_example, [0.25, 0.5, 1.0], **names)]
    table = stability_table(rows)
    assert table.frame["ranking"].to_list() == [*2 * ["signed"], *2 * ["absolute"]]
    assert table.frame["size"].to_list() == 2 * ["0.25", "0.5"]
    assert table.frame["jaccard"].to_list() == 4 * [1.0]
    assert table.frame["chance"][0] == pytest.approx(chance_jaccard(1, 4))
    # Where signs differ between examples, only one of the rankings is stable.
    mixed = np.array([[5.0, 0, 1], [-5.0, 0, 1]], np.float16)
    signed, absolute = stability_rows(mixed, [0.34], **names)
    # Of both examples edge 2 leads, of the first alone edge 0, of the second edge 2.
    assert signed["jaccard"] == pytest.approx(0.75, abs=0.06)
    assert absolute["jaccard"] == pytest.approx(0.5, abs=0.06)
    assert signed["draws"] == 500


def test_stability_says_where_there_is_none():
    names = {"task": "a", "method": "eap"}
    expected = [names | {"ranking": each} for each in ("signed", "absolute")]
    assert [*stability_rows(None, [0.5], **names)] == expected
    assert [*stability_rows(np.empty((0, 4)), [0.5], **names)] == expected
    same = stability_rows(np.ones((3, 4)), [0.5], clusters=np.zeros(3, int), **names)
    assert [*same] == expected
    page = to_html(stability_table(expected), "Stability")
    assert ">-<" in page and "attribution.keep_examples" in page


def test_of_many_edges_fewer_resamples_are_drawn():
    assert [resamples_of(each) for each in (3_628, 179_749, 1_592_881)] == [
        500,
        373,
        100,
    ]
