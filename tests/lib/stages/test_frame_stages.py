"""Stages that are made of a function of frames."""

from inspect import signature

import polars as pl
import pytest

from circuit_transfer.artifacts.frames import write_frame
from circuit_transfer.stages.frames import BY_ABLATION
from circuit_transfer.stages.summaries import table_stage
from circuit_transfer.tables.typesetting import Table


def make(left, right, *, source, rows=2):
    return Table(pl.concat([left, right]).head(rows), labels=1)


@pytest.fixture
def stage():
    frames = {"cpr": BY_ABLATION, "costs": ["value"]}
    return table_stage(make, "From {source}", **frames)


@pytest.fixture
def paths(tmp_path):
    both = {"ablation": ["mean", "zero"], "value": [1.0, 2.0]}
    write_frame(pl.DataFrame(both), tmp_path / "cpr")
    write_frame(pl.DataFrame(both), tmp_path / "costs")
    tables = [tmp_path / f"table.{suffix}" for suffix in ("csv", "html")]
    frames = {"cpr_path": tmp_path / "cpr", "costs_path": tmp_path / "costs"}
    return frames | {"table_paths": tables}


def test_a_stage_asks_for_what_its_function_does(stage):
    names = ["cpr_path", "costs_path", "table_paths", "ablation", "source", "rows"]
    assert list(signature(stage).parameters) == names
    assert signature(stage).parameters["rows"].default == 2


def test_only_a_frame_by_ablation_is_reduced_to_one(stage, paths):
    stage(**paths, ablation="zero", source="a", rows=9)
    csv, html = paths["table_paths"]
    assert pl.read_csv(csv)["value"].to_list() == [2.0, 1.0, 2.0]
    assert "<title>From a</title>" in html.read_text()


def test_a_default_of_the_function_holds(stage, paths):
    stage(**paths, ablation="zero", source="a")
    assert len(pl.read_csv(paths["table_paths"][0])) == 2


def test_a_missing_argument_or_column_is_named(stage, paths):
    with pytest.raises(TypeError, match="'source'"):
        stage(**paths, ablation="zero")
    paths["costs_path"] = paths["cpr_path"]
    write_frame(pl.DataFrame({"ablation": ["zero"]}), paths["cpr_path"])
    with pytest.raises(ValueError, match=r"no column \['value'\]"):
        stage(**paths, ablation="zero", source="a")
