"""The wells and models that a question names, and what to say if there are none of that name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from mcn.catalog.active_files import TableSnapshot, files
from mcn.catalog.model_names import LATEST, ModelPair, choose_models
from mcn.catalog.reading.rows import read_rows
from mcn.catalog.reading.views import reading
from mcn.catalog.reading.well_list import list_models
from mcn.catalog.schema import TILES
from mcn.catalog.storage import CatalogQueryError
from mcn.catalog.wells import plain_well
from mcn.errors import unknown_name

if TYPE_CHECKING:
    from mcn.catalog.store import Catalog


def known_wells(catalog: Catalog, tiles: TableSnapshot, wells: Sequence[str]) -> pa.Table:
    """Data files of these wells' tiles; of all tiles if no well is named.

    Raises
    ------
    CatalogQueryError
        For a well without tiles; the message names the existing wells.
    """
    if unknown := sorted({*map(plain_well, wells)} - tiles.by_well.keys()):
        raise CatalogQueryError(
            f"{catalog.uri}: {unknown_name('well', unknown[0], [*tiles.by_well])}"
        )
    return files(tiles, wells)


def find_models(
    catalog: Catalog,
    tiles: TableSnapshot,
    wells: Sequence[str] = (),
    segmenter: str | None = None,
    classifier: str | None = None,
) -> ModelPair:
    """The models that full or shortened names refer to.

    A short name must be unique in the whole catalogue, not only in the wells. If both names are
    given in full, it is enough to look at the files of the wells.

    Raises
    ------
    CatalogQueryError
        For a name that matches no model or several; the message names the existing models.
    """
    named = ModelPair(segmenter, classifier)
    if named == LATEST:
        return named
    if wells and named.is_among(_models_of(catalog, files(tiles, wells))):
        return named
    every = list_models(catalog, tiles).select(["segmenter", "classifier"])
    return choose_models(catalog.uri, named, [ModelPair(**pair) for pair in every.to_pylist()])


def _models_of(catalog: Catalog, tile_files: pa.Table) -> list[ModelPair]:
    """Pairs of models that have rows in these files, sorted by name."""
    names = ["segmenter", "classifier"]
    with reading(catalog, {"tiles": tile_files}):
        open_files = catalog.live.fragments.of("tiles", tile_files)
        rows = read_rows(open_files, TILES, names)
    pairs = rows.group_by(names).aggregate([]).sort_by([(name, "ascending") for name in names])
    return [ModelPair(**pair) for pair in pairs.to_pylist()]
