"""Textures and zones of a well's depth log."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

from mcn.catalog.depth_log.table import depth_log
from mcn.catalog.formats import row_objects
from mcn.catalog.wells import plain_well
from serve.deployments.open_catalog import OpenCatalog, in_thread

_MOST_TEXTURES: Final = 64
"""Wells whose textures are remembered: for a long well they take seconds."""

Models = tuple[str | None, str | None]


class TextureReader(OpenCatalog):
    """A catalogue whose textures and zones are asked for; parameters as for `OpenCatalog`."""

    def __init__(self, uri: str | None, refresh_s: float) -> None:
        super().__init__(uri, refresh_s)
        self._textures = lru_cache(_MOST_TEXTURES)(self._name_textures)

    @in_thread
    def textures(self, well: str, step_m: float | None, models: Models) -> list[dict[str, Any]]:
        """The textures of the intervals of a well's depth log, by each scheme."""
        self.check_well(well)
        _, snapshot = self.open()
        versions = snapshot.tiles.version, snapshot.crystals.version
        return self._textures(plain_well(well), step_m, models, versions)

    @in_thread
    def zones(
        self, well: str, step_m: float | None, models: Models, count: int | None
    ) -> list[dict[str, Any]]:
        """The zones of a well's depth log, from the top down."""
        from mcn.catalog.depth_log.zones import find_zones

        self.check_well(well)
        return row_objects(find_zones(depth_log(self.open()[0], well, step_m, *models), count))

    def _name_textures(
        self, well: str, step_m: float | None, models: Models, versions: tuple[int, int]
    ) -> list[dict[str, Any]]:
        """The rows of `textures`; `versions` of the tables distinguish what is remembered."""
        from mcn.catalog.textures.table import texture_table

        return row_objects(texture_table(self.open()[0], well, step_m, *models))
