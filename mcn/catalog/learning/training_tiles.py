"""Pictures and label images of corrected tiles, to train a segmenter on.

Judged tiles (`mcn.catalog.learning.judged_tiles`) have all their crystals, as corrected, and names
that start with `complete-`. Of other tiles only the crystals that a person named are known to be
right: their pictures have those alone, and names that start with `partly-`, so that
`mcn train segmenter --incomplete 'partly-*'` leaves the ground between them out of the losses. In
order of names a complete one comes first, which training holds out.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from mcn.catalog.correcting.label_sheet import read_tile
from mcn.catalog.export import tiles_of
from mcn.catalog.learning.judged_tiles import CorrectedTiles, read_corrected_tiles
from mcn.catalog.selection import Selection
from mcn.catalog.storage import CatalogError, explained_output
from mcn.catalog.tile_files.export_tiles import file_names
from mcn.catalog.tile_files.label_image import label_image, write_label_image
from mcn.errors import McnError
from mcn.mask import decode_rles

if TYPE_CHECKING:
    from mcn.catalog.store import Catalog

COMPLETE: Final = "complete-"
PARTLY: Final = "partly-"
"""Starts of the names of pictures in which all crystals are labelled, or not all."""

_FACTS: Final = (
    *("tile_id", "uri", "etag", "well", "depth_m", "width", "height", "pixel_size_um"),
    "segmenter",
)


@dataclass(frozen=True)
class TrainingTiles:
    """Result of `export_training_tiles`.

    Parameters
    ----------
    folder : Path
    complete, incomplete : int
        Pictures with all their crystals, and with those that a person named.
    crystals : int
        Labels in all of them.
    skipped : tuple of str
        Messages about tiles that were left out.
    """

    folder: Path
    complete: int
    incomplete: int
    crystals: int
    skipped: tuple[str, ...]


def export_training_tiles(
    catalog: Catalog, out: str | os.PathLike[str], selection: Selection = Selection()
) -> TrainingTiles:
    """Write `images/NAME.png` and `masks/NAME.tif` of the tiles that persons corrected.

    Parameters
    ----------
    catalog : Catalog
        Its tiles must still be at their addresses, as they are read again.
    out : str or path
        Folder to write to. Masks are label images of 16 bits, 0 the background.
    selection : Selection
        Wells, depths and models; a tile's corrections are those of the crystals of its latest
        segmenter, or of the one that is named.

    Raises
    ------
    CatalogError
        If `out` holds pictures already, or no tile can be read again; as
        `mcn.catalog.query.query`.
    """
    from PIL import Image

    folder = Path(out)
    if (folder / "images").exists():
        raise CatalogError(f"{folder / 'images'}: already exists; name another folder")
    snapshot = catalog.snapshot()
    read = read_corrected_tiles(catalog, selection.wells, snapshot)
    judged = {_key(row) for row in read.judged().to_pylist()}
    outlines = _outlines(read, judged)
    wells = sorted({well for well, _, _ in outlines})
    where = replace(selection, wells=wells) if wells else selection
    listed = tiles_of(catalog, where, snapshot, _FACTS)
    tile_ids = pa.array([tile_id for _, tile_id, _ in outlines], pa.string())
    corrected = listed.filter(pc.is_in(listed["tile_id"], tile_ids)).to_pylist()
    tiles = [tile for tile in corrected if _key(tile) in outlines]
    names = file_names(tiles)
    counts = {True: 0, False: 0}
    crystals, skipped = 0, []
    with explained_output(folder):
        for tile in tiles:
            is_judged = _key(tile) in judged
            name = f"{COMPLETE if is_judged else PARTLY}{names[tile['tile_id']]}"
            try:
                pixels = read_tile(tile["uri"], tile["etag"])
            except McnError as error:
                skipped.append(str(error))
                continue
            for kind in ("images", "masks"):
                (folder / kind).mkdir(parents=True, exist_ok=True)
            masks = decode_rles([json.loads(rle) for rle in outlines[_key(tile)]])
            labels = label_image(masks, *pixels.shape)
            write_label_image(labels, folder / "masks" / f"{name}.tif", tile["pixel_size_um"])
            Image.fromarray(pixels).save(folder / "images" / f"{name}.png")
            counts[is_judged] += 1
            crystals += len(masks)
    if skipped and not sum(counts.values()):
        raise CatalogError(
            f"no tile of {catalog.uri} could be read again; first error: {skipped[0]}"
        )
    return TrainingTiles(folder, counts[True], counts[False], crystals, tuple(skipped))


def _outlines(
    read: CorrectedTiles, judged: set[tuple[str, ...]]
) -> dict[tuple[str, ...], list[str]]:
    """Run-length codes of the crystals to label, by tile and segmenter; judged tiles may have none.

    Only tiles that are judged, or have a crystal that a person named, are there.
    """
    found = read.found.filter(pc.invert(read.found["is_deleted"]))
    outline = pc.coalesce(found["drawn_rle"], found["found_rle"])
    columns = ["well", "tile_id", "segmenter"]
    found = found.select([*columns, "is_named"]).append_column("rle", outline)
    added = read.added.select(columns)
    added = added.append_column("is_named", pa.repeat(pa.scalar(True), added.num_rows))
    added = added.append_column("rle", read.added["drawn_rle"])
    outlines: dict[tuple[str, ...], list[str]] = {key: [] for key in judged}
    for row in pa.concat_tables([found, added]).to_pylist():
        if row["is_named"] or _key(row) in judged:
            outlines.setdefault(_key(row), []).append(row["rle"])
    return outlines


def _key(row: dict[str, Any]) -> tuple[str, ...]:
    return row["well"], row["tile_id"], row["segmenter"]
