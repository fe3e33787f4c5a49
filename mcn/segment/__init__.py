"""Masks from an image: Segment Anything, compact and full size."""

from mcn.segment.modeling.torchvision_ops import declare_torchvision_operators

declare_torchvision_operators()

from mcn.segment.segmenter import (  # noqa: E402 - segment_anything imports only after the above
    SegmenterError,
    load_segmenter,
    segmenter_name,
)

__all__ = ["SegmenterError", "load_segmenter", "segmenter_name"]
