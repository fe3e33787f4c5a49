"""Writing corrections, and reading who changed what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mcn.catalog.corrected.rows import count_files, merge_files, read_corrections
from mcn.catalog.correcting.changes import Change, Changed, CorrectionError, correct, undo
from mcn.catalog.export import outline_geometries
from mcn.catalog.formats import row_objects
from mcn.catalog.learning.evaluation import evaluate_corrections
from mcn.catalog.query import select_crystals
from mcn.catalog.selection import Selection
from mcn.mask import Mask
from serve.deployments.drawing import crops_of, masks_of
from serve.deployments.messages import JSON, ChangeRequest, Content
from serve.deployments.open_catalog import NotFoundError, OpenCatalog, in_thread
from serve.deployments.tile_pictures import TilePictures

_MANY_FILES: Final = 64
"""Number of a well's files of corrections that are merged into one."""

_SHOWN: Final = (
    "correction_id",
    "change_id",
    "operation",
    "action",
    "undoes",
    "crystal_id",
    "tile_id",
    "well",
    "depth_m",
    "corrected_by",
    "corrected_at",
    "note",
    "shape",
    "facet",
    "was_shape",
    "was_confidence",
    "segmenter",
    "classifier",
    "mask_rle",
)


class CorrectionWriter(OpenCatalog):
    """A catalogue whose crystals can be corrected; parameters as for `OpenCatalog`."""

    _pictures: TilePictures

    @in_thread
    def correct(
        self, request: ChangeRequest, by: str, named: Mapping[str, Sequence[Any]]
    ) -> Content:
        """Commit a change; `named` has a classifier's results for its masks, if there are any."""
        tile = self.tile_row(request.tile_id, request.well)
        change = Change(
            request.operation,  # type: ignore[arg-type]
            request.tile_id,
            tile["well"],
            request.crystal_ids,
            request.shape,
            _masks(request, tile),
            request.note,
            request.seen,
            named,
        )
        catalog, _ = self.open()
        changed = correct(catalog, change, by, request.segmenter, request.classifier)
        self._tidy(tile["well"])
        return Content(_change_body(changed), JSON)

    @in_thread
    def undo(self, change_id: str, by: str, well: str | None) -> Content:
        """Revoke a change."""
        catalog, _ = self.open()
        return Content(_change_body(undo(catalog, change_id, by, well)), JSON)

    @in_thread
    def mask_crops(self, request: ChangeRequest) -> NDArray[np.uint8]:
        """Crops (N, 64, 64) of a change's masks, for the classifier."""
        tile = self.tile_row(request.tile_id, request.well)
        masks = _masks(request, tile)
        if any(not mask.pixels.any() for mask in masks):
            raise CorrectionError("an outline has no pixels; draw it around the crystal")
        return crops_of(self._pictures.get(request.tile_id, request.well).pixels, masks)

    @in_thread
    def corrections(
        self,
        wells: Sequence[str],
        matching: Mapping[str, str],
        limit: int,
        start: int,
    ) -> Content:
        """Corrections, the newest first, as a JSON list of rows.

        Parameters
        ----------
        wells : sequence of str
            All wells if empty.
        matching : mapping of str to str
            Values of columns.
        limit, start : int
            Rows of the page, and its first row.
        """
        for well in wells:
            self.check_well(well)
        catalog, _ = self.open()
        corrections = read_corrections(catalog, wells)
        rows = corrections.rows.append_column("in_effect", corrections.in_effect)
        for name, value in matching.items():
            rows = rows.filter(pc.equal(rows[name], value))
        page = rows.take(pa.array(range(rows.num_rows - 1, -1, -1), pa.int64())).slice(start, limit)
        return Content(orjson.dumps(_correction_rows(page)), JSON)

    @in_thread
    def evaluation(self, wells: Sequence[str]) -> Content:
        """How good the models are by the corrections; see `evaluate_corrections`."""
        for well in wells:
            self.check_well(well)
        catalog, snapshot = self.open()
        return Content(orjson.dumps(evaluate_corrections(catalog, wells, snapshot)), JSON)

    @in_thread
    def crystal(self, crystal_id: str, well: str | None) -> Content:
        """A crystal as it is now, as its models found it, and its corrections, as JSON."""
        now = self.crystal_row(crystal_id, well)
        found = self.crystal_row(crystal_id, well, corrected=False, missing_ok=True)
        catalog, _ = self.open()
        corrections = read_corrections(catalog, now["well"].to_pylist())
        history = corrections.rows.append_column("in_effect", corrections.in_effect)
        history = history.filter(pc.equal(history["crystal_id"], crystal_id))
        body = {
            "crystal": _outlined(now)[0],
            "model": _outlined(found)[0] if found.num_rows else None,
            "history": _correction_rows(history),
        }
        return Content(orjson.dumps(body), JSON)

    def tile_row(self, tile_id: str, well: str | None) -> dict[str, Any]:
        """The latest row of a tile."""
        row: dict[str, Any] = self.find_tile(tile_id, well).slice(0, 1).to_pylist()[0]
        return row

    def crystal_row(
        self, crystal_id: str, well: str | None, *, corrected: bool = True, missing_ok: bool = False
    ) -> pa.Table:
        """The row of a crystal as a table.

        Raises
        ------
        NotFoundError
            If there is no such crystal, unless `missing_ok`.
        """
        tile = self.tile_row(crystal_id[:32], well)
        catalog, snapshot = self.open()
        depth = tile["depth_m"], tile["depth_m"]
        crystals = select_crystals(
            catalog,
            Selection([tile["well"]], depth, tile_id=tile["tile_id"], corrected=corrected),
            snapshot=snapshot,
        )
        row = crystals.filter(pc.equal(crystals["crystal_id"], crystal_id))
        if not row.num_rows and not missing_ok:
            raise NotFoundError(
                f"no crystal {crystal_id!r} any more; it was deleted, or its tile scanned again"
            )
        return row

    def _tidy(self, well: str) -> None:
        """Merge a well's files of corrections when there are many."""
        catalog, _ = self.open()
        if count_files(catalog.uri, well) > _MANY_FILES:
            merge_files(catalog.uri, catalog.shapes, well)


def _masks(request: ChangeRequest, tile: Mapping[str, Any]) -> list[Mask]:
    if tile["height"] is None:
        raise CorrectionError(f"tile {request.tile_id} has failed, so it has no crystals")
    try:
        return masks_of(request.masks, tile["height"], tile["width"])
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise CorrectionError(f"masks: an outline is not valid ({error}); draw it again") from None


def _change_body(changed: Changed) -> bytes:
    return orjson.dumps(
        {
            "change_id": changed.change_id,
            "corrections": _correction_rows(changed.rows),
            "crystals": _outlined(changed.crystals),
            "removed": changed.removed,
            "superseded": _correction_rows(changed.superseded),
        }
    )


def _correction_rows(rows: pa.Table) -> list[dict[str, Any]]:
    names = [*_SHOWN, *(name for name in ("in_effect",) if name in rows.column_names)]
    return row_objects(rows.select(names))


def _outlined(crystals: pa.Table) -> list[dict[str, Any]]:
    rows = row_objects(crystals)
    outlines = outline_geometries([row.pop("mask_rle") for row in rows])
    return [{**row, "mask_polygons": shape} for row, shape in zip(rows, outlines, strict=True)]
