"""Label sheets: crystals of a catalogue for a person to correct and for training to read.

To train a classifier for other rocks: scan, export the crystals of lowest confidence, correct the
column `shape` of `labels.csv`, train on the folder, and scan again.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mcn.catalog.active_files import Depths
from mcn.catalog.export import tiles_of
from mcn.catalog.query import iter_batches
from mcn.catalog.selection import Selection
from mcn.catalog.storage import CatalogError
from mcn.catalog.wells_table.places import Box
from mcn.errors import McnError
from mcn.io.objects import filesystem_of
from mcn.mask import decode_rle
from mcn.sources.listing import etag_of

if TYPE_CHECKING:
    from mcn.catalog.store import Catalog, Snapshot

SHEET: Final = "labels.csv"

_COLUMNS: Final = (
    "file",
    "shape",
    "facet",
    "confidence",
    "tile_id",
    "well",
    "depth_m",
    "crystal_id",
    "bbox_x",
    "bbox_y",
    "bbox_w",
    "bbox_h",
    "segmenter",
    "classifier",
    "uri",
)
_KEPT: Final = _COLUMNS[1:-1]
_MASK: Final = "mask_rle"
_SAFE: Final = re.compile(r"[\w-]+")


class NothingToLabelError(CatalogError):
    """A selection has no crystals, or none that a person named."""


@dataclass(frozen=True)
class LabelSheet:
    """Result of `export_labels`.

    Parameters
    ----------
    sheet : Path
        The CSV file.
    crystals : int
        Number of its rows.
    skipped : tuple of str
        Messages about tiles that were left out.
    """

    sheet: Path
    crystals: int
    skipped: tuple[str, ...]


def export_labels(
    catalog: Catalog,
    out: str | os.PathLike[str],
    wells: Sequence[str] = (),
    depth: Depths | None = None,
    limit: int = 500,
    segmenter: str | None = None,
    classifier: str | None = None,
    formations: Sequence[str] = (),
    box: Box | None = None,
    *,
    corrected: bool = False,
    corrected_only: bool = False,
) -> LabelSheet:
    """Write crops and a sheet of labels, the crystals of lowest confidence first.

    Parameters
    ----------
    catalog : Catalog
        Its tiles must still be at their addresses, as they are read again.
    out : str or path
        Folder to write `crops/` and `labels.csv` to. The sheet is UTF-8 with a byte-order
        mark, for spreadsheets, and appears only when it is complete.
    wells, depth, segmenter, classifier, formations, box, corrected
        As in `mcn.catalog.selection.Selection`.
    limit : int
        Maximum number of crystals.
    corrected_only : bool
        Only crystals whose shape a person named or confirmed, with the corrected outlines.

    Returns
    -------
    LabelSheet

    Raises
    ------
    NothingToLabelError
        If there is no crystal, or none that a person named.
    CatalogError
        If `out` already contains a sheet, which may have been corrected, or if no tile can be
        read again.
    """
    folder = Path(out)
    if (folder / SHEET).exists():
        raise CatalogError(
            f"{folder / SHEET}: already exists and may have been corrected by hand; name another "
            "folder"
        )
    selection = Selection(
        wells,
        depth,
        segmenter=segmenter,
        classifier=classifier,
        formations=formations,
        box=box,
        # A shape that a person named has the confidence 1; others would teach what models guessed.
        min_confidence=1.0 if corrected_only else None,
        corrected=corrected or corrected_only,
        is_corrected=True if corrected_only else None,
    )
    snapshot = catalog.snapshot()
    rows = _least_certain(catalog, selection, limit, snapshot)
    if not rows.num_rows:
        none = "crystals that a person named" if corrected_only else "crystals to label"
        raise NothingToLabelError(f"{catalog.uri}: has no {none}; choose other wells or depths")
    tiles = tiles_of(catalog, selection, snapshot, ("tile_id", "uri", "etag"))
    tile_of = {tile["tile_id"]: tile for tile in tiles.to_pylist()}
    crop_files, skipped = _write_crops(folder, rows, tile_of)
    if not crop_files:
        raise CatalogError(
            f"no tile of {catalog.uri} could be read again; first error: {skipped[0]}"
        )
    _write_sheet(folder, rows, crop_files, tile_of)
    return LabelSheet(folder / SHEET, len(crop_files), tuple(skipped))


def _write_crops(
    folder: Path, rows: pa.Table, tile_of: Mapping[str, dict[str, Any]]
) -> tuple[dict[str, str], list[str]]:
    """Write crops; return the file of each crystal, and why tiles were skipped."""
    from PIL import Image

    (folder / "crops").mkdir(parents=True, exist_ok=True)
    crop_files: dict[str, str] = {}
    skipped = []
    for tile_id in pc.unique(rows["tile_id"]).to_pylist():
        tile_crystals = rows.filter(pc.field("tile_id") == tile_id)
        try:
            for crystal_id, crop in tile_crops(tile_crystals, **tile_of[tile_id]):
                file = f"crops/{crystal_id}.png"
                Image.fromarray(crop).save(folder / file)
                crop_files[crystal_id] = file
        except McnError as error:
            skipped.append(str(error))
    return crop_files, skipped


def _write_sheet(
    folder: Path,
    rows: pa.Table,
    crop_files: Mapping[str, str],
    tile_of: Mapping[str, dict[str, Any]],
) -> None:
    """Write the sheet of labels under its final name only when it is complete."""
    unfinished = folder / f".{SHEET}.part"
    with unfinished.open("w", newline="", encoding="utf-8-sig") as text:
        sheet = csv.DictWriter(text, _COLUMNS, extrasaction="ignore")
        sheet.writeheader()
        for row in rows.to_pylist():
            if row["crystal_id"] in crop_files:
                origin = {
                    "file": crop_files[row["crystal_id"]],
                    "uri": tile_of[row["tile_id"]]["uri"],
                }
                sheet.writerow({**row, **origin, "confidence": f"{row['confidence']:.3f}"})
    unfinished.replace(folder / SHEET)


def _least_certain(
    catalog: Catalog, selection: Selection, limit: int, snapshot: Snapshot
) -> pa.Table:
    """The rows of lowest confidence, sorted; only one more batch is in memory at a time."""
    least: pa.Table | None = None
    # Masks are most of the bytes, and few are needed.
    kept = replace(selection, columns=_KEPT)
    for piece in iter_batches(catalog, kept, snapshot=snapshot):
        both = piece if least is None else pa.concat_tables([least, piece])
        order = [("confidence", "ascending"), ("crystal_id", "ascending")]
        least = both.sort_by(order).slice(0, limit)
    assert least is not None, "there is always a first batch"
    return with_masks(catalog, selection, least, snapshot)


def with_masks(
    catalog: Catalog, selection: Selection, rows: pa.Table, snapshot: Snapshot
) -> pa.Table:
    """Rows of few crystals of a selection with their masks, read tile by tile."""
    masks: dict[str, str] = {}
    where = replace(selection, formations=(), box=None, columns=["crystal_id", _MASK])
    for group in rows.group_by(["well", "depth_m"]).aggregate([]).to_pylist():
        depth = group["depth_m"], group["depth_m"]
        for piece in iter_batches(
            catalog, replace(where, wells=[group["well"]], depth=depth), snapshot=snapshot
        ):
            names, codes = (piece[name].to_pylist() for name in ("crystal_id", _MASK))
            masks |= dict(zip(names, codes, strict=True))
    codes = [masks[name] for name in rows["crystal_id"].to_pylist()]
    return rows.append_column(_MASK, pa.array(codes, pa.string()))


def read_tile(uri: str, etag: str | None) -> NDArray[np.uint8]:
    """Pixels (H, W) of a scanned tile.

    Raises
    ------
    CatalogError
        If it cannot be read, or has changed since it was scanned.
    """
    from mcn.micrograph import read_micrograph

    fs, path = filesystem_of(uri)
    try:
        now = etag_of(fs.info(path))
    except OSError as error:
        raise CatalogError(f"{uri}: cannot be read again ({error})") from error
    if etag and now != etag:
        raise CatalogError(f"{uri}: has changed since it was scanned; scan it again")
    # The pixel size does not matter here; a given one avoids errors about unknown sizes.
    return read_micrograph(uri, pixel_size_um=1.0).pixels


def tile_crops(
    rows: pa.Table, tile_id: str, uri: str, etag: str | None
) -> Iterator[tuple[str, Any]]:
    """Crystal and crop (64, 64) of one tile's rows, cut as in the scan."""
    from mcn.crops import cut_crops

    pixels = read_tile(uri, etag)
    masks = [decode_rle(rle) for rle in _rles(rows)]
    for crystal_id, crop in zip(
        rows["crystal_id"].to_pylist(), cut_crops(pixels, masks), strict=True
    ):
        if not _SAFE.fullmatch(crystal_id):
            raise CatalogError(f"{uri}: crystal {crystal_id!r} cannot name a file")
        yield crystal_id, crop


def _rles(rows: pa.Table) -> Iterator[Any]:
    from mcn.catalog.formats import row_objects

    return (row["mask_rle"] for row in row_objects(rows))
