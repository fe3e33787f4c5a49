"""Which of the listed tiles there is work on: those these models have not seen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from mcn.catalog.schema import OK, Tile


@dataclass
class Plan:
    """The tiles to scan, as a stream that counts while it runs.

    Parameters
    ----------
    listed : iterable of RecordBatch
        Tiles of the source, of schema `mcn.source.LISTED`.
    scanned : pa.Table
        `tile_id`, `etag` and `status` of the tiles in the catalogue (`Catalog.scanned`).
    retry_failed : bool
        Take tiles that failed before once more.

    Attributes
    ----------
    to_scan, skipped : int
        Tiles so far that the stream gave, and that the catalogue has already.
    """

    listed: Iterable[pa.RecordBatch]
    scanned: pa.Table
    retry_failed: bool = False
    to_scan: int = 0
    skipped: int = 0

    def __iter__(self) -> Iterator[pa.Table]:
        """Batches of tiles to scan, each tile once, in the order of the listing.

        A tile is left out if the catalogue has it, unless the object has changed since.
        """
        settled = self.scanned
        if self.retry_failed:
            settled = settled.filter(pc.field("status") == OK)
        etags = dict(zip(settled["tile_id"].to_pylist(), settled["etag"].to_pylist(), strict=True))
        planned: set[str] = set()
        for batch in self.listed:
            _check_wells(batch)
            keep = []
            for row, (tile, etag) in enumerate(
                zip(batch["tile_id"].to_pylist(), batch["etag"].to_pylist(), strict=True)
            ):
                if tile in planned:
                    continue
                planned.add(tile)
                if tile in etags and (etag is None or etags[tile] in (None, etag)):
                    self.skipped += 1
                else:
                    keep.append(row)
            self.to_scan += len(keep)
            if keep:
                yield pa.Table.from_batches([batch]).take(keep)


def _check_wells(batch: pa.RecordBatch) -> None:
    """Refuse a well the catalogue cannot hold now, rather than hours into a scan."""
    wells = batch["well"].to_pylist()
    for well, row in dict(zip(wells, range(len(wells)), strict=True)).items():
        Tile(
            tile_id=batch["tile_id"][row].as_py(),
            uri=batch["uri"][row].as_py(),
            well=well,
            depth_m=batch["depth_m"][row].as_py(),
            segmenter="",
            classifier="",
            scan_id="",
        )
