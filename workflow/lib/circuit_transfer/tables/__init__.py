"""The tables of a study: summaries of curves, layout and typesetting."""

from circuit_transfer.tables.curves import curve_areas, regime, summarise

__all__ = ["curve_areas", "regime", "summarise"]
