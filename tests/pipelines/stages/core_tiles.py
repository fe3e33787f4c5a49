"""Tiles, and stages without Ray, shared by the tests of the stages."""

from pathlib import Path
from typing import Any

import pyarrow as pa

from mcn.catalog.schema import TILES, tile_id
from mcn.micrograph import DEFAULT_LIMITS, Limits
from mcn.sources.listing import find_tiles
from pipelines.models import ScanModels
from pipelines.planning import PLANNED
from pipelines.stages import rows
from pipelines.stages.classify import ClassifyTiles
from pipelines.stages.labels import ScanLabels
from pipelines.stages.read import ReadTiles
from pipelines.stages.segment import SegmentTiles

from ...fakes import BrightnessClassifier, PatchSegmenter

LABELS = ScanLabels(PatchSegmenter.name, BrightnessClassifier.name, "scan")


def plan_tiles(listed: pa.Table) -> pa.Table:
    """Listed tiles in the form of a plan."""
    tile_ids = [tile_id(uri) for uri in listed["uri"].to_pylist()]
    return listed.add_column(0, PLANNED.field("tile_id"), pa.array(tile_ids))


def list_core(core: Path) -> pa.Table:
    return plan_tiles(pa.Table.from_batches(find_tiles(str(core))))


def read_core(core: Path, limits: Limits = DEFAULT_LIMITS) -> pa.Table:
    return pa.concat_tables(ReadTiles(limits).read(list_core(core)))


def run_stages(core: Path, models: ScanModels) -> list[dict[str, Any]]:
    """Rows of a core's tiles after the stages read, segment and classify."""
    segmented = SegmentTiles(models.load_segmenter, 1, LABELS)(read_core(core))
    assert segmented.schema == rows.SEGMENTED
    classified = ClassifyTiles(models.load_classifier, 1, LABELS)(segmented)
    assert classified.select(TILES.names).schema == TILES
    return classified.to_pylist()
