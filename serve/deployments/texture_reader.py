"""Textures of a well's intervals, remembered until the catalogue changes."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

from mcn.catalog.corrected.rows import open_corrections
from mcn.catalog.formats import row_objects
from mcn.catalog.store import Catalog
from mcn.catalog.wells import plain_well
from mcn.catalog.wells_table.places import formation_depths
from serve.deployments.messages import LogRequest
from serve.deployments.open_catalog import OpenCatalog, in_thread

_MOST_TEXTURES: Final = 64
"""Logs whose textures are remembered: those of a long well take seconds."""


class TextureReader(OpenCatalog):
    """A catalogue whose textures are asked for; parameters as for `OpenCatalog`."""

    @in_thread
    def textures(self, well: str, request: LogRequest) -> list[dict[str, Any]]:
        """The textures of the intervals of a well's depth log, by each scheme."""
        self.check_well(well)
        catalog, snapshot = self.open()
        corrections = open_corrections(catalog.uri) if request.corrected else None
        versions = (
            snapshot.tiles.version,
            snapshot.crystals.version,
            None if corrections is None else corrections.version(),
        )
        return _textures(catalog, plain_well(well), request, versions)


@lru_cache(_MOST_TEXTURES)
def _textures(
    catalog: Catalog, well: str, request: LogRequest, versions: tuple[int | None, ...]
) -> list[dict[str, Any]]:
    """The rows of `textures`; `versions` of the tables tell apart what is remembered."""
    from mcn.catalog.textures.table import texture_table

    depth = request.depth
    if request.formation is not None:
        depth = formation_depths(catalog, well, request.formation, depth)
    table = texture_table(
        catalog,
        well,
        request.step_m,
        request.segmenter,
        request.classifier,
        depth=depth,
        seed=request.seed,
        corrected=request.corrected,
    )
    return row_objects(table)
