"""Masks from an image: Segment Anything, compact and full size.

Names are imported on first use, so that `import mcn.segment` does not load torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mcn.segment.dataset import list_pairs
    from mcn.segment.evaluation.metrics import evaluate_segmenter
    from mcn.segment.names import SegmenterError, absolute_path, with_prompts
    from mcn.segment.segmenter import load_segmenter, segmenter_name
    from mcn.segment.training.settings import SegmenterTrainSettings
    from mcn.segment.training.trainer import train_segmenter

__all__ = [
    "SegmenterError",
    "SegmenterTrainSettings",
    "absolute_path",
    "evaluate_segmenter",
    "list_pairs",
    "load_segmenter",
    "segmenter_name",
    "train_segmenter",
    "with_prompts",
]

_MODULES = {
    "SegmenterError": "mcn.segment.names",
    "SegmenterTrainSettings": "mcn.segment.training.settings",
    "absolute_path": "mcn.segment.names",
    "evaluate_segmenter": "mcn.segment.evaluation.metrics",
    "list_pairs": "mcn.segment.dataset",
    "load_segmenter": "mcn.segment.segmenter",
    "segmenter_name": "mcn.segment.segmenter",
    "train_segmenter": "mcn.segment.training.trainer",
    "with_prompts": "mcn.segment.names",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
