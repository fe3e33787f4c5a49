"""The tiles of a well in order of depth, with their crystals, as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mcn.catalog.active_files import Depths, Snapshot
from mcn.catalog.corrected.rows import read_corrections
from mcn.catalog.depths import check_depth
from mcn.catalog.model_names import LATEST, ModelPair
from mcn.catalog.query import find_models, iter_batches, known_wells
from mcn.catalog.reading.well_rows import read_crystals, read_tiles
from mcn.catalog.schema import OK
from mcn.catalog.selection import Selection
from mcn.catalog.storage import CatalogQueryError
from mcn.catalog.wells import plain_well

if TYPE_CHECKING:
    from mcn.catalog.store import Catalog

Floats = NDArray[np.float64]

_EUHEDRAL: Final = ("euhedral_to_subhedral", "euhedral", "subhedral")
_FACETS: Final = (*_EUHEDRAL, "anhedral")
_IS_EUHEDRAL: Final = np.array([1.0] * len(_EUHEDRAL) + [0.0, np.nan])
"""By the number of the facet; the last one is for definitions of other class lists."""

_SIZES: Final = ("width", "height", "data_bar_y")
_TEXTS: Final = ("tile_id", "well", "segmenter", "classifier", "scanned_at", "status")
_AREA: Final = "crystal_area_fraction"


@dataclass(frozen=True, eq=False)
class WellTiles:
    """The tiles of a well that were read, in order of depth and `tile_id`.

    The same catalogue always gives the same order, and therefore the same resamples of tiles.

    Parameters
    ----------
    catalog : Catalog
    snapshot : Snapshot
    well : str
    models : ModelPair
        In full.
    rows : pa.Table
        The tiles.
    failed : (F,) float array
        Depths of the tiles that could not be read, in metres.
    corrected : bool
        Crystals as persons corrected them.
    """

    catalog: Catalog
    snapshot: Snapshot
    well: str
    models: ModelPair
    rows: pa.Table
    failed: Floats
    corrected: bool

    @cached_property
    def depths(self) -> Floats:
        """Depth of each tile in metres, (T,)."""
        return _numbers(self.rows["depth_m"])

    def columns(self) -> dict[str, Floats]:
        """The columns of numbers, (T,), null as NaN; `height` is that of the analysed part.

        The area of crystals follows corrections; the pores stay as the scan measured them.
        """
        names = [name for name in self.rows.column_names if name not in ("data_bar_y", *_TEXTS)]
        columns = {name: _numbers(self.rows[name]) for name in names}
        columns["height"] = _numbers(pc.coalesce(self.rows["data_bar_y"], self.rows["height"]))
        if self.corrected and _AREA in columns:
            share = self._changed_area() / (columns["width"] * columns["height"])
            columns[_AREA] = np.clip(columns[_AREA] + share, 0.0, 1.0)
        return columns

    def crystals(self, first: int, last: int, names: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Columns of the crystals of some tiles, (N,), by tile; null is NaN.

        Parameters
        ----------
        first, last : int
            The tiles from the first up to the last, which is not included.
        names : sequence of str
            Columns of `crystals`, without `shape` and `facet`.

        Returns
        -------
        dict of str to array
            Also `tile`, the index of the tile among those, `shape`, the number of the shape, and
            `is_euhedral`, which is 1, 0 or NaN.
        """
        rows, tile = self._rows_of(first, last, (*names, "shape", "facet"), self.corrected)
        shapes = pa.array(self.catalog.shapes, pa.string())
        facets = pc.index_in(rows["facet"], value_set=pa.array(_FACETS, pa.string()))
        return {
            **{name: _values(rows[name]) for name in names},
            "tile": tile,
            "shape": pc.index_in(rows["shape"], value_set=shapes).to_numpy(),
            "is_euhedral": _IS_EUHEDRAL[pc.fill_null(facets, len(_FACETS)).to_numpy()],
        }

    def _rows_of(
        self, first: int, last: int, names: Sequence[str], corrected: bool
    ) -> tuple[pa.Table, NDArray[np.int64]]:
        """Rows of crystals by tile, and the index of each one's tile."""
        tiles = self.rows.slice(first, last - first)
        depth = float(self.depths[first]), float(self.depths[last - 1])
        columns = ("tile_id", *names)
        if corrected:
            selection = Selection(
                [self.well],
                depth,
                (),
                self.models.segmenter,
                self.models.classifier,
                columns=columns,
                corrected=True,
            )
            rows = pa.concat_tables(iter_batches(self.catalog, selection, None, self.snapshot))
        else:
            rows = read_crystals(self.catalog, self.snapshot, self.well, tiles, columns, depth)
        # Other tiles may lie at the same depths.
        index = pc.index_in(rows["tile_id"], value_set=tiles["tile_id"].combine_chunks())
        rows, index = rows.filter(pc.is_valid(index)), index.drop_null()
        tile = index.to_numpy().astype(np.int64)
        if (np.diff(tile) < 0).any():
            order = np.argsort(tile, kind="stable")
            rows, tile = rows.take(pa.array(order)), tile[order]
        return rows, tile

    def _changed_area(self) -> Floats:
        """By how many pixels corrections have changed the area of each tile's crystals."""
        corrections = read_corrections(self.catalog, [self.well])
        ids = {*corrections.changed["tile_id"].to_pylist()}
        ids |= {*corrections.added["tile_id"].to_pylist()}
        touched = np.flatnonzero(
            pc.is_in(self.rows["tile_id"], pa.array(sorted(ids), pa.string())).to_numpy()
        )
        change = np.zeros(self.rows.num_rows)
        if len(touched):
            first, last = int(touched[0]), int(touched[-1]) + 1
            for sign, corrected in ((1.0, True), (-1.0, False)):
                rows, tile = self._rows_of(first, last, ("area_px",), corrected)
                areas = sign * _numbers(rows["area_px"])
                change[first:last] += np.bincount(tile, areas, last - first)
        return change


def read_well_tiles(
    catalog: Catalog,
    well: str,
    segmenter: str | None = None,
    classifier: str | None = None,
    depth: Depths | None = None,
    columns: Sequence[str] = (),
    *,
    corrected: bool = False,
) -> WellTiles:
    """The tiles of a well that were read, and where others failed.

    Parameters
    ----------
    catalog : Catalog
    well : str
    segmenter, classifier, corrected
        As in `mcn.catalog.selection.Selection`.
    depth : (float or None, float or None), optional
        Only tiles from the first to the second depth in metres, both included.
    columns : sequence of str
        Columns of `tiles` beside their depths and sizes in pixels.

    Raises
    ------
    CatalogQueryError
        For an unknown well or model, an impossible depth range, and a well without a tile that
        could be read.
    """
    well, depth = plain_well(well), check_depth(depth)
    snapshot = catalog.snapshot()
    known_wells(catalog, snapshot.tiles, [well])
    models = find_models(catalog, snapshot.tiles, [well], segmenter, classifier)
    needed = (*columns, *_SIZES, "status")
    tiles = read_tiles(catalog, snapshot, well, models, needed, depth)
    is_ok = pc.equal(tiles["status"], OK)
    failed = _numbers(tiles.filter(pc.invert(is_ok))["depth_m"])
    rows = tiles.filter(is_ok).sort_by([("depth_m", "ascending"), ("tile_id", "ascending")])
    if not rows.num_rows:
        by = "" if models == LATEST else f" by {models}"
        if depth is not None and not tiles.num_rows:
            span = pc.min_max(read_tiles(catalog, snapshot, well, models, (), None)["depth_m"])
            if span["min"].is_valid:
                raise CatalogQueryError(
                    f"{catalog.uri}: well {well!r} has no tile{by} at these depths; it has tiles "
                    f"from {span['min'].as_py():g} to {span['max'].as_py():g} m"
                )
        at = "" if depth is None else " at these depths"
        raise CatalogQueryError(
            f"{catalog.uri}: no tile of well {well!r} could be read{by}{at}; see why with "
            '`mcn query CATALOG --sql "SELECT uri, depth_m, error FROM tiles"`'
        )
    return WellTiles(catalog, snapshot, well, models, rows, failed, corrected)


def _values(column: pa.ChunkedArray) -> NDArray[Any]:
    kind = column.type
    return _numbers(column) if pa.types.is_floating(kind) else np.asarray(column.to_numpy())


def _numbers(column: pa.ChunkedArray) -> Floats:
    return np.asarray(column.to_numpy(), np.float64)
