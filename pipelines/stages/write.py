"""Write: store data files for a commit."""

from __future__ import annotations

import pyarrow as pa

from mcn.catalog.schema import TILES, crystal_table
from mcn.catalog.store import Catalog
from pipelines.batch import WrittenBatch
from pipelines.resources import StageResources
from pipelines.stages import rows


class WriteTiles:
    """Writes data files for a commit: tile rows in, one row with a `WrittenBatch` out."""

    def __init__(self, catalog: Catalog, scan_id: str) -> None:
        self._catalog = catalog
        self._scan_id = scan_id

    @staticmethod
    def pool(cores: float, gpus: float) -> StageResources:
        """A small share of a core; many tiles per file, because each file adds to the Delta log."""
        del cores, gpus
        return StageResources(least=1, most=2, cpus=0.1, gpus=0, batch=256, seconds=120)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Write a batch."""
        tiles = batch.select(TILES.names)
        crystals_by_tile = rows.unpack_crystals(batch["crystals"])
        crystals = crystal_table(
            tiles, crystals_by_tile, self._catalog.depth_bin_m, self._catalog.shapes
        )
        data_files, _ = self._catalog.write(crystals, tiles, self._scan_id)
        return WrittenBatch.of(data_files, tiles, crystals).as_table()
