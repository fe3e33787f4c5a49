"""Measures from masks, in pixels and micrometres."""

from mcn.morphology.measures import measure

__all__ = ["measure"]
