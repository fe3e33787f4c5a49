"""Schemes of textures: rules with limits on measures, read from a settings file."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mcn.catalog.storage import CatalogError

Floats = NDArray[np.float64]
Measures = Mapping[str, Floats]
"""Measure → its value in each resample, (R,); NaN is unknown."""

NOT_TOLD: Final = "not told"
"""No texture of the scheme fits."""

CANNOT_TELL: Final = (
    "Porosity and permeability of the rock, pore throats and what connects them cannot be told "
    "from these pictures: pores are those seen on a surface, and ranges of flow are those that a "
    "scheme gives for its classes. The schemes' papers give few numbers; limits are settings."
)

_MEASURES: Final = ("euhedral", "contact", "pores", "spacing", "median_diameter_um", "roundness")
_LEAD: Final = "lead_"


@dataclass(frozen=True)
class Texture:
    """A texture: its name, and for each measure the lowest and highest value."""

    name: str
    limits: Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class Scheme:
    """A published scheme.

    Parameters
    ----------
    key, title, reference : str
        Name in tables, name for people, and the paper.
    flow : str
        What the scheme says about porosity and permeability of its classes.
    textures : tuple of Texture
        The first that fits is an interval's.
    """

    key: str
    title: str
    reference: str
    flow: str
    textures: tuple[Texture, ...]

    @property
    def names(self) -> list[str]:
        """Names of the textures, and `NOT_TOLD`."""
        return [*(texture.name for texture in self.textures), NOT_TOLD]

    def choose(self, measures: Measures) -> NDArray[np.intp]:
        """Index in `names` of the texture in each resample, (R,).

        A texture whose limits all hold but for those on measures that are unknown, or that the
        catalogue does not have, might be the interval's: `NOT_TOLD`, whatever comes below it.
        """
        count = max((len(values) for values in measures.values()), default=0)
        chosen = np.full(count, len(self.textures), np.intp)
        for index, texture in reversed(list(enumerate(self.textures))):
            fits, might_fit = np.ones(count, np.bool_), np.ones(count, np.bool_)
            for measure, (low, high) in texture.limits.items():
                values = measures.get(measure, np.full(count, np.nan))
                fits &= (values >= low) & (values <= high)
                might_fit &= ~((values < low) | (values > high))
            chosen[might_fit] = len(self.textures)
            chosen[fits] = index
        return chosen


def read_schemes(path: str | None = None) -> tuple[Scheme, ...]:
    """Read schemes from a file like `schemes.toml` beside this module, which is the default.

    Raises
    ------
    CatalogError
        If the file cannot be read, or has a scheme or limit that makes no sense; the message
        says which.
    """
    name = path or "schemes.toml"
    try:
        text = (
            files(__package__).joinpath(name).read_text(encoding="utf-8")
            if path is None
            else Path(path).read_text(encoding="utf-8")
        )
        tables = tomllib.loads(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CatalogError(
            f"{name}: cannot be read as a file of schemes ({reason}); name a TOML file like the "
            "default one"
        ) from None
    schemes = tuple(_scheme(name, key, table) for key, table in tables.items())
    if not schemes:
        raise CatalogError(f"{name}: has no scheme; copy one of the default file")
    return schemes


def _scheme(file: str, key: str, table: Any) -> Scheme:
    where = f"{file}: scheme {key!r}"
    textures = table.get("texture") if isinstance(table, dict) else None
    if not isinstance(textures, list) or not textures:
        raise CatalogError(f"{where} has no textures; write [[{key}.texture]] with a name")
    if unknown := sorted(set(table) - {"title", "reference", "flow", "texture"}):
        raise CatalogError(f"{where} has the unknown setting {unknown[0]!r}; leave it out")
    read = tuple(_texture(where, entry) for entry in textures)
    names = [texture.name for texture in read]
    if doubled := {name for name in names if names.count(name) > 1}:
        raise CatalogError(f"{where} has the texture {doubled.pop()!r} twice; rename one")
    facts = {name: str(table.get(name, "")) for name in ("title", "reference", "flow")}
    return Scheme(key, facts["title"] or key, facts["reference"], facts["flow"], read)


def _texture(where: str, entry: Mapping[str, Any]) -> Texture:
    name = entry.get("name")
    if not isinstance(name, str) or not name or name == NOT_TOLD:
        raise CatalogError(f"{where} has a texture without a name; give it one")
    limits = {}
    for measure, ends in entry.items():
        if measure == "name":
            continue
        if measure not in _MEASURES and not measure.startswith(_LEAD):
            raise CatalogError(
                f"{where}, {name!r}: unknown measure {measure!r}; use "
                f"{', '.join(_MEASURES)} or {_LEAD}SHAPE"
            )
        limits[measure] = _limits(f"{where}, {name!r}, {measure}", ends)
    return Texture(name, limits)


def _limits(where: str, ends: Any) -> tuple[float, float]:
    is_numbers = isinstance(ends, dict) and all(
        isinstance(value, int | float) and not isinstance(value, bool) for value in ends.values()
    )
    if not is_numbers or not ends or set(ends) - {"min", "max"}:
        raise CatalogError(f"{where}: write limits as {{ min = 0.1, max = 0.5 }}, or one of them")
    low, high = float(ends.get("min", -math.inf)), float(ends.get("max", math.inf))
    if not low <= high:
        raise CatalogError(f"{where}: min {low:g} is above max {high:g}; swap them")
    return low, high


def probabilities(scheme: Scheme, measures: Measures) -> dict[str, float]:
    """Share of the resamples that each texture has, by name; it sums to 1."""
    chosen = scheme.choose(measures)
    counts = np.bincount(chosen, minlength=len(scheme.names)) / max(1, len(chosen))
    return dict(zip(scheme.names, counts.tolist(), strict=True))
