"""Make `segment_anything` importable if torchvision's operators cannot load.

`segment_anything` imports torchvision, and torchvision registers shape rules for its
compiled operators at import. Beside a CPU-only torch the PyPI build of torchvision
cannot load those operators and the import ends in "operator torchvision::nms does not
exist". Declaring the operators' schemas is all the import needs.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_library: torch.library.Library | None = None


def declare_torchvision_operators() -> None:
    """Declare torchvision's missing operators; does nothing if they load."""
    global _library
    if _library is not None or _operators_load():
        return
    _library = torch.library.Library("torchvision", "FRAGMENT")
    for schema in _SCHEMAS:
        _library.define(schema)


def _operators_load() -> bool:
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return False
    for binary in Path(spec.origin).parent.glob("_C*.so"):
        try:
            torch.ops.load_library(str(binary))
        except OSError:
            return False
    return hasattr(torch.ops.torchvision, "nms")
