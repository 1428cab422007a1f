"""The tables of a study: summaries of curves, their layout and their typesetting."""

from circuit_transfer.tables.curves import curve_areas, regime, summarise

__all__ = ["curve_areas", "regime", "summarise"]
