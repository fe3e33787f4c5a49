"""Crystals of a catalogue laid out for a person to correct, and for training to read back.

The loop by which a classifier is taught other rocks: scan, export the crystals that it was least
sure of, correct the column `shape` of `labels.csv`, train on the folder, scan again.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from mcn.catalog.active_files import Depths
from mcn.catalog.export import tiles_of
from mcn.catalog.query import Selection, iter_batches
from mcn.catalog.storage import CatalogError
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
_KEPT: Final = (*_COLUMNS[1:-1], "mask_rle")
_SAFE: Final = re.compile(r"[\w-]+")


@dataclass(frozen=True)
class LabelSheet:
    """What was written.

    Parameters
    ----------
    sheet : Path
        The CSV file.
    crystals : int
        Its rows.
    skipped : tuple of str
        Tiles whose crystals are not in it, and why.
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
) -> LabelSheet:
    """Write crops and a sheet of labels, the crystals of least confidence first.

    Parameters
    ----------
    catalog : Catalog
        Its tiles have to be where they were scanned: they are read again.
    out : str or path
        Folder to write `crops/` and `labels.csv` to. The sheet is UTF-8 with a byte-order
        mark, for spreadsheets, and there only once it is whole.
    wells, depth, segmenter, classifier
        As in `mcn.catalog.query.Selection`.
    limit : int
        Most crystals: those of which the classifier was least sure.

    Returns
    -------
    LabelSheet

    Raises
    ------
    CatalogError
        If `out` holds a sheet already, which somebody may have corrected; there is no crystal;
        or none of the tiles can be read any more.
    """
    from PIL import Image

    folder = Path(out)
    if (folder / SHEET).exists():
        raise CatalogError(
            f"{folder / SHEET}: is there already, perhaps corrected by hand; name another folder"
        )
    selection = Selection(wells, depth, segmenter=segmenter, classifier=classifier)
    snapshot = catalog.snapshot()
    rows = _least_certain(catalog, selection, limit, snapshot)
    if not rows.num_rows:
        raise CatalogError(
            f"{catalog.uri}: no crystal there to label; choose other wells or depths"
        )
    tiles = tiles_of(catalog, selection, snapshot, ("tile_id", "uri", "etag"))
    tile_of = {tile["tile_id"]: tile for tile in tiles.to_pylist()}
    (folder / "crops").mkdir(parents=True, exist_ok=True)
    written: dict[str, str] = {}
    skipped = []
    for tile_id in pc.unique(rows["tile_id"]).to_pylist():
        tile_crystals = rows.filter(pc.field("tile_id") == tile_id)
        try:
            for crystal_id, crop in _crops(tile_crystals, **tile_of[tile_id]):
                file = f"crops/{crystal_id}.png"
                Image.fromarray(crop).save(folder / file)
                written[crystal_id] = file
        except McnError as error:
            skipped.append(str(error))
    if not written:
        raise CatalogError(f"no tile of {catalog.uri} can be read again; the first: {skipped[0]}")
    part = folder / f".{SHEET}.part"
    with part.open("w", newline="", encoding="utf-8-sig") as text:
        sheet = csv.DictWriter(text, _COLUMNS, extrasaction="ignore")
        sheet.writeheader()
        for row in rows.to_pylist():
            if row["crystal_id"] in written:
                facts = {"file": written[row["crystal_id"]], "uri": tile_of[row["tile_id"]]["uri"]}
                sheet.writerow({**row, **facts, "confidence": f"{row['confidence']:.3f}"})
    part.replace(folder / SHEET)
    return LabelSheet(folder / SHEET, len(written), tuple(skipped))


def _least_certain(
    catalog: Catalog, selection: Selection, limit: int, snapshot: Snapshot
) -> pa.Table:
    """The rows of least confidence, in its order; never more than a piece beside them in memory."""
    least: pa.Table | None = None
    for piece in iter_batches(catalog, selection, snapshot=snapshot):
        piece = piece.select(_KEPT)
        both = piece if least is None else pa.concat_tables([least, piece])
        order = [("confidence", "ascending"), ("crystal_id", "ascending")]
        least = both.sort_by(order).slice(0, limit)
    assert least is not None, "the first piece is always there"
    return least


def _crops(rows: pa.Table, tile_id: str, uri: str, etag: str | None) -> Iterator[tuple[str, Any]]:
    """Crystal and crop (64, 64) of one tile's rows, cut as its scan cut them."""
    from mcn.crops import cut_crops
    from mcn.micrograph import read_micrograph

    fs, path = filesystem_of(uri)
    try:
        now = etag_of(fs.info(path))
    except OSError as error:
        raise CatalogError(f"{uri}: cannot be read again ({error})") from error
    if etag and now != etag:
        raise CatalogError(f"{uri}: is another picture than the one that was scanned")
    # Pixel sizes do not matter here, and a given one is in the way of no picture.
    pixels = read_micrograph(uri, pixel_size_um=1.0).pixels
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
