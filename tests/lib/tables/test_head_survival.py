"""Which heads are left in circuits that are known edge by edge."""

import numpy as np
import polars as pl
import pytest

from circuit_transfer.models.edges import edge_graph
from circuit_transfer.tables.head_survival import (
    survival_frame,
    survival_rows,
    survival_table,
    surviving,
)

GRAPH = edge_graph(2, 2, 1, kv="query-head")
HEADS = pl.DataFrame(
    {
        "head": ["a0.h0", "a1.h1", "a0.h1"],
        "effect": [2.0, 1.0, -0.5],
        "effect_without": [2.0, 1.5, -0.4],
        "role": ["strongest", "strongest", "negative"],
    }
)


def circuit(*edges):
    """A circuit of edges that are given as names of writer and reader."""
    kept = np.zeros((len(GRAPH.writers), len(GRAPH.readers)), bool)
    for edge in edges:
        writer, reader = edge.split("->")
        kept[GRAPH.writers.index(writer), GRAPH.readers.index(reader)] = True
    return GRAPH.flat(kept)


WHOLE = circuit("input->a0.h0<v>", "a0.h0->a1.h1<v>", "a1.h1->logits")


def test_a_head_is_used_if_it_is_on_a_path_from_input_to_logits():
    # Nobody reads a1.h1 to the end, and a0.h0 has no edge from the input.
    dangling = circuit("input->a0.h1<q>", "a0.h0->a1.h1<v>", "a0.h1->logits")
    unread = circuit("input->a0.h0<v>", "a0.h0->a1.h1<v>", "input->logits")
    found = surviving(GRAPH, np.stack([WHOLE, dangling, unread]), HEADS["head"])
    assert found.tolist() == [
        [True, True, False],
        [False, False, True],
        [False, False, False],
    ]
    assert surviving(GRAPH, WHOLE, []).shape == (0,)
    with pytest.raises(ValueError, match="head 'a2.h0' is not in the model"):
        surviving(GRAPH, WHOLE, ["a2.h0"])


def rows(method, *seeds):
    names = {"task": "ioi", "method": method}
    return survival_rows(GRAPH, {0.1: seeds}, HEADS, **names)


def test_shares_are_over_seeds_and_over_the_heads_of_a_role():
    nothing = circuit()
    frame = survival_frame(
        [*rows("hap", WHOLE, nothing, nothing, WHOLE), *rows("eap", WHOLE)]
    )
    assert frame.filter(method="hap")["kept"].to_list() == [0.5, 0.5, 0]
    assert frame.filter(method="hap")["n_seeds"].to_list() == [4, 4, 4]
    table = survival_table(frame, methods=["hap", "eap", "unknown"])
    labels = table.frame.select("size_percent", "role", "head").rows()
    assert labels == [
        ("10", "strongest", "a0.h0"),
        ("10", "strongest", "a1.h1"),
        ("10", "strongest", "all"),
        ("10", "negative", "a0.h1"),
        ("10", "negative", "all"),
    ]
    assert table.frame["hap"].to_list() == [0.5, 0.5, 0.5, 0, 0]
    assert table.frame["eap"].to_list() == [1, 1, 1, 0, 0]
    assert table.frame["unknown"].null_count() == 5
    assert table.frame["effect"].to_list() == [2, 1, None, -0.5, None]


def test_without_a_head_there_are_no_rows():
    table = survival_table(survival_frame([]), methods=["hap"])
    assert table.frame.is_empty() and "hap" in table.frame.columns
