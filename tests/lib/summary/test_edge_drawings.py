"""What the page says of edges and drawings, against circuits written out by hand."""

import polars as pl
import pytest

from circuit_transfer.summary.edges import drawing_caption, with_arrows
from circuit_transfer.summary.nodes import nodes_answer, nodes_table

PATH = [("input", "a0.h1<q>", 3.0), ("a0.h1", "m1", -2.0), ("m1", "logits", 1.0)]
LOOSE = ("a1.h0", "logits", -0.5)


def drawn(*edges, effective):
    rows = [(*edge, kept) for edge, kept in zip(edges, effective, strict=True)]
    return pl.DataFrame(
        rows,
        schema={
            **dict.fromkeys(("writer", "reader"), pl.String),
            "score": pl.Float64,
            "effective": pl.Boolean,
        },
        orient="row",
    )


MOST = "with the highest absolute scores"
ON = "on a path from input to logits along these edges"


@pytest.mark.parametrize(
    ("edges", "caption"),
    [
        (
            drawn(*PATH, effective=[True] * 3),
            f"Of the 3 edges {MOST}, 3 are {ON}, through 2 heads and MLPs. "
            "Against the right answer (dashed): 1 of 3.",
        ),
        (
            drawn(*PATH, LOOSE, effective=[True] * 3 + [False]),
            f"Of the 4 edges {MOST}, 3 are {ON}, through 2 heads and MLPs; the others "
            "are paler. Against the right answer (dashed): 2 of 4.",
        ),
        (
            drawn(("input", "logits", 1.0), PATH[0], effective=[True, False]),
            f"Of the 2 edges {MOST}, 1 is {ON}, through 0 heads and MLPs; the others "
            "are paler. None is against the right answer.",
        ),
        (
            drawn(PATH[0], effective=[False]),
            f"Of the 1 edge {MOST}, none is {ON}; the others are paler. None is "
            "against the right answer.",
        ),
        (
            drawn(effective=[]),
            "No edge has a score: the task has no usable train pair.",
        ),
    ],
)
def test_the_caption_of_a_drawing(edges, caption):
    assert drawing_caption(edges) == caption


def test_edges_are_named_as_nodes_are():
    rows = [
        ("a", "eap", 1, "input->m0", 3.0, 2.0, 4.0),
        ("a", "eap", 9, "m0->logits", -1.0, -2.0, 1.0),
        ("b", "eap", 1, "input->m0", 2.0, 1.0, 3.0),
    ]
    names = ("task", "method", "rank", "edge", "score", "low", "high")
    top = with_arrows(pl.DataFrame(rows, schema=names, orient="row"))
    (answer,) = nodes_answer(top, target="mine", noun="edge")
    assert answer == (
        "In mine by eap, input→m0 has the highest score on both tasks, with the 95 % "
        "interval above 0 each."
    )
    table = nodes_table(top, noun="edge", note="a note")
    assert table.frame.select("highest", "most_negative").rows() == [
        ("input→m0", "m0→logits?"),
        ("input→m0", None),
    ]
    assert table.note == "a note"
    nothing = top.with_columns(score=None)
    assert nodes_answer(nothing, target="mine", noun="edge") == [
        "No edge of mine has a score: no task has usable train pairs."
    ]
