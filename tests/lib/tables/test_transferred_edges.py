"""Circuits of edges in the tables of transfers, beside those of nodes."""

import polars as pl
import pytest
import synthetic_edge_transfers as study
import synthetic_study as nodes
from polars.testing import assert_frame_equal

from circuit_transfer.tables.comparisons import comparisons_table, maps_table
from circuit_transfer.tables.scaling import scaling
from circuit_transfer.tables.source_use import BEST_TARGET_ONLY, source_use
from circuit_transfer.tables.transfers import controls_table, leaderboard

PAIR = {"source": nodes.SOURCE, "target": nodes.TARGET}
OF_NODES = ("nap", "exact", "random")


@pytest.fixture(scope="module")
def statistics():
    return study.statistics()[0]


def one(table, **labels):
    (row,) = table.filter(**labels).to_dicts()
    return row


def test_rows_of_nodes_are_those_of_a_study_without_edges(statistics):
    for ours, alone in zip(study.statistics(), nodes.statistics(), strict=True):
        assert_frame_equal(ours.filter(pl.col("method").is_in(OF_NODES)), alone)
    areas, alone = study.summary()[1], nodes.summary()[1]
    assert_frame_equal(areas.filter(pl.col("method").is_in(OF_NODES)), alone)


def test_gold_circuits_of_edges_are_of_the_ranking_that_is_transferred(statistics):
    of_gold = {"row": "level", "circuit": "gold", "method": "eap", "task": "mean"}
    assert one(statistics, **of_gold)["cpr"] == pytest.approx(study.mean("gold"))
    areas = study.summary()[1].filter(method="eap", kind="gold")
    assert len(areas) == len(nodes.TASKS)


def test_edges_are_compared_with_random_rankings_of_edges(statistics):
    against = {"against": "random-rankings", "measure": "cpr", "protocol": "family"}
    for method, other in (
        ("eap", study.mean("random-rankings")),
        ("nap", 0.999 * 0.31),
    ):
        name = study.maps()[method][0]
        row = one(statistics, row="difference", method=method, map=name, **against)
        ours = {"circuit": "zero-shot-family", "protocol": "family", "task": "mean"}
        level = one(statistics, row="level", method=method, map=name, **ours)["cpr"]
        assert row["mean_difference"] == pytest.approx(level - other)


def test_the_leaderboard_has_edges_beside_nodes(statistics):
    board = leaderboard(statistics, **PAIR, maps=study.maps(), tasks=nodes.TASKS).frame
    assert board["method"].unique(maintain_order=True).to_list() == [
        "nap",
        "exact",
        "eap",
    ]
    rows = {"gold": None, "zero-shot": "task", "in-distribution": None}
    for circuit, protocol in rows.items():
        shown = one(board, method="eap", measure="CPR", circuit=circuit)["mean"]
        assert shown == pytest.approx(study.mean(circuit, protocol))
    family = one(board, method="eap", measure="CPR", circuit="zero-shot-family")
    assert family["mean"] == pytest.approx(study.mean("zero-shot", "family"))
    of_nodes = nodes.by_method()
    alone = leaderboard(statistics, **PAIR, maps=of_nodes, tasks=nodes.TASKS).frame
    assert_frame_equal(board.filter(pl.col("method") != "eap"), alone)


def test_controls_and_maps_are_those_of_the_methods_own_level(statistics):
    names = {"maps": study.maps(), "controls": study.controls()}
    table = controls_table(statistics, **PAIR, **names, tasks=nodes.TASKS).frame
    found = table.filter(method="eap", left_out="family", measure="CPR")
    circuits = [*study.CONTROLS, "random-rankings", "zero-shot-family", "gold"]
    assert found["circuit"].to_list() == circuits
    shown = one(found, circuit="degree-source")["mean"]
    assert shown == pytest.approx(study.mean("degree-source", "family"))
    assert "depth-heuristic" in table.filter(method="nap")["circuit"]
    maps = maps_table(statistics, **PAIR, **names).frame
    lines = maps.filter(method="eap", left_out="family", measure="CPR")
    assert lines["map"].to_list() == [*study.MAPS, "gold", "random-rankings"] + [
        "edge-changes"
    ]
    main, lifted, *_, changes = lines.to_dicts()
    assert main["degree-source"] == pytest.approx(study.mean("degree-source", "family"))
    assert lifted["real"] == pytest.approx(study.mean("lifted", "family"))
    assert changes["reference"] == pytest.approx(study.mean("edge-changes"))
    assert "edge-changes" not in maps.filter(method="nap")["map"]


def test_maps_of_edges_are_tested_against_maps_of_nodes_that_are_lifted(statistics):
    table = comparisons_table(statistics, **PAIR, maps=study.maps()).frame
    row = one(
        table,
        method="eap",
        left_out="family",
        map="prior-residual",
        measure="CPR",
        against="map lifted-free",
    )
    difference = study.mean("zero-shot", "family") - study.mean("lifted", "family")
    assert row["mean_difference"] == pytest.approx(difference)
    assert (row["n_cells"], row["better"]) == (9, "yes")
    lifted = table.filter(map="lifted-free")["against"]
    assert not lifted.str.starts_with("map ").any()
    # Nothing of it enters the adjustment for controls.
    rows = statistics.filter(row="difference", map="prior-residual", protocol="family")
    of_controls = rows.filter(comparison="control", measure="cpr")
    smallest = of_controls["p_tasks"].min()
    assert of_controls["p_tasks_holm"].min() == min(1, smallest * len(of_controls))
    assert (
        rows.filter(comparison="lifted", measure="cpr")["p_tasks_holm"][0] == smallest
    )


def test_every_pair_recovers_edges_as_well(statistics):
    table = scaling(statistics, task="ioi", transfers=[PAIR], maps=study.maps()).frame
    row = one(table, method="eap", measure="CPR")
    best = max(study.level(each, "ioi") for each in ("in-distribution", "zero-shot"))
    share = 100 * best / study.level("gold", "ioi")
    assert row["recovery_percent"] == pytest.approx(share)


def test_source_use_knows_the_changes_of_edges_as_a_control_of_the_target():
    frame = source_use(
        nodes.named_cpr(study.summary()[1]),
        relations={(nodes.SOURCE, nodes.TARGET): "apart"},
        similarities={},
        families=nodes.FAMILIES,
        methods=["nap", "exact", "eap"],
        maps=[*nodes.MAPS, *study.MAPS],
    )
    row = one(
        frame.filter(protocol="family", measure="cpr"),
        method="eap",
        map="prior-residual",
        control=BEST_TARGET_ONLY,
    )
    # Of families: ioi, and arithmetic, whose two tasks have the same difference.
    ours, theirs = study.LEVELS["zero-shot"], study.LEVELS["edge-changes"]
    by_family = [ours - theirs, ours + study.SHIFT - theirs]
    assert row["difference"] == pytest.approx(0.999 * sum(by_family) / 2)
    assert frame.filter(method="nap", control=BEST_TARGET_ONLY).is_empty()
