"""A small catalogue of real pictures, made without Ray, and the endpoint's application over it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from starlette.testclient import TestClient

from mcn.analyzer import Analyzer
from mcn.catalog.schema import Tile, crystal_table, tile_id, tile_table
from mcn.catalog.store import Catalog
from mcn.micrograph import Limits, read_micrograph
from serve.deployments.catalog_reader import CatalogReader
from serve.metrics import ServeMetrics
from serve.settings import Settings

from ..fakes import BrightnessClassifier, PatchSegmenter
from .local import local_client, local_services

WELL = "A/1 <script>alert(1)</script>"
HEIGHT, WIDTH = 240, 400


@dataclass(frozen=True)
class SmallCore:
    """A catalogue of one well: tiles at 1200, 1210 and 1220 m, and a failed one at 1230 m."""

    catalog: Catalog
    tiles: Sequence[Tile]

    def client(self, settings: Settings | None = None, name: str = "core") -> TestClient:
        reader = CatalogReader(self.catalog.uri, 0.0, Limits())
        services = local_services(
            ServeMetrics(f"test-{name}"),
            reader=reader,
            classifier=_Classifier(),
            settings=settings or Settings(insecure=True),
        )
        return local_client(services)


class _Classifier:
    """The deployment of a fake classifier."""

    def classify(self, crops: Any) -> Any:
        from serve.deployments.messages import ClassificationResult, StageTiming

        model = BrightnessClassifier()
        classified = model.classify(crops)
        shapes = model.taxonomy.shapes
        return ClassificationResult(
            model.name,
            shapes,
            tuple(model.taxonomy.facet_of[shape] for shape in shapes),
            classified.probabilities.tolist(),
            classified.confidence.tolist(),
            StageTiming(0.0, len(crops)),
        )


def make_small_core(folder: Path) -> SmallCore:
    """Draw, segment, classify and commit the tiles."""
    analyzer = Analyzer(PatchSegmenter(), BrightnessClassifier())
    catalog = Catalog.create(folder / "catalog")
    tiles, crystals = [], []
    for number in range(4):
        path = folder / "core" / f"tile{number}.tif"
        path.parent.mkdir(exist_ok=True)
        tifffile.imwrite(path, _picture(number), metadata=None)
        facts: dict[str, Any] = {"status": "failed", "error": "empty file"}
        if number < 3:
            picture = read_micrograph(path, pixel_size_um=0.05)
            (table,) = analyzer.analyze([picture])
            crystals.append(table)
            facts = {
                "width": WIDTH,
                "height": HEIGHT,
                "pixel_size_um": 0.05,
                "pixel_size_source": "manifest",
                "n_crystals": table.num_rows,
                "crystal_area_fraction": 0.1,
            }
        else:
            path.write_bytes(b"")
        tiles.append(
            Tile(
                tile_id=tile_id(str(path)),
                uri=str(path),
                well=WELL,
                depth_m=1200.0 + 10 * number,
                segmenter=analyzer.segmenter.name,
                classifier=analyzer.classifier.name,
                scan_id="one",
                **facts,
            )
        )
    rows = tile_table(tiles)
    catalog.commit(crystal_table(rows.slice(0, 3), crystals), rows)
    return SmallCore(catalog, tiles)


def _picture(number: int) -> np.ndarray:
    rng = np.random.default_rng(number)
    picture = rng.integers(10, 40, (HEIGHT, WIDTH), dtype=np.uint8)
    for row in range(3):
        for column in range(5):
            top, left = 20 + 75 * row, 15 + 78 * column
            tall, wide = rng.integers(20, 45, 2)
            picture[top : top + tall, left : left + wide] = rng.integers(150, 250)
    return picture
