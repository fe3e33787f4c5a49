"""Make the networks of `segment_anything` importable quickly, and beside a torch without CUDA.

`segment_anything` imports torchvision for its own predictor, and torchvision the compiler of torch:
8 s of a core, where the networks alone take none. And torchvision registers shape rules for its
compiled operators at import. Beside a CPU-only torch the PyPI build of torchvision cannot load
those operators, and the import ends in "operator torchvision::nms does not exist". Declaring the
operators' schemas is all the import needs.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import torch

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_library: torch.library.Library | None = None


def open_segment_anything() -> None:
    """Let `segment_anything.modeling` be imported without the rest of the package.

    The rest is imported when it is first used, as in `from segment_anything import SamPredictor`.
    Does nothing if the package has been imported.
    """
    spec = importlib.util.find_spec("segment_anything")
    if "segment_anything" in sys.modules or spec is None or spec.loader is None:
        return
    package, loader = importlib.util.module_from_spec(spec), spec.loader

    def import_rest(name: str) -> Any:
        del package.__getattr__
        declare_torchvision_operators()
        loader.exec_module(package)
        return getattr(package, name)

    package.__getattr__ = import_rest  # type: ignore[method-assign]
    sys.modules["segment_anything"] = package


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
