"""Segment Anything can be imported, with or without torchvision's own operators."""

import importlib

import torch

from mcn.segment.modeling.torchvision_ops import declare_torchvision_operators


def test_operators_may_be_declared_twice_and_segment_anything_is_imported() -> None:
    declare_torchvision_operators()
    declare_torchvision_operators()
    assert hasattr(torch.ops.torchvision, "nms")
    assert importlib.import_module("segment_anything").SamAutomaticMaskGenerator
