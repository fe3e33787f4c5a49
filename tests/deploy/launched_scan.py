"""A scan with fake models on the launcher's cluster: `launched_scan.py TILES CATALOG [CONFIG]`.

Prints the kinds of nodes that there are at the end. It runs as a program.
"""

import json
import os
import sys

import ray

from pipelines.models import ScanModels
from pipelines.scan import ScanSettings, run_scan
from tests.fakes import BrightnessClassifier, PatchSegmenter

if __name__ == "__main__":
    tiles, catalog, *config = sys.argv[1:]
    models = ScanModels(
        PatchSegmenter.name, BrightnessClassifier.name, PatchSegmenter, BrightnessClassifier
    )
    settings = ScanSettings(config=config[0] if config else None, progress=False)
    ray.init(address=os.environ["RAY_ADDRESS"], log_to_driver=False)
    summary = run_scan(tiles, catalog, settings, models)
    resources = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    print(json.dumps({"tiles_ok": summary.tiles_ok, "nodes": resources}))
