"""Measures from masks, in pixels and micrometres."""

from mcn.morphology.contact import paint_crystals
from mcn.morphology.measures import measure
from mcn.morphology.pores import count_pore_pixels

__all__ = ["count_pore_pixels", "measure", "paint_crystals"]
