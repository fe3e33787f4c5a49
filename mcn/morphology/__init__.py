"""Measures from masks, in pixels and micrometres."""

from mcn.morphology.measures import Measures, measure

__all__ = ["Measures", "measure"]
