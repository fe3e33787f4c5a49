"""A scan with fake models that take some time: `slow_scan.py TILES CATALOG PORT`.

It runs as a program, with the root of the repository on its path.
"""

import sys
import time
from functools import partial

from pipelines.models import ScanModels
from pipelines.scan import ScanSettings, run_scan
from tests.fakes import BrightnessClassifier, Images, PatchSegmenter


def take_time(images: Images) -> None:
    """Limit the speed to three pictures a second."""
    time.sleep(0.3 * len(images))


if __name__ == "__main__":
    tiles, catalog, port = sys.argv[1:]
    models = ScanModels(
        PatchSegmenter.name,
        BrightnessClassifier.name,
        partial(PatchSegmenter, take_time),
        BrightnessClassifier,
    )
    settings = ScanSettings(
        metrics_port=int(port),
        commit_tiles=4,
        commit_seconds=1.0,
        stages=("segment.most=1", "segment.batch=1", "write.batch=2"),
    )
    run_scan(tiles, catalog, settings, models)
