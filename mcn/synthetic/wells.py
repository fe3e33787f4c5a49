"""The wells of a rendered core: named zones, and the properties of the rock at each depth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

ShapeMix = tuple[float, float, float, float]

_NAMES: Final = ("Alder", "Birch", "Cedar", "Damson", "Elm", "Fir", "Gorse", "Hazel")

_STRATA: Final = (
    # name, thickness, shape mix, diameter in micrometres, porosity
    ("upper tight rhombic", 0.9, (0.74, 0.14, 0.07, 0.05), 2.6, 0.05),
    ("vuggy polyhedral", 1.1, (0.14, 0.72, 0.06, 0.08), 4.2, 0.28),
    ("chalky spheroidal", 0.8, (0.08, 0.10, 0.12, 0.70), 1.7, 0.20),
    ("lower compact anhedral", 1.2, (0.07, 0.09, 0.77, 0.07), 3.2, 0.08),
)


@dataclass(frozen=True)
class Zone:
    """An interval of a well, with the properties of the rock in its middle."""

    name: str
    top_m: float
    base_m: float
    shape_mix: ShapeMix
    diameter_um: float
    porosity: float


@dataclass(frozen=True)
class SyntheticWell:
    """A well and its zones, from the top down and without gaps."""

    name: str
    zones: tuple[Zone, ...]


@dataclass(frozen=True)
class Rock:
    """Properties of the rock at one depth, named as in `TileSettings`."""

    zone: str
    shape_mix: ShapeMix
    diameter_um: float
    porosity: float


def plan_wells(wells: int, seed: int, top_m: float, base_m: float) -> tuple[SyntheticWell, ...]:
    """Wells through one succession of zones, with thicknesses that vary between wells.

    Parameters
    ----------
    wells : int
        Number of wells.
    seed : int
        The same seed gives the same wells; a well does not depend on how many follow.
    top_m, base_m : float
        Depth interval that the zones fill, in metres.
    """
    planned = []
    for number in range(wells):
        rng = make_generator(seed, number)
        thickness = np.array([stratum[1] for stratum in _STRATA])
        thickness = thickness * rng.uniform(0.75, 1.3, size=len(_STRATA))
        edges = np.concatenate([[0.0], np.cumsum(thickness) / thickness.sum()])
        edges = np.round(top_m + edges * (base_m - top_m), 1)
        zones = tuple(
            Zone(
                name,
                float(top),
                float(base),
                mix,
                diameter_um=float(diameter * rng.uniform(0.9, 1.1)),
                porosity=float(porosity * rng.uniform(0.85, 1.15)),
            )
            for (name, _, mix, diameter, porosity), top, base in zip(
                _STRATA, edges[:-1], edges[1:], strict=True
            )
        )
        planned.append(SyntheticWell(f"{_NAMES[number % len(_NAMES)]}-{number + 1}", zones))
    return tuple(planned)


def rock_at(well: SyntheticWell, depth_m: float) -> Rock:
    """The rock at a depth: smooth over zone boundaries, coarsening downwards within a zone."""
    tops = np.array([zone.top_m for zone in well.zones])
    bases = np.array([zone.base_m for zone in well.zones])
    blend = 0.03 * (bases[-1] - tops[0])
    # The first zone extends upwards and the last one downwards without limit.
    above = np.concatenate([[1.0], _logistic((depth_m - tops[1:]) / blend)])
    below = np.concatenate([_logistic((bases[:-1] - depth_m) / blend), [1.0]])
    weights = above * below / np.sum(above * below)
    place = np.clip((depth_m - tops) / (bases - tops), 0.0, 1.0) - 0.5
    mix = weights @ np.array([zone.shape_mix for zone in well.zones])
    diameter = np.exp(weights @ (np.log([zone.diameter_um for zone in well.zones]) + 0.25 * place))
    porosity = weights @ (np.array([zone.porosity for zone in well.zones]) * (1.0 - 0.3 * place))
    inside = int(np.clip(np.searchsorted(tops, depth_m, side="right") - 1, 0, len(tops) - 1))
    rhombic, polyhedral, amorphous, spherical = (float(share) for share in mix)
    return Rock(
        zone=well.zones[inside].name,
        shape_mix=(rhombic, polyhedral, amorphous, spherical),
        diameter_um=float(diameter),
        porosity=float(porosity),
    )


def make_generator(*key: int) -> np.random.Generator:
    """A separate random generator for each key."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))


def _logistic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1.0 / (1.0 + np.exp(-x))
