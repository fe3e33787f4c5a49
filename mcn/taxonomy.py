"""The crystal classes: which shapes and facet definitions exist, in which order.

The renderer and the embedded weights use the four shapes of calcite. For other rocks, a `Taxonomy`
is read from a file and stored in the weights trained for it.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from mcn.errors import McnError

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_MAX_SHAPES = 64
_FACET_COLUMN = "euhedral_to_subhedral"


class TaxonomyError(McnError):
    """A list of classes that cannot be used; the message says why."""


@dataclass(frozen=True)
class Taxonomy:
    """A list of crystal classes.

    The order of `shapes` is the order of every probability vector, column and plot.

    Parameters
    ----------
    facet_of : mapping of str to str
        Facet definition of each shape, in the order of the shapes. Names are lower-case
        letters, digits and underscores, since they become columns.
    aliases : mapping of str to str
        Other names that label files use for a shape.

    Raises
    ------
    TaxonomyError
        If there are fewer than two shapes or too many, or a name cannot be a column.

    Examples
    --------
    >>> dolomite = Taxonomy({"planar_e": "euhedral", "nonplanar": "anhedral"})
    >>> dolomite.shapes, dolomite.facets
    (('planar_e', 'nonplanar'), ('euhedral', 'anhedral'))
    """

    facet_of: Mapping[str, str]
    aliases: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in (*self.facet_of, *self.facet_of.values()):
            if not _NAME.fullmatch(name):
                raise TaxonomyError(
                    f"{name!r} cannot name a class; use up to 40 lower-case letters, digits and "
                    "underscores, a letter first"
                )
        if _FACET_COLUMN in self.facet_of:
            raise TaxonomyError(
                f"{_FACET_COLUMN!r} cannot name a shape: depth logs have a column of that facet "
                "definition; give the shape another name"
            )
        if not 2 <= len(self.facet_of) <= _MAX_SHAPES:
            raise TaxonomyError(f"{len(self.facet_of)} shapes are listed; name 2 to {_MAX_SHAPES}")
        for name, shape in self.aliases.items():
            if shape not in self.facet_of or name in self.facet_of:
                raise TaxonomyError(
                    f"{name!r} cannot be an alias of {shape!r}; give a new name for one of "
                    f"{', '.join(self.facet_of)}"
                )
        object.__setattr__(self, "facet_of", MappingProxyType(dict(self.facet_of)))
        object.__setattr__(self, "aliases", MappingProxyType(dict(self.aliases)))

    def __reduce__(self) -> tuple[Any, ...]:
        return Taxonomy, (
            dict(self.facet_of),
            dict(self.aliases),
        )  # read-only mappings do not pickle

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Taxonomy):
            return NotImplemented
        return (
            list(self.facet_of.items()) == list(other.facet_of.items())
            and self.aliases == other.aliases
        )

    def __hash__(self) -> int:
        return hash(tuple(self.facet_of.items()))

    @property
    def shapes(self) -> tuple[str, ...]:
        """The shapes, in their order."""
        return tuple(self.facet_of)

    @property
    def facets(self) -> tuple[str, ...]:
        """The facet definitions without repeats, in the order of the shapes."""
        return tuple(dict.fromkeys(self.facet_of.values()))

    @property
    def facet_indices(self) -> tuple[int, ...]:
        """Index in `facets` of each shape's facet definition."""
        return tuple(self.facets.index(facet) for facet in self.facet_of.values())

    def index(self, name: str) -> int:
        """Index of a shape in `shapes`, by its name or an alias.

        Raises
        ------
        KeyError
            If no shape has this name or alias.
        """
        return {shape: i for i, shape in enumerate(self.shapes)}[self.aliases.get(name, name)]


CALCITE: Final = Taxonomy(
    {
        "rhombic": "euhedral_to_subhedral",
        "polyhedral": "euhedral_to_subhedral",
        "amorphous": "anhedral",
        "spherical": "anhedral",
    },
    {"rounded": "spherical"},
)
"""Microcrystals of calcite, as classified in the MicroCrystalNet paper."""

SHAPES: Final = CALCITE.shapes
FACET_OF_SHAPE: Final = CALCITE.facet_of


def read_taxonomy(path: Path) -> Taxonomy:
    """Read a list of classes from a TOML file.

    Parameters
    ----------
    path : Path
        File with a table `[shapes]` of each shape's facet definition, in order, and optionally
        a table `[aliases]` that maps other names to shapes::

            [shapes]
            planar_e = "euhedral"
            nonplanar = "anhedral"
            [aliases]
            saddle = "nonplanar"

    Raises
    ------
    TaxonomyError
        If the file is missing, does not have this form, or has names that cannot be used.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise TaxonomyError(f"{path}: cannot be read as TOML ({error}); correct it") from error
    # Files of version 0.1 spell `aliases` as `also`.
    shapes = tables.pop("shapes", None)
    aliases = tables.pop("aliases", None) or tables.pop("also", {})
    if not _is_names(shapes) or not _is_names(aliases) or tables:
        raise TaxonomyError(
            f'{path}: needs a table [shapes] of lines like rhombic = "euhedral", may have a table '
            "[aliases] of other names, and nothing else"
        )
    try:
        return Taxonomy(shapes, aliases)
    except TaxonomyError as error:
        raise TaxonomyError(f"{path}: {error}") from None


def _is_names(table: Any) -> bool:
    return isinstance(table, dict) and all(isinstance(value, str) for value in table.values())
