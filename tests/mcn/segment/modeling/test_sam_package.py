"""Segment Anything can be imported, quickly, and with or without torchvision's own operators."""

import importlib
import subprocess
import sys

import torch

from mcn.segment.modeling.sam_package import declare_torchvision_operators, open_segment_anything

from ....waiting import DEADLINE_S

IMPORTS = """
import sys
import mcn.segment.segmenter
import segment_anything.modeling

assert not {"torchvision", "torch._dynamo"} & {*sys.modules}
from segment_anything import SamPredictor
assert SamPredictor.__module__ == "segment_anything.predictor"
assert not hasattr(segment_anything, "nothing")
"""


def test_the_networks_are_imported_alone_and_the_rest_on_use() -> None:
    subprocess.run([sys.executable, "-c", IMPORTS], check=True, timeout=DEADLINE_S)


def test_all_may_be_done_twice_and_segment_anything_is_imported() -> None:
    for _ in range(2):
        open_segment_anything()
        declare_torchvision_operators()
    assert importlib.import_module("segment_anything").SamAutomaticMaskGenerator
    assert hasattr(torch.ops.torchvision, "nms")
