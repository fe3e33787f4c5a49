"""The catalogue reader: a separate deployment, so that queries do not wait for models."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mcn.catalog.active_files import Depths, files
from mcn.catalog.corrected.rows import read_corrections
from mcn.catalog.corrected.views import first_crystals
from mcn.catalog.depth_log.las import write_las
from mcn.catalog.depth_log.table import depth_log
from mcn.catalog.depth_log.zones import find_zones
from mcn.catalog.formats import row_objects
from mcn.catalog.query import find_models, open_views, select_crystals
from mcn.catalog.reading.well_list import list_wells
from mcn.catalog.schema import TILES
from mcn.catalog.storage import CatalogQueryError
from mcn.catalog.store import Catalog
from mcn.catalog.wells import plain_well
from mcn.catalog.wells_table.places import formation_depths
from mcn.catalog.wells_table.table import read_wells, well_header
from mcn.errors import unknown_name
from mcn.micrograph import Limits
from serve.deployments.corrections import CorrectionWriter
from serve.deployments.crystal_answers import (
    encode_crystals,
    selection_of,
    sort_crystals,
    table_bytes,
)
from serve.deployments.drawing import crops_of, label_picture, overlay_picture, png, surroundings
from serve.deployments.iiif import FORMATS, read_view
from serve.deployments.messages import CSV, JSON, PNG, Content, CrystalRequest, LogRequest
from serve.deployments.open_catalog import NotFoundError, in_thread
from serve.deployments.texture_reader import TextureReader
from serve.deployments.tile_pictures import TilePictures

_WELLS = (
    "well",
    "tiles",
    "tiles_failed",
    "crystals",
    "depth_min_m",
    "depth_max_m",
    "last_scan",
)
_MOST_ALIKE = 2000
"""Crystals of a tile that are compared with one of them."""

_TILES = """
    SELECT * FROM tiles
    WHERE well = $well AND ($status IS NULL OR status = $status)
        AND ($low IS NULL OR depth_m >= $low) AND ($high IS NULL OR depth_m <= $high)
        AND ($depth IS NULL OR depth_m > $depth OR (depth_m = $depth AND tile_id > $id))
    ORDER BY depth_m, tile_id LIMIT $limit
"""


class CatalogReader(CorrectionWriter, TextureReader):
    """Answers questions about the catalogue, and writes corrections.

    Parameters
    ----------
    uri : str or None
        The catalogue; None if there is none.
    refresh_s : float
        Largest age of the snapshot that questions are answered from, seconds.
    limits : Limits
        Largest size of a tile's picture.
    """

    def __init__(self, uri: str | None, refresh_s: float, limits: Limits) -> None:
        super().__init__(uri, refresh_s)
        self._pictures = TilePictures(self.tile_row, limits)

    @in_thread
    def wells(self) -> pa.Table:
        """One row per well: its tiles, crystals and depths."""
        catalog, snapshot = self.open()
        return _well_rows(list_wells(catalog, snapshot.tiles))

    @in_thread
    def well(self, well: str) -> dict[str, Any]:
        """A well's row of `wells`, and the number of its corrections."""
        self.check_well(well)
        catalog, snapshot = self.open()
        listed = _well_rows(list_wells(catalog, snapshot.tiles))
        (row,) = row_objects(listed.filter(pc.equal(listed["well"], plain_well(well))))
        known = row_objects(_known(catalog, well))
        corrections = read_corrections(catalog, [well])
        facts = known[0] if known else {"tops": []}
        return {**facts, **row, "corrections": corrections.rows.num_rows}

    @in_thread
    def tiles(
        self,
        well: str,
        depth: Depths | None,
        status: str | None,
        models: tuple[str | None, str | None],
        columns: tuple[str, ...],
        limit: int,
        after: tuple[float, str] | None,
    ) -> tuple[list[dict[str, Any]], tuple[float, str] | None]:
        """One page of a well's tiles in order of depth, and the last row's depth and id."""
        self.check_well(well)
        if unknown := [name for name in columns if name not in TILES.names]:
            raise CatalogQueryError(unknown_name("column", unknown[0], TILES.names))
        catalog, snapshot = self.open()
        chosen = find_models(catalog, snapshot.tiles, [well], *models)
        low, high = depth or (None, None)
        last_depth, last_id = after or (None, None)
        with open_views(catalog, files(snapshot.tiles, [well]), models=chosen) as connection:
            table = connection.sql(
                _TILES,
                params={
                    "well": plain_well(well),
                    "status": status,
                    "low": low,
                    "high": high,
                    "depth": last_depth,
                    "id": last_id,
                    "limit": limit,
                },
            ).to_arrow_table()
        last = None
        if table.num_rows == limit:
            end = table.slice(limit - 1).to_pylist()[0]
            last = end["depth_m"], end["tile_id"]
        if columns:
            table = table.select(list(dict.fromkeys(("tile_id", *columns))))
        return row_objects(table), last

    @in_thread
    def crystals(
        self,
        well: str,
        depth: Depths | None,
        request: CrystalRequest,
        limit: int,
        after: tuple[float, str] | None,
    ) -> Content:
        """One page of a well's crystals in order of depth, or the first in another order.

        Parameters
        ----------
        well : str
        depth : Depths or None
        request : CrystalRequest
        limit : int
            Rows of a page.
        after : tuple of float and str, optional
            `Content.last` of the page before.
        """
        self.check_well(well)
        catalog, snapshot = self.open()
        selection = selection_of(request, well, depth=depth, after=after)
        last = None
        if request.sort:
            table = first_crystals(
                catalog,
                selection,
                request.sort.removeprefix("-"),
                limit,
                descending=request.sort.startswith("-"),
                snapshot=snapshot,
            )
        else:
            table = select_crystals(catalog, selection, limit, snapshot)
            if table.num_rows == limit:
                end = table.slice(limit - 1)
                last = end["depth_m"][0].as_py(), end["crystal_id"][0].as_py()
        return Content(encode_crystals(table, request), request.media_type, last)

    @in_thread
    def log(self, well: str, request: LogRequest, media_type: str) -> Content:
        """A well's depth log or its zones, as `JSON`, `CSV`, `LAS` (not of zones) or `PNG`."""
        self.check_well(well)
        catalog = self.open()[0]
        depth = request.depth
        if request.formation is not None:
            depth = formation_depths(catalog, well, request.formation, depth)
        table = depth_log(
            catalog,
            well,
            request.step_m,
            request.segmenter,
            request.classifier,
            depth=depth,
            seed=request.seed,
            corrected=request.corrected,
        )
        zones = find_zones(table, request.zone_count, request.seed) if request.zones else None
        if media_type in (JSON, CSV):
            return Content(table_bytes(table if zones is None else zones, media_type), media_type)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "log")
            if media_type == PNG:
                from mcn.catalog.depth_log.plot import depth_log_figure
                from mcn.plots import write_figure

                write_figure(depth_log_figure(table, well, zones), path, "png")
            else:
                write_las(table, well, path, well_header(catalog, well))
            return Content(path.read_bytes(), media_type)

    @in_thread
    def tile(
        self, tile_id: str, well: str | None, models: tuple[str | None, str | None]
    ) -> list[dict[str, Any]]:
        """The rows of a tile, one per pair of models, latest first."""
        return row_objects(self.find_tile(tile_id, well, models))

    @in_thread
    def tile_crystals(
        self, tile_id: str, well: str | None, request: CrystalRequest
    ) -> tuple[dict[str, Any], Content]:
        """A tile's row, and all its crystals that a request means."""
        row, crystals = self._crystals_of_tile(tile_id, well, request)
        crystals = sort_crystals(crystals, request.sort)
        (tile,) = row_objects(row)
        return tile, Content(encode_crystals(crystals, request), request.media_type)

    @in_thread
    def labels(
        self, tile_id: str, well: str | None, request: CrystalRequest, media_type: str
    ) -> Content:
        """A tile's label picture, `PNG` or `TIFF`; see `label_picture`."""
        size, crystals = self._sized_crystals(tile_id, well, request)
        return Content(label_picture(crystals, *size, media_type), media_type)

    @in_thread
    def overlay(
        self, tile_id: str, well: str | None, request: CrystalRequest, width: int | None
    ) -> Content:
        """The outlines of a tile's crystals on nothing; see `overlay_picture`."""
        size, crystals = self._sized_crystals(tile_id, well, request)
        drawn_width = min(width or size[1], size[1])
        return Content(overlay_picture(crystals, *size, drawn_width), PNG)

    @in_thread
    def image(self, tile_id: str, well: str | None) -> Content:
        """A tile's picture as PNG."""
        import imagecodecs

        pyramid = self._pictures.get(tile_id, well)
        return Content(bytes(imagecodecs.png_encode(pyramid.pixels)), PNG, version=pyramid.version)

    @in_thread
    def picture_size(self, tile_id: str, well: str | None) -> tuple[int, int, str]:
        """Width, height and version of a tile's picture."""
        pyramid = self._pictures.get(tile_id, well)
        height, width = pyramid.pixels.shape
        return width, height, pyramid.version

    @in_thread
    def picture_part(
        self, tile_id: str, well: str | None, address: tuple[str, str, str, str, str]
    ) -> Content:
        """The part of a tile's picture at an address of IIIF; see `serve.deployments.iiif`."""
        pyramid = self._pictures.get(tile_id, well)
        height, width = pyramid.pixels.shape
        view = read_view(address, width, height)
        data = self._pictures.render(pyramid, view)
        return Content(data, FORMATS[view.format], version=pyramid.version)

    @in_thread
    def crystal_picture(
        self, crystal_id: str, well: str | None, side: int, margin: float, masked: bool
    ) -> Content:
        """A crystal in its surroundings, or with `masked` as the classifier sees it, PNG."""
        crystal = self.crystal_row(crystal_id, well)
        if masked:
            from PIL import Image

            (crop,) = self._crops(crystal_id, well, crystal)
            return Content(png(Image.fromarray(crop)), PNG)
        (row,) = crystal.to_pylist()
        pyramid = self._pictures.get(crystal_id[:32], well)
        return Content(surroundings(pyramid.pixels, row, side, margin), PNG)

    @in_thread
    def crystal_crop(self, crystal_id: str, well: str | None) -> NDArray[np.uint8]:
        """The crop (64, 64) of a crystal that the classifier sees."""
        crop: NDArray[np.uint8] = self._crops(crystal_id, well, self.crystal_row(crystal_id, well))[
            0
        ]
        return crop

    @in_thread
    def crops_like(
        self, crystal_id: str, well: str | None, request: CrystalRequest
    ) -> tuple[list[dict[str, Any]], NDArray[np.uint8]]:
        """The crystals of a crystal's tile that are nearest to its size, itself first.

        Returns
        -------
        rows : list of dict
            Without masks; at most `_MOST_ALIKE`.
        crops : (N, 64, 64) uint8 array
        """
        _, crystals = self._crystals_of_tile(crystal_id[:32], well, request)
        (own,) = pc.index_in(
            pa.array([crystal_id]), value_set=crystals["crystal_id"].combine_chunks()
        ).to_pylist()
        if own is None:
            raise NotFoundError(f"no crystal {crystal_id!r} any more; it was deleted")
        sizes = np.log(crystals["equivalent_diameter_px"].to_numpy())
        distance = np.abs(sizes - sizes[own])
        distance[own] = -1
        crystals = crystals.take(np.argsort(distance, kind="stable")[:_MOST_ALIKE])
        return (
            row_objects(crystals.drop_columns(["mask_rle"])),
            self._crops(crystal_id, well, crystals),
        )

    @in_thread
    def age_s(self) -> float | None:
        """Seconds since the last commit; None without a catalogue, or if it does not say."""
        try:
            catalog, _ = self.open()
        except NotFoundError:
            return None
        committed = catalog.live.committed_at()
        return None if committed is None else max(0.0, datetime.now(UTC).timestamp() - committed)

    def _crops(self, crystal_id: str, well: str | None, crystals: pa.Table) -> NDArray[np.uint8]:
        """Crops (N, 64, 64) of crystals of one tile."""
        from mcn.crystals import crystal_masks

        pixels = self._pictures.get(crystal_id[:32], well).pixels
        return crops_of(pixels, crystal_masks(crystals))

    def _crystals_of_tile(
        self, tile_id: str, well: str | None, request: CrystalRequest
    ) -> tuple[pa.Table, pa.Table]:
        models = request.segmenter, request.classifier
        row = self.find_tile(tile_id, well, models).slice(0, 1)
        (tile,) = row.select(["well", "depth_m"]).to_pylist()
        catalog, snapshot = self.open()
        depth = tile["depth_m"], tile["depth_m"]
        selection = selection_of(request, tile["well"], depth=depth, tile_id=tile_id)
        return row, select_crystals(catalog, selection, snapshot=snapshot)

    def _sized_crystals(
        self, tile_id: str, well: str | None, request: CrystalRequest
    ) -> tuple[tuple[int, int], pa.Table]:
        row, crystals = self._crystals_of_tile(tile_id, well, request)
        (tile,) = row.select(["height", "width", "error"]).to_pylist()
        if tile["height"] is None:
            raise NotFoundError(f"tile {tile_id} could not be read ({tile['error']})")
        return (tile["height"], tile["width"]), sort_crystals(crystals, "")


def _well_rows(listed: pa.Table) -> pa.Table:
    return listed.select(_WELLS).rename_columns([*_WELLS[:-1], "scanned_at"])


def _known(catalog: Catalog, well: str) -> pa.Table:
    """What was imported about a well: one row, or none."""
    wells = read_wells(catalog)
    return wells.filter(pc.equal(wells["well"], plain_well(well))).drop_columns(["imported_at"])
