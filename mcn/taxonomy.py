"""The crystal classes: four shapes, each with one facet definition.

The order of `SHAPES` is the order of every probability vector, column and plot in
this project.
"""

from __future__ import annotations

from typing import Final

SHAPES: Final = ("rhombic", "polyhedral", "amorphous", "spherical")
FACETS: Final = ("euhedral_to_subhedral", "anhedral")

FACET_OF_SHAPE: Final = {
    "rhombic": "euhedral_to_subhedral",
    "polyhedral": "euhedral_to_subhedral",
    "amorphous": "anhedral",
    "spherical": "anhedral",
}
"""Facet definition that follows from each shape."""
