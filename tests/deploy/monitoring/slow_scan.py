"""A scan with stand-in models that take their time: `slow_scan.py TILES CATALOG PORT`."""

import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from mcn.crystals import Classified
from mcn.mask import Mask, masks_from_labels
from mcn.taxonomy import CALCITE
from pipelines.models import ScanModels
from pipelines.scan import ScanSettings, run_scan


class SlowSegmenter:
    """Bright patches, three pictures a second at most."""

    name = "slow@000000000000"

    def segment(self, images: Sequence[Any]) -> list[list[Mask]]:
        from skimage.measure import label

        time.sleep(0.3 * len(images))
        return [masks_from_labels(label(image > 128)) for image in images]


class EvenClassifier:
    """Names everything by its brightness."""

    name = "even@000000000000"
    taxonomy = CALCITE

    def classify(self, crops: Any) -> Classified:
        p = crops.reshape(len(crops), 4, -1).mean(axis=2, dtype=np.float32) + 1
        p = np.asarray(p / p.sum(axis=1, keepdims=True), np.float32)
        return Classified(p, p.max(axis=1))


if __name__ == "__main__":
    tiles, catalog, port = sys.argv[1:]
    models = ScanModels(SlowSegmenter.name, EvenClassifier.name, SlowSegmenter, EvenClassifier)
    settings = ScanSettings(
        metrics_port=int(port),
        commit_tiles=4,
        commit_seconds=1.0,
        stages=("segment.most=1", "segment.batch=1", "write.batch=2"),
    )
    run_scan(tiles, catalog, settings, models)
