"""Cells of tables: a measure of a circuit, its interval, whether it exaggerates."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from circuit_transfer.tables.measures import AREAS, CPR, SHOWN, Measure, exaggerates
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


def measure_cells(level: Mapping[str, Any], columns: Sequence[str] = AREAS) -> Cells:
    """Return all measures of a level side by side, see `level_cell`.

    Args:
        level: a row of the statistics; empty for empty cells.
        columns: a name for each of `SHOWN`.
    """
    cells: Cells = {}
    for column, measure in zip(columns, SHOWN, strict=True):
        cells |= level_cell(column, level, measure)
    return cells


def measure_schema(columns: Sequence[str] = AREAS) -> Schema:
    """Return the columns of `measure_cells`, of the same names."""
    types = {}
    for column in columns:
        types |= cell_schema(column)
    return {name: types[name] for name in measure_cells({}, columns)}
