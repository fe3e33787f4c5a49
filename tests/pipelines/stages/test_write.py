"""The write stage stores data files and counts their contents."""

from pathlib import Path

from mcn.catalog.query import sql
from mcn.catalog.store import Catalog
from pipelines.batch import Count, WrittenBatch
from pipelines.models import ScanModels
from pipelines.stages.classify import ClassifyTiles
from pipelines.stages.segment import SegmentTiles
from pipelines.stages.write import WriteTiles

from .core_tiles import LABELS, read_core


def tiles_in(catalog: Catalog) -> int:
    count: int = sql(catalog, "SELECT count(*) AS n FROM tiles").to_pylist()[0]["n"]
    return count


def test_written_files_have_the_counted_rows(
    core: Path, tmp_path: Path, models: ScanModels
) -> None:
    segmented = SegmentTiles(models.load_segmenter, 1, LABELS)(read_core(core))
    classified = ClassifyTiles(models.load_classifier, 1, LABELS)(segmented)
    catalog = Catalog.open_or_create(str(tmp_path / "catalog"), None, models.shapes)
    (written,) = WrittenBatch.all_in(WriteTiles(catalog, "scan")(classified))
    crystals = sum(classified["n_crystals"].to_pylist())
    assert written.count == Count(ok=8, failed=0, crystals=crystals)
    assert written.wells.keys() == {"A", "B"}
    assert sum(written.shapes.values()) == crystals
    assert written.first_error is None
    assert tiles_in(catalog) == 0
    catalog.commit_parts(written.parts)
    assert tiles_in(catalog) == 8
