"""Classify each crystal and build the catalogue's rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa

from mcn.analyzer import Classifier, Segmented, classify_segmented
from mcn.catalog.schema import FAILED, OK, Tile, tile_table
from mcn.crystals import classified_schema
from pipelines.fault_isolation.isolator import FaultIsolator
from pipelines.resources import StageResources
from pipelines.stages import rows
from pipelines.stages.labels import ScanLabels, check_model_name
from pipelines.stages.outcomes import limit_threads, run_batch


class ClassifyTiles:
    """Names shapes and makes the rows of the catalogue: `SEGMENTED` in, tile rows out.

    The output has the columns of `mcn.catalog.schema.TILES` and a list column `crystals`.
    """

    def __init__(
        self,
        load: Callable[[], Classifier],
        threads: int,
        labels: ScanLabels,
        isolator: FaultIsolator | None = None,
    ) -> None:
        self._classifier = load()
        check_model_name(self._classifier.name, labels.classifier)
        limit_threads(threads)
        self._labels = labels
        self._isolator = isolator or FaultIsolator("classify")

    @staticmethod
    def pool(cores: float, gpus: float) -> StageResources:
        """The rest of each GPU, or a small share of a few cores: crops are small."""
        if gpus >= 1:
            return StageResources(
                least=int(gpus), most=int(gpus), cpus=0.2, gpus=0.25, batch=32, seconds=120
            )
        workers = max(1, int(cores) // 8)
        return StageResources(least=workers, most=workers, cpus=0.2, gpus=0, batch=8, seconds=120)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Classify a batch."""
        segmented = rows.unpack_segmented(batch)
        outcomes, seconds, errors = run_batch(self._isolator, self._classify, segmented, batch)
        origins = (
            batch.select([*rows.ORIGIN, *rows.PICTURE])
            .append_column("seconds", seconds)
            .append_column("error", errors)
            .to_pylist()
        )
        tiles = [
            self._tile(origin, picture, crystals)
            for origin, picture, crystals in zip(origins, segmented, outcomes, strict=True)
        ]
        schema = classified_schema(self._classifier.taxonomy.shapes)
        no_crystals = schema.empty_table()
        crystals = rows.pack_crystals(
            [no_crystals if table is None else table for table in outcomes], schema
        )
        return tile_table(tiles).append_column("crystals", crystals)

    def _classify(self, segmented: Sequence[Segmented], shrink: int) -> list[pa.Table]:
        del shrink
        return classify_segmented(self._classifier, segmented)

    def _tile(
        self, row: dict[str, Any], picture: Segmented | None, crystals: pa.Table | None
    ) -> Tile:
        counts: dict[str, Any] = {}
        if picture is not None and crystals is not None:
            counts = {
                "n_crystals": crystals.num_rows,
                "crystal_area_fraction": picture.area_fraction,
                "visible_pore_fraction": picture.visible_pore_fraction,
            }
        row["pixel_size_source"] = row["pixel_size_source"] or "unknown"
        return Tile(
            **row,
            **counts,
            status=OK if row["error"] is None else FAILED,
            segmenter=self._labels.segmenter,
            classifier=self._labels.classifier,
            scan_id=self._labels.scan_id,
        )
