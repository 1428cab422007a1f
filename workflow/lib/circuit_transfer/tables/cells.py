"""Cells of tables: a measure of a circuit, its interval, whether it exaggerates."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from circuit_transfer.tables.measures import CPR, SHOWN, Measure, exaggerates
from circuit_transfer.tables.typesetting import EXAGGERATES, HALF_WIDTH, half_width

Cells = dict[str, float | bool | None]
Schema = dict[str, type[pl.DataType]]


def level_cell(column: str, level: Mapping[str, Any], measure: Measure) -> Cells:
    """Return a measure of a level and half the width of its interval, for a column.

    Of the CPR also whether the circuit exaggerates, which is what CPR rewards.

    Args:
        column: the column of the table.
        level: a row of the statistics; empty for an empty cell.
        measure: the measure to show.
    """
    cell = {
        column: level.get(measure.column),
        column + HALF_WIDTH: half_width(level, measure.column),
    }
    return cell | ({column + EXAGGERATES: exaggerates(level)} if measure is CPR else {})


def cell_schema(column: str) -> Schema:
    """Return the columns of `level_cell`, for rows of any measure."""
    numbers = {column: pl.Float64, column + HALF_WIDTH: pl.Float64}
    return numbers | {column + EXAGGERATES: pl.Boolean}


def measure_cells(level: Mapping[str, Any]) -> Cells:
    """Return all measures of a level side by side, see `level_cell`."""
    cells: Cells = {}
    for measure in SHOWN:
        cells |= level_cell(measure.column, level, measure)
    return cells


def measure_schema() -> Schema:
    """Return the columns of `measure_cells`."""
    types = {}
    for measure in SHOWN:
        types |= cell_schema(measure.column)
    return {name: types[name] for name in measure_cells({})}
